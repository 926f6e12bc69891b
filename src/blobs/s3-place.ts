/** Blobs as objects of a bucket: `PREFIX/HASH`. */
import { rm } from "node:fs/promises";
import { errorMessage } from "../errors.ts";
import { Timer } from "../timer.ts";
import {
  BLOB_HASH,
  type BlobPlace,
  BlobsUnavailableError,
  type ListedBlob,
  NoSuchBlobError,
  OWNER,
} from "./blob-place.ts";

/** How long one request may take, and how long for each MiB that it carries, ms. */
const REQUEST_MS = 30_000;
const MIB_MS = 2000;

/** How to reach a bucket; what is absent comes from the variables that AWS's own tools read. */
export interface BucketOptions {
  readonly bucket: string;
  /** Begins the names of the objects; empty or ending in `/`. */
  readonly prefix: string;
  readonly endpoint?: string | undefined;
  readonly region?: string | undefined;
  readonly accessKeyId?: string | undefined;
  readonly secretAccessKey?: string | undefined;
}

export class S3Place implements BlobPlace {
  readonly name: string;
  readonly #client: Bun.S3Client;
  readonly #prefix: string;

  constructor({ prefix, ...options }: BucketOptions) {
    this.name = `s3://${options.bucket}/${prefix}`;
    this.#prefix = prefix;
    this.#client = new Bun.S3Client(options);
  }

  async sizeOf(hash: string): Promise<number | null> {
    try {
      return (await this.#within(0, this.#client.stat(this.#prefix + hash))).size;
    } catch (error) {
      if (isMissing(error)) return null;
      throw this.#unavailable(error);
    }
  }

  async put(hash: string, file: string): Promise<void> {
    try {
      const source = Bun.file(file);
      const { size } = source;
      // An object is visible when all of it has arrived, also if that is in parts.
      await this.#within(size, this.#client.write(this.#prefix + hash, source));
      const found = await this.sizeOf(hash);
      if (found !== size) throw new Error(`${found ?? "none"} of ${size} bytes have arrived`);
      await rm(file, { force: true });
    } catch (error) {
      throw this.#unavailable(error);
    }
  }

  async read(hash: string, offset: number, length: number): Promise<Uint8Array> {
    try {
      const size = await this.sizeOf(hash);
      if (size === null) throw new NoSuchBlobError(this.name);
      if (offset >= size) return new Uint8Array();
      const piece = this.#client.file(this.#prefix + hash).slice(offset, Math.min(size, offset + length));
      return await this.#within(length, piece.bytes());
    } catch (error) {
      if (error instanceof NoSuchBlobError || isMissing(error)) throw new NoSuchBlobError(this.name);
      throw this.#unavailable(error);
    }
  }

  async remove(hash: string): Promise<void> {
    try {
      await this.#within(0, this.#client.delete(this.#prefix + hash));
    } catch (error) {
      if (!isMissing(error)) throw this.#unavailable(error);
    }
  }

  async *list(): AsyncIterable<ListedBlob> {
    let continuationToken: string | undefined;
    do {
      let page: Bun.S3ListObjectsResponse;
      try {
        const request = { prefix: this.#prefix, ...(continuationToken && { continuationToken }) };
        page = await this.#within(0, this.#client.list(request));
      } catch (error) {
        throw this.#unavailable(error);
      }
      for (const { key, size, lastModified } of page.contents ?? []) {
        const hash = key.slice(this.#prefix.length);
        if (BLOB_HASH.test(hash))
          yield { hash, bytes: size ?? 0, changedMs: Date.parse(lastModified ?? "") || Date.now() };
      }
      continuationToken = page.isTruncated === true ? page.nextContinuationToken : undefined;
    } while (continuationToken !== undefined);
  }

  async claim(owner: string): Promise<string> {
    const key = this.#prefix + OWNER;
    try {
      try {
        return (await this.#within(0, this.#client.file(key).text())).trim();
      } catch (error) {
        if (!isMissing(error)) throw error;
      }
      await this.#within(0, this.#client.write(key, `${owner}\n`));
      return owner;
    } catch (error) {
      throw this.#unavailable(error);
    }
  }

  /** A server that does not answer holds up one request, and not for ever. */
  async #within<T>(bytes: number, work: Promise<T>): Promise<T> {
    const { promise, reject } = Promise.withResolvers<never>();
    const ms = REQUEST_MS + (bytes / 1024 / 1024) * MIB_MS;
    const timer = new Timer(() => reject(new Error(`no answer in ${Math.round(ms / 1000)} s`)));
    timer.in(ms);
    try {
      return await Promise.race([work, promise]);
    } finally {
      timer.cancel();
    }
  }

  #unavailable(cause: unknown): BlobsUnavailableError {
    if (cause instanceof BlobsUnavailableError) return cause;
    return new BlobsUnavailableError(`Files cannot be kept in ${this.name}: ${errorMessage(cause)}.`, {
      cause,
      hint: "Check CDKTR_BLOB_URL, CDKTR_S3_ENDPOINT and the keys of the bucket.",
    });
  }
}

function isMissing(error: unknown): boolean {
  if (!(error instanceof Error) || !("code" in error)) return false;
  return error.code === "NoSuchKey" || error.code === "NotFound" || error.code === "UnknownError404";
}
