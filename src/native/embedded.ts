/**
 * The native files embedded in the executable. A source checkout has none; the build replaces this module with one
 * (scripts/build/embed.ts) whose table holds the compressed files of the target platform.
 */

/** An embedded file, compressed with zstd. */
export interface EmbeddedFile {
  /** File name in the cache. */
  readonly name: string;
  /** Path inside the executable. */
  readonly path: string;
  /** SHA-256 of the uncompressed file, hex. */
  readonly sha256: string;
}

/** The embedded files, by purpose; null in a source checkout. */
export const EMBEDDED: Readonly<Record<"libzmq" | "libduckdb" | "sdk", readonly EmbeddedFile[]>> | null =
  null;
