/** Where whole blobs are. */
import { CdktrError, UnprocessableError } from "../errors.ts";

/** The name of a blob: sha256 of its content, hexadecimal. */
export const BLOB_HASH = /^[0-9a-f]{64}$/;

/** A blob as it is listed. */
export interface ListedBlob {
  readonly hash: string;
  readonly bytes: number;
  /** When it was put there, ms since the epoch. */
  readonly changedMs: number;
}

/** A place for whole blobs, each under its hash. What it cannot do now throws {@link BlobsUnavailableError}. */
export interface BlobPlace {
  /** For messages. */
  readonly name: string;
  /** The size of a blob, bytes; null if there is none. */
  sizeOf(hash: string): Promise<number | null>;
  /** Takes a file whose content has this hash; there is no moment at which a part of it is visible. The file is gone afterwards. */
  put(hash: string, file: string): Promise<void>;
  /**
   * A piece of a blob, shorter only at its end.
   * @throws NoSuchBlobError
   */
  read(hash: string, offset: number, length: number): Promise<Uint8Array>;
  /** Removes a blob; a no-op if there is none. */
  remove(hash: string): Promise<void>;
  list(): AsyncIterable<ListedBlob>;
  /** Whose place it is: from now on that of `owner`, if it was nobody's. */
  claim(owner: string): Promise<string>;
}

/** Names the owner of a place, in it. */
export const OWNER = "OWNER";

/** The place cannot be read or written now. */
export class BlobsUnavailableError extends UnprocessableError {}

/** There is no blob with this hash. */
export class NoSuchBlobError extends CdktrError {
  override readonly exitCode = 4;
  override readonly reply = "CLIENTERROR";

  constructor(place: string) {
    super(`The file is not in ${place} (any more).`);
  }
}
