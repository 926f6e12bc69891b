/**
 * The native files inside the executable. In a source checkout there are none; the build puts another module in the
 * place of this one (scripts/build/embed.ts), whose table holds the compressed files of the target platform.
 */

/** A file that the executable carries, compressed with zstd. */
export interface EmbeddedFile {
  /** File name in the cache. */
  readonly name: string;
  /** Path inside the executable. */
  readonly path: string;
  /** SHA-256 of the uncompressed file, hex. */
  readonly sha256: string;
}

/** The carried files, by what they are needed for; null in a source checkout. */
export const EMBEDDED: Readonly<Record<"libzmq" | "libduckdb" | "sdk", readonly EmbeddedFile[]>> | null =
  null;
