/** Files that were prepared for a client, which fetches them in chunks. They are removed when it says so, or stops asking. */

import { mkdirSync, readdirSync, rmSync } from "node:fs";
import { open, readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { FilePiece, PreparedFiles, ReadFile } from "../contract/messages.ts";
import { CdktrError, errorMessage, NotFoundError, UnprocessableError } from "../errors.ts";
import { Timer, turn } from "../timer.ts";

/** Chunk size: 4 MiB as base64. */
const PIECE_BYTES = 3 * 1024 * 1024;

/** Maximum number of transfers; a client that forgets to drop its own must not fill the disk. */
const MAX_TRANSFERS = 4;

/** Options of {@link Transfers}. */
export interface TransferOptions {
  /** Contains one directory per transfer; emptied at start. */
  readonly directory: string;
  /** A transfer without requests for this time is dropped, ms. */
  readonly idleMs: number;
}

interface Transfer {
  readonly directory: string;
  readonly names: ReadonlySet<string>;
  readonly expiry: Timer;
  reading: number;
}

export class Transfers {
  /** The directory of the transfers. */
  readonly directory: string;
  readonly #idleMs: number;
  readonly #transfers = new Map<string, Transfer>();
  /** Those that are being written, and what ends that. */
  readonly #preparing = new Map<string, AbortController>();

  constructor(options: TransferOptions) {
    this.directory = options.directory;
    this.#idleMs = options.idleMs;
  }

  /** Creates the directory, and removes what an earlier process left there. */
  start(): void {
    mkdirSync(this.directory, { recursive: true, mode: 0o700 });
    for (const name of readdirSync(this.directory)) {
      rmSync(join(this.directory, name), { recursive: true, force: true });
    }
  }

  /** Removes everything. */
  stop(): void {
    for (const { expiry } of this.#transfers.values()) expiry.cancel();
    this.#transfers.clear();
    rmSync(this.directory, { recursive: true, force: true });
  }

  /**
   * Prepares files.
   * @param write writes them into the given directory and returns the number of rows by file name; the signal aborts when they are dropped
   *   before they are complete
   * @param transfer_id with which they are read and dropped
   * @throws UnprocessableError when there are too many transfers, or they cannot be written; CdktrErrors of `write`
   */
  async prepare(
    write: (directory: string, signal: AbortSignal) => Promise<ReadonlyMap<string, number>>,
    transfer_id: string = crypto.randomUUID(),
  ): Promise<PreparedFiles> {
    if (this.#transfers.has(transfer_id) || this.#preparing.has(transfer_id))
      throw new UnprocessableError(`There are files with the id ${transfer_id} already.`);
    if (this.#transfers.size + this.#preparing.size >= MAX_TRANSFERS) {
      throw new UnprocessableError(`${MAX_TRANSFERS} exports and backups are already in progress.`, {
        hint: `Try again when one of them is done; abandoned ones are dropped after ${this.#idleMs / 1000} s.`,
      });
    }
    const directory = join(this.directory, transfer_id);
    const end = new AbortController();
    this.#preparing.set(transfer_id, end);
    try {
      mkdirSync(directory, { recursive: true, mode: 0o700 });
      const rows = await write(directory, end.signal);
      const names = (await readdir(directory)).sort();
      const files: PreparedFiles["files"] = [];
      for (const name of names) {
        const path = join(directory, name);
        const { size } = await stat(path);
        files.push({ name, bytes: size, sha256: await sha256(path), rows: rows.get(name) ?? null });
        end.signal.throwIfAborted();
      }
      const expiry = new Timer(() => {
        if (transfer.reading === 0) void this.drop(transfer_id);
      });
      const transfer: Transfer = { directory, names: new Set(names), expiry, reading: 0 };
      this.#transfers.set(transfer_id, transfer);
      this.#touch(transfer_id, transfer);
      return { transfer_id, files };
    } catch (error) {
      await rm(directory, { recursive: true, force: true }).catch(() => {});
      throw error instanceof CdktrError ? error : cannotPrepare(error, directory);
    } finally {
      this.#preparing.delete(transfer_id);
    }
  }

  /**
   * A chunk of a prepared file.
   * @throws NotFoundError when there is no such transfer or file
   */
  async read(request: ReadFile): Promise<FilePiece> {
    const transfer = this.#transfers.get(request.transfer_id);
    if (transfer === undefined) {
      throw new NotFoundError("These files no longer exist.", {
        hint: `Prepared files are dropped ${this.#idleMs / 1000} s after the last request for them, and when the principal stops. Start again.`,
      });
    }
    if (!transfer.names.has(request.name)) {
      throw new NotFoundError(`There is no file "${request.name}" among the prepared files.`);
    }
    transfer.reading++;
    try {
      const file = await open(join(transfer.directory, request.name), "r");
      try {
        const { size } = await file.stat();
        const piece = Buffer.alloc(Math.max(0, Math.min(PIECE_BYTES, size - request.offset)));
        const { bytesRead } = await file.read(piece, 0, piece.length, request.offset);
        const end = request.offset + bytesRead;
        return { data: piece.toString("base64", 0, bytesRead), next: end < size ? end : null };
      } finally {
        await file.close();
      }
    } finally {
      transfer.reading--;
      this.#touch(request.transfer_id, transfer);
    }
  }

  /** Removes the files of a transfer, or ends their preparation; a no-op if it does not exist. Not on this thread: that of a large file takes long. */
  async drop(transferId: string): Promise<void> {
    this.#preparing
      .get(transferId)
      ?.abort(new UnprocessableError("The client that asked for these files is gone."));
    const transfer = this.#transfers.get(transferId);
    if (transfer === undefined) return;
    this.#transfers.delete(transferId);
    transfer.expiry.cancel();
    // What is left is removed when the principal stops or starts.
    await rm(transfer.directory, { recursive: true, force: true }).catch(() => {});
  }

  #touch(id: string, transfer: Transfer): void {
    if (this.#transfers.has(id)) transfer.expiry.in(this.#idleMs);
  }
}

function cannotPrepare(cause: unknown, directory: string): UnprocessableError {
  return new UnprocessableError(`Files cannot be prepared in ${directory}: ${errorMessage(cause)}.`, {
    cause,
    hint: "Free some space there, or set CDKTR_APP_DATA_DIRECTORY to a directory that can be written.",
  });
}

async function sha256(path: string): Promise<string> {
  const hasher = new Bun.CryptoHasher("sha256");
  for await (const chunk of Bun.file(path).stream()) {
    hasher.update(chunk);
    // A file in the kernel's cache is read to its end otherwise before anything else is done.
    await turn();
  }
  return hasher.digest("hex");
}
