/** How large the history is, and whether its archive is whole. */
import type { ArchiveInfo } from "../contract/messages.ts";
import { CdktrError, PrincipalUnreachableError } from "../errors.ts";
import type { PrincipalClient } from "../protocol/client.ts";
import { type Finding, failure, ok, warning } from "./finding.ts";

/** What is due every night is late after this time, ms. */
const LATE_MS = 3 * 86_400_000;

export async function checkArchive(client: PrincipalClient, nowMs: number): Promise<Finding[]> {
  try {
    return judgeArchive(await client.call("GETARCHIVE", {}), nowMs);
  } catch (error) {
    // An older principal has none; a history that is away is a finding of its own.
    if (error instanceof PrincipalUnreachableError || !(error instanceof CdktrError)) throw error;
    return [];
  }
}

/** Assesses the archive. */
export function judgeArchive(info: ArchiveInfo, nowMs: number): Finding[] {
  const { directory, missing, missing_files, problem, passed_at_ms: passed } = info;
  const size = (bytes: number) => `${Math.ceil(bytes / 1e6)} MB`;
  const findings: Finding[] = [];
  if (missing_files > 0) {
    const shown = missing.slice(0, 3).join(", ");
    findings.push(
      failure(
        "archive",
        `${missing_files === 1 ? "A file" : `${missing_files} files`} of the archive ${missing_files === 1 ? "is" : "are"} missing or not whole: ${shown}${missing_files > 3 ? ", …" : ""}.`,
        "The history of these days is not shown.",
        `Put them back into ${directory} from a backup, and restart the principal`,
      ),
    );
  }
  if (problem !== null) {
    findings.push(
      warning(
        "archive",
        `Old days of the history could not be moved or deleted: ${problem}`,
        "The database grows.",
        "Repair that, then: cdktr db archive",
      ),
    );
  } else if (info.history_keep_days !== null && passed !== null && nowMs - passed > LATE_MS) {
    findings.push(
      warning(
        "archive",
        `Old days of the history were moved ${Math.floor((nowMs - passed) / 86_400_000)} days ago the last time.`,
        "The database grows.",
        "cdktr db archive",
      ),
    );
  }
  if (findings.length > 0) return findings;
  if (info.in_lake === true) return [ok("archive", `History: ${size(info.database_bytes)} in a lake.`)];
  const archive =
    info.files === 0
      ? "no archive"
      : `archive ${size(info.archive_bytes)}, ${info.first_day} to ${info.last_day}`;
  return [ok("archive", `History: database ${size(info.database_bytes)}, ${archive}.`)];
}
