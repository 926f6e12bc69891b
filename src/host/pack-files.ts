/** Packs the files that globs name in a directory. */
import { ArchiveError, type Packed, packing } from "./archive.ts";
import { MatchingFilesError, matchingFiles } from "./matching-files.ts";

/** What is to be packed, and where to. */
export interface PackRequest {
  readonly directory: string;
  readonly globs: readonly string[];
  /** The most that the files may have together, bytes. */
  readonly maxBytes: number;
  /** Of the files that were packed last; null for none. */
  readonly signature: string | null;
  /** The archive, which must not exist. */
  readonly to: string;
}

/** How many times files are packed that change meanwhile. */
const TRIES = 3;

/**
 * Packs the files, unless they are as `signature` says.
 * @throws Error with the code `FILES` when they cannot be packed as they are
 */
export function packFiles(
  { directory, globs, maxBytes, signature, to }: PackRequest,
  touching: (path: string) => void,
): { signature: string; packed: Packed | null } {
  try {
    for (let tries = 1; ; tries++) {
      const found = matchingFiles(directory, globs, { touching });
      if (found.bytes > maxBytes)
        throw new MatchingFilesError(`they have ${inMiB(found.bytes)}; at most ${inMiB(maxBytes)}`);
      if (found.signature === signature) return { signature, packed: null };
      const step = packing(found.sources, to, touching);
      let result = step.next();
      while (result.done !== true) result = step.next();
      // One that was written meanwhile may be half of the old one and half of the new one.
      const isSame = matchingFiles(directory, globs, { touching }).signature === found.signature;
      if (isSame || tries === TRIES)
        return { signature: isSame ? found.signature : "", packed: result.value };
    }
  } catch (error) {
    if (!(error instanceof MatchingFilesError || error instanceof ArchiveError)) throw error;
    throw Object.assign(new Error(error.message), { code: "FILES" });
  }
}

function inMiB(bytes: number): string {
  return `${Math.ceil(bytes / 1024 / 1024)} MiB`;
}
