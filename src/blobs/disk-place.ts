/** Blobs in a directory: `ab/HASH`. */
import { mkdir, open, opendir, readFile, rename, rm, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { errorMessage } from "../errors.ts";
import {
  BLOB_HASH,
  type BlobPlace,
  BlobsUnavailableError,
  type ListedBlob,
  NoSuchBlobError,
  OWNER,
} from "./blob-place.ts";

export class DiskPlace implements BlobPlace {
  readonly name: string;

  /** @param directory it is made when something is put there */
  constructor(directory: string) {
    this.name = directory;
  }

  async sizeOf(hash: string): Promise<number | null> {
    try {
      return (await stat(this.#pathOf(hash))).size;
    } catch (error) {
      if (isMissing(error)) return null;
      throw this.#unavailable(error);
    }
  }

  async put(hash: string, file: string): Promise<void> {
    try {
      const directory = join(this.name, hash.slice(0, 2));
      await mkdir(directory, { recursive: true, mode: 0o700 });
      await synced(file);
      await rename(file, this.#pathOf(hash));
      await synced(directory);
    } catch (error) {
      throw this.#unavailable(error);
    }
  }

  async read(hash: string, offset: number, length: number): Promise<Uint8Array> {
    try {
      const file = await open(this.#pathOf(hash), "r");
      try {
        return await readPiece(file, offset, length);
      } finally {
        await file.close();
      }
    } catch (error) {
      throw isMissing(error) ? new NoSuchBlobError(this.name) : this.#unavailable(error);
    }
  }

  async remove(hash: string): Promise<void> {
    try {
      await rm(this.#pathOf(hash), { force: true });
    } catch (error) {
      throw this.#unavailable(error);
    }
  }

  async *list(): AsyncIterable<ListedBlob> {
    try {
      for await (const directory of await opendir(this.name)) {
        if (!directory.isDirectory() || directory.name.length !== 2) continue;
        for await (const { name } of await opendir(join(this.name, directory.name))) {
          if (!BLOB_HASH.test(name)) continue;
          const info = await stat(this.#pathOf(name)).catch(() => null);
          if (info !== null) yield { hash: name, bytes: info.size, changedMs: info.ctimeMs };
        }
      }
    } catch (error) {
      if (!isMissing(error)) throw this.#unavailable(error);
    }
  }

  async claim(owner: string): Promise<string> {
    const path = join(this.name, OWNER);
    try {
      if ((await stat(path).catch(() => null)) === null) {
        await mkdir(this.name, { recursive: true, mode: 0o700 });
        const fresh = `${path}-${crypto.randomUUID()}`;
        await writeFile(fresh, `${owner}\n`, { mode: 0o600 });
        await rename(fresh, path);
      }
      return (await readFile(path, "utf8")).trim();
    } catch (error) {
      throw this.#unavailable(error);
    }
  }

  #pathOf(hash: string): string {
    return join(this.name, hash.slice(0, 2), hash);
  }

  #unavailable(cause: unknown): BlobsUnavailableError {
    return unavailable(this.name, cause);
  }
}

/** A piece of a file, shorter only at its end. */
async function readPiece(
  file: Awaited<ReturnType<typeof open>>,
  offset: number,
  length: number,
): Promise<Uint8Array> {
  const piece = Buffer.allocUnsafe(length);
  let done = 0;
  while (done < length) {
    const { bytesRead } = await file.read(piece, done, length - done, offset + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return piece.subarray(0, done);
}

/** Why a directory cannot be read or written, with what to do. */
export function unavailable(directory: string, cause: unknown): BlobsUnavailableError {
  if (cause instanceof BlobsUnavailableError) return cause;
  const isFull =
    cause instanceof Error && "code" in cause && (cause.code === "ENOSPC" || cause.code === "EDQUOT");
  return new BlobsUnavailableError(
    isFull
      ? `Files cannot be kept in ${directory}: the disk is full.`
      : `Files cannot be kept in ${directory}: ${errorMessage(cause)}.`,
    { cause, hint: isFull ? `Free some space: df -h ${directory}` : "Check the permissions and the disk." },
  );
}

async function synced(path: string): Promise<void> {
  const file = await open(path, "r");
  try {
    await file.sync();
  } finally {
    await file.close();
  }
}

export function isMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && (error.code === "ENOENT" || error.code === "ENOTDIR");
}
