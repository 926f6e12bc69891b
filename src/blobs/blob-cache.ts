/**
 * Whole blobs on an agent's disk, by hash. Each is fetched once, however many runs need it, and stays until there is no room for it; a
 * fetch that was interrupted goes on where it was, also after the agent was killed.
 */
import { mkdirSync, readdirSync, renameSync, rmSync, statSync, utimesSync } from "node:fs";
import { open, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { CdktrError } from "../errors.ts";
import { BLOB_HASH } from "./blob-place.ts";
import { sha256 } from "./blob-store.ts";

/** Ends the names of blobs that are not whole. */
const PART = ".part";
/** One to which nothing was added for this long is not fetched any more, ms. */
const ABANDONED_MS = 24 * 3_600_000;

/** Gives a piece of a blob. @throws when it cannot be had at all */
export type FetchPiece = (offset: number) => Promise<Uint8Array>;

/** A blob could not be fetched: what came is not what its hash says. */
export class DamagedBlobError extends CdktrError {}

interface Cached {
  readonly bytes: number;
  /** Number of those who read it now. */
  users: number;
}

export class BlobCache {
  readonly #directory: string;
  readonly #limitBytes: number;
  /** The least recently used first. */
  readonly #blobs = new Map<string, Cached>();
  readonly #fetching = new Map<string, Promise<void>>();

  /**
   * Takes over what an earlier process has left in the directory, which belongs to this one alone.
   * @param limitBytes how much stays there of what nobody reads
   */
  constructor(directory: string, limitBytes: number) {
    this.#directory = directory;
    this.#limitBytes = limitBytes;
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    const found: { hash: string; bytes: number; usedMs: number }[] = [];
    for (const name of readdirSync(directory)) {
      const path = join(directory, name);
      if (BLOB_HASH.test(name)) {
        const { size, mtimeMs } = statSync(path);
        found.push({ hash: name, bytes: size, usedMs: mtimeMs });
      } else if (!isPart(name) || Math.abs(Date.now() - statSync(path).mtimeMs) > ABANDONED_MS)
        rmSync(path, { recursive: true, force: true });
    }
    found.sort((a, b) => a.usedMs - b.usedMs);
    for (const { hash, bytes } of found) this.#blobs.set(hash, { bytes, users: 0 });
    this.#trim();
  }

  /** A path in the same directory for a file that becomes a blob; the next process removes it if it does not. */
  newFile(): string {
    return join(this.#directory, `new-${crypto.randomUUID()}`);
  }

  /** Takes a file whose content has this hash. */
  add(hash: string, bytes: number, file: string): void {
    if (this.#blobs.has(hash)) rmSync(file, { force: true });
    else {
      renameSync(file, join(this.#directory, hash));
      this.#blobs.set(hash, { bytes, users: 0 });
    }
  }

  /**
   * Fetches a blob, unless it is there, and does something with it.
   * @param work gets its path; it stays there until this has ended
   * @throws DamagedBlobError, and whatever `fetch` and `work` throw
   */
  async use<T>(
    hash: string,
    bytes: number,
    fetch: FetchPiece,
    work: (path: string) => Promise<T>,
  ): Promise<T> {
    while (!this.#blobs.has(hash)) await this.#fetched(hash, bytes, fetch);
    const cached = this.#blobs.get(hash) ?? { bytes, users: 0 };
    // It is the most recently used one now.
    this.#blobs.delete(hash);
    this.#blobs.set(hash, cached);
    cached.users++;
    const path = join(this.#directory, hash);
    try {
      const now = Date.now() / 1000;
      try {
        utimesSync(path, now, now);
      } catch {
        // Only the order in which they are removed depends on it.
      }
      return await work(path);
    } finally {
      cached.users--;
      this.#trim();
    }
  }

  /** One after the other fetches it, so that whoever gives up does not take it from those who wait. */
  async #fetched(hash: string, bytes: number, fetch: FetchPiece): Promise<void> {
    const other = this.#fetching.get(hash);
    if (other !== undefined) {
      // Why that one failed is not this one's affair.
      await other.catch(() => {});
      return;
    }
    const fetching = this.#fetch(hash, bytes, fetch).finally(() => this.#fetching.delete(hash));
    this.#fetching.set(hash, fetching);
    await fetching;
  }

  async #fetch(hash: string, bytes: number, fetch: FetchPiece): Promise<void> {
    const part = join(this.#directory, hash + PART);
    const begun = await this.#append(part, bytes, fetch);
    let found = await sha256(part);
    // What was there may not be what was written, as after a power failure.
    if (found !== hash && begun > 0) {
      await rm(part, { force: true });
      await this.#append(part, bytes, fetch);
      found = await sha256(part);
    }
    if (found !== hash) {
      await rm(part, { force: true });
      throw new DamagedBlobError("what came is not what its hash says");
    }
    await rename(part, join(this.#directory, hash));
    this.#blobs.set(hash, { bytes, users: 0 });
  }

  /** Fetches what is missing of a blob; returns how much was there before. */
  async #append(part: string, bytes: number, fetch: FetchPiece): Promise<number> {
    const file = await open(part, "a", 0o600);
    try {
      const { size } = await file.stat();
      for (let at = size; at < bytes; ) {
        const piece = await fetch(at);
        if (piece.length === 0 || at + piece.length > bytes) break;
        for (let done = 0; done < piece.length; )
          done += (await file.write(piece, done, piece.length - done)).bytesWritten;
        at += piece.length;
      }
      await file.sync();
      return size;
    } finally {
      await file.close();
    }
  }

  /** Makes room: removes what nobody reads, the least recently used first. */
  #trim(): void {
    let total = 0;
    for (const { bytes } of this.#blobs.values()) total += bytes;
    for (const [hash, { bytes, users }] of this.#blobs) {
      if (total <= this.#limitBytes) return;
      if (users > 0) continue;
      rmSync(join(this.#directory, hash), { force: true });
      this.#blobs.delete(hash);
      total -= bytes;
    }
  }
}

function isPart(name: string): boolean {
  return name.endsWith(PART) && BLOB_HASH.test(name.slice(0, -PART.length));
}
