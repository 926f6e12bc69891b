/** Checks the history database: through the principal that has it open, or on the disk. */

import { existsSync } from "node:fs";
import { type Config, knownSetting } from "../config.ts";
import type { PrincipalInfo } from "../contract/messages.ts";
import { isDoneWithin } from "../timer.ts";
import { type Finding, failure, ok, warning } from "./finding.ts";

const WHY =
  "Workflows keep running, but logs and older runs cannot be read. Agents keep their lines on disk until it is back.";
/** If opening the file takes longer than this, ms, give up: it may have a long WAL to replay, or be on a slow disk. */
const PATIENCE_MS = 10_000;

/** What the principal reports about its database. */
export function judgeHistory({ history: { available, error } }: PrincipalInfo): Finding {
  if (available) return ok("database", "The principal can read and write its history");
  const message = error ?? "The principal has no history and does not say why.";
  return failure("database", message, WHY, remedyOf(message));
}

/** A state that the principal cannot read. */
export function judgeState({ state_error }: PrincipalInfo): Finding[] {
  if (state_error == null) return [];
  const why =
    "Nothing can be triggered, and runs cannot be listed. What was acknowledged is safe on the disk as long as that is readable again.";
  return [
    failure(
      "state",
      state_error,
      why,
      "Repair the disk, then restart the principal; its log has the details.",
    ),
  ];
}

/** Checks that the file can be read, when no principal has it open. */
export async function checkDatabase(config: Config): Promise<Finding[]> {
  const path = knownSetting(config, "CDKTR_DB_PATH");
  if (path === undefined || path === ":memory:" || !existsSync(path)) return [];
  const { countHistory } = await import("../history/database/check.ts");
  try {
    const counting = countHistory(path);
    if (await isDoneWithin(PATIENCE_MS, counting))
      return [ok("database", `${path} can be read (${await counting} status rows)`)];
    return [
      warning(
        "database",
        `${path} could not be read in ${PATIENCE_MS / 1000} s.`,
        "It may have a lot to recover after an unclean shutdown, or the disk is slow.",
        "Start the principal, which waits as long as necessary, and check again.",
      ),
    ];
  } catch (error) {
    const { historyUnavailable } = await import("../history/database/error.ts");
    const { message } = historyUnavailable(error, path);
    return [failure("database", message, WHY, remedyOf(message))];
  }
}

/** The remedy for each error message of history/database/error.ts. */
function remedyOf(message: string): string {
  const path = /database (\/\S+)/.exec(message)?.[1] ?? "app.db";
  const port = /^The history cannot be started: Port (\d+) of \S+ is taken/.exec(message)?.[1];
  if (port !== undefined)
    return `Find out what has the port (sudo ss -ltnp 'sport = :${port}') and stop it: then the history starts by itself.`;
  const pid = /\(process (\d+)\)/.exec(message)?.[1];
  if (pid !== undefined)
    return `Close it there (ps -fp ${pid} shows what it is). To read it while the principal is running, use 'cdktr db query' or a copy: cdktr db backup FILE`;
  if (/in use by another/.test(message)) return `Close it there: fuser -v ${path} shows who has it.`;
  if (/disk is full/.test(message)) return `Free some space: df -h ${path} shows which disk it is.`;
  if (/read-only/.test(message)) return "Make it writable, or set CDKTR_DB_PATH to another path.";
  if (/permission denied/.test(message))
    return `Give it to the user that runs the principal, or run this as that user: ls -l ${path} shows its owner.`;
  if (/another version/.test(message)) return "Use the cdktr that wrote it, or move the file away.";
  if (/damaged|not a DuckDB/.test(message))
    return `Move it away (mv ${path} ${path}.bad; and its .wal file if there is one), or put a copy made by 'cdktr db backup' in its place: a running principal picks that up by itself, and creates a new file if there is none.`;
  return "The principal retries by itself. Its log has the details: cdktr service logs principal";
}
