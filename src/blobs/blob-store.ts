/**
 * The principal's store of blobs. A blob arrives in pieces, in order, and may go on where it was after either side has died; it is there
 * only when its content has its hash. Parts are always on the principal's own disk; whole blobs are where the {@link BlobPlace} says.
 */
import { mkdirSync } from "node:fs";
import { mkdir, open, opendir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import { InvalidInputError } from "../errors.ts";
import { turn } from "../timer.ts";
import type { BlobPlace } from "./blob-place.ts";
import { isMissing, unavailable } from "./disk-place.ts";

/** The largest piece that is read at once, bytes: it travels as base64. */
export const PIECE_BYTES = 2 * 1024 * 1024;

/** The part of a blob of which nothing has come for this long is removed, ms. */
const ABANDONED_MS = 7 * 24 * 3600 * 1000;

export class BlobStore {
  readonly place: BlobPlace;
  readonly #parts: string;
  /** What is being done with a blob, by hash: one thing after the other. */
  readonly #busy = new Map<string, Promise<unknown>>();

  /** @param parts directory for what is not whole yet; it is made when it is needed */
  constructor(place: BlobPlace, parts: string) {
    this.place = place;
    this.#parts = parts;
  }

  /**
   * Takes a piece of a blob, if it is the next one.
   * @param bytes the size of the blob
   * @returns where the next piece begins, which is `bytes` when the blob is there
   * @throws InvalidInputError when the content does not have its hash, or its size: all of it must come again
   * @throws BlobsUnavailableError
   */
  write(hash: string, bytes: number, offset: number, data: Uint8Array): Promise<number> {
    return this.#alone(hash, async () => {
      const part = join(this.#parts, `${hash}-${bytes}`);
      // Not for each piece: the place may be far away.
      if ((await this.#sizeOf(part)) === 0 && (await this.place.sizeOf(hash)) === bytes) return bytes;
      const known = await this.#append(part, bytes, offset, data);
      if (known < bytes) return known;
      if ((await sha256(part)) !== hash) {
        await rm(part, { force: true });
        throw new InvalidInputError("what came is not what its hash says");
      }
      await this.place.put(hash, part);
      return bytes;
    });
  }

  /** Takes a file whose content has this hash; it is gone afterwards. @throws BlobsUnavailableError */
  async add(hash: string, bytes: number, file: string): Promise<void> {
    await this.#alone(hash, async () => {
      if ((await this.place.sizeOf(hash)) !== bytes) await this.place.put(hash, file);
      await rm(file, { force: true });
    });
  }

  /** A path for a file that becomes a blob; removed one day if it does not. @throws BlobsUnavailableError */
  newFile(): string {
    try {
      mkdirSync(this.#parts, { recursive: true, mode: 0o700 });
    } catch (error) {
      throw unavailable(this.#parts, error);
    }
    return join(this.#parts, `new-${crypto.randomUUID()}`);
  }

  /**
   * Removes a blob.
   * @param isUnused asked when nothing else is done with it any more: whether it is to be removed
   */
  async remove(hash: string, isUnused: () => Promise<boolean>): Promise<void> {
    await this.#alone(hash, async () => {
      if (await isUnused()) await this.place.remove(hash);
    });
  }

  /** Removes parts of which nothing has come for a week. Never rejects. */
  async tidy(nowMs: number): Promise<void> {
    try {
      for await (const { name } of await opendir(this.#parts)) {
        const path = join(this.#parts, name);
        const info = await stat(path);
        if (Math.abs(nowMs - info.mtimeMs) > ABANDONED_MS) await rm(path, { force: true });
      }
    } catch {
      // Nothing has arrived yet, or it is looked at again the next time.
    }
  }

  /** Appends what follows what is there; returns where the next piece begins. */
  async #append(part: string, bytes: number, offset: number, data: Uint8Array): Promise<number> {
    try {
      const size = await this.#sizeOf(part);
      if (data.length === 0 || (offset !== size && size <= bytes)) return size;
      if (size + data.length > bytes) {
        // Whatever it is, it is not this blob.
        await rm(part, { force: true });
        return 0;
      }
      await mkdir(this.#parts, { recursive: true, mode: 0o700 });
      const file = await open(part, "a", 0o600);
      try {
        let written = 0;
        while (written < data.length)
          written += (await file.write(data, written, data.length - written)).bytesWritten;
        // Otherwise whoever syncs a file on this disk next, such as the principal its state, waits for all of them.
        await file.datasync();
      } finally {
        await file.close();
      }
      return size + data.length;
    } catch (error) {
      throw unavailable(this.#parts, error);
    }
  }

  async #sizeOf(part: string): Promise<number> {
    try {
      return (await stat(part)).size;
    } catch (error) {
      if (isMissing(error)) return 0;
      throw unavailable(this.#parts, error);
    }
  }

  async #alone<T>(hash: string, work: () => Promise<T>): Promise<T> {
    const before = this.#busy.get(hash) ?? Promise.resolve();
    const done = before.then(work, work);
    this.#busy.set(hash, done);
    try {
      return await done;
    } finally {
      if (this.#busy.get(hash) === done) this.#busy.delete(hash);
    }
  }
}

/** The hash of a file, hexadecimal. */
export async function sha256(path: string): Promise<string> {
  const hasher = new Bun.CryptoHasher("sha256");
  for await (const chunk of Bun.file(path).stream()) {
    hasher.update(chunk);
    // A file in the kernel's cache is read to its end otherwise before anything else is done.
    await turn();
  }
  return hasher.digest("hex");
}
