/** Judges what a principal says of the files of runs that it keeps. */
import type { PrincipalInfo } from "../contract/messages.ts";
import { type Finding, failure, ok, warning } from "./finding.ts";

/** From this share of what may be kept on, it is told. */
const NEARLY = 0.9;

/** Nothing to say for a principal that keeps none. */
export function judgeFiles({ files }: PrincipalInfo): Finding[] {
  if (files === undefined) return [];
  const { archives, bytes, limit_bytes, place, error } = files;
  if (error !== null)
    return [
      failure(
        "files",
        error,
        "Runs of workflows with files: cannot start, and tasks that leave files do not end.",
        "Make it answer; what waits goes on by itself.",
      ),
    ];
  const said = `${archives === 1 ? "1 archive" : `${archives} archives`} with files of runs, ${inMiB(bytes)} of ${inMiB(limit_bytes)}, in ${place}`;
  if (bytes < NEARLY * limit_bytes) return [ok("files", said)];
  return [warning("files", said, "When it is full, no more files are taken.", "Raise CDKTR_BLOB_LIMIT_GB.")];
}

function inMiB(bytes: number): string {
  return `${Math.ceil(bytes / 1024 / 1024)} MiB`;
}
