/**
 * The native files embedded in the executable. A source checkout has none; the build replaces this module with one
 * (scripts/build/embed.ts) whose table holds the compressed files of the target platform.
 */

/** What embedded files are for. `lake` is empty in an executable that was built without its extensions. */
export type EmbeddedGroup = "libzmq" | "libduckdb" | "sdk" | "lake";

/** An embedded file, compressed with zstd. */
export interface EmbeddedFile {
  /** File name in the cache. */
  readonly name: string;
  /** Path inside the executable. */
  readonly path: string;
  /** SHA-256 of the uncompressed file, hex. */
  readonly sha256: string;
  /** Where the file is in what `path` holds uncompressed, when that is several files: from, up to, bytes. */
  readonly range?: readonly [number, number];
}

/** The embedded files, by purpose; null in a source checkout. */
export const EMBEDDED: Readonly<Record<EmbeddedGroup, readonly EmbeddedFile[]>> | null = null;
