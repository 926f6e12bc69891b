/** Fetches files that the principal prepared, piece by piece, and puts them in place only when they are whole. */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { link, mkdir, open, rename, rm, stat } from "node:fs/promises";
import { basename, dirname, join, resolve } from "node:path";
import type { PreparedFiles } from "../../contract/messages.ts";
import { CdktrError, errorMessage, InvalidInputError } from "../../errors.ts";
import type { Connection } from "./connect.ts";

type PreparedFile = PreparedFiles["files"][number];

/**
 * Writes a prepared file to `path`: under another name first, flushed to disk, its sha256 compared, then renamed.
 * @throws InvalidInputError when something is there already and `force` is not given, or the path cannot be written
 * @throws CdktrError when what arrived is not what was sent
 */
export async function download(
  connection: Connection,
  transferId: string,
  file: PreparedFile,
  path: string,
  force: boolean,
): Promise<void> {
  const target = resolve(path);
  refuseExisting(target, force);
  const partial = join(dirname(target), `.${basename(target)}.${process.pid}.partial`);
  try {
    await receive(connection, transferId, file, partial);
    await putInPlace(partial, target, force);
  } catch (error) {
    throw asWriteError(error, target);
  } finally {
    await rm(partial, { force: true });
  }
}

/** @throws InvalidInputError when something is at `path` and `force` is not given, or it is a directory */
export function refuseExisting(path: string, force: boolean): void {
  if (force || !existsSync(path)) return;
  throw new InvalidInputError(`${path} already exists.`, {
    hint: "Give another name, or --force to replace it.",
  });
}

/**
 * Makes a directory and those above it.
 * @throws InvalidInputError when that is not possible
 */
export async function makeDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true });
  } catch (error) {
    throw asWriteError(error, path);
  }
}

async function receive(
  { client, patiently }: Connection,
  transferId: string,
  file: PreparedFile,
  partial: string,
): Promise<void> {
  const hash = createHash("sha256");
  const handle = await open(partial, "wx", 0o600);
  try {
    let bytes = 0;
    for (let offset: number | null = 0; offset !== null; ) {
      const from: number = offset;
      const piece = await patiently((options) =>
        client.readFile({ transfer_id: transferId, name: file.name, offset: from }, options),
      );
      const data = Buffer.from(piece.data, "base64");
      await handle.writeFile(data);
      hash.update(data);
      bytes += data.length;
      offset = piece.next;
    }
    if (bytes !== file.bytes || hash.digest("hex") !== file.sha256) {
      throw new CdktrError(
        `${file.name} arrived damaged (${bytes} of ${file.bytes} bytes); nothing was kept.`,
        {
          hint: "Try again.",
        },
      );
    }
    await handle.sync();
  } finally {
    await handle.close();
  }
}

async function putInPlace(partial: string, target: string, force: boolean): Promise<void> {
  if (force) {
    if (existsSync(target) && (await stat(target)).isDirectory()) {
      throw new InvalidInputError(`${target} is a directory.`, { hint: "Give the name of a file." });
    }
    await rename(partial, target);
    return;
  }
  // A link, unlike a rename, never replaces what came into being meanwhile.
  try {
    await link(partial, target);
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "EEXIST") refuseExisting(target, false);
    // File systems without hard links.
    if (code !== "EPERM" && code !== "ENOTSUP" && code !== "EOPNOTSUPP") throw error;
    refuseExisting(target, false);
    await rename(partial, target);
  }
}

function asWriteError(error: unknown, path: string): unknown {
  if (error instanceof CdktrError) return error;
  const code = (error as NodeJS.ErrnoException).code;
  if (code === undefined) return error;
  return new InvalidInputError(`${path} cannot be written: ${errorMessage(error)}`, { cause: error });
}
