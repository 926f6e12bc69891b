/** Why a principal does not become a member. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import type { Config } from "../../config.ts";
import { IN_MEMORY } from "../../contract/history.ts";
import { UsageError } from "../../errors.ts";
import type { ClusterSight } from "../../storage/postgres/leadership.ts";
import { withoutPassword } from "../../storage/postgres/url.ts";
import { type MemberNews, SILENT_MS } from "./members-view.ts";

/** What the id of the leader begins with when the state is not in PostgreSQL any more. */
const MOVED = "moved to ";

/**
 * Checks that a member and what it has fit to the others.
 * @throws UsageError when they do not
 */
export function refuseOther(sight: ClusterSight, config: Config, ownId: string): void {
  const { CDKTR_APP_DATA_DIRECTORY: directory, CDKTR_BLOB_URL: blobs } = config;
  if (sight.leader?.member_id.startsWith(MOVED) === true)
    throw new UsageError(
      `The state is not in PostgreSQL any more: it was moved to one principal, ${sight.leader.member_id.slice(MOVED.length)}.`,
      {
        hint: "Start that one without CDKTR_STORE_URL, or move the state back with 'cdktr db move --to URL'.",
      },
    );
  if (sight.schema_version === 0 && existsSync(join(directory, "state.db")))
    throw new UsageError(
      `${directory} has the state of a single principal, and the database of CDKTR_STORE_URL has none: its runs would be missing.`,
      {
        hint: "Move it with 'cdktr db move --to URL'; or, to begin with an empty state, set CDKTR_APP_DATA_DIRECTORY to another directory.",
      },
    );
  const other = sight.members.find(
    ({ member_id, silent_ms, is_stopping }) => member_id !== ownId && silent_ms < SILENT_MS && !is_stopping,
  );
  if (other === undefined) return;
  const news = other.data as unknown as Partial<MemberNews>;
  const history = historyPlace(config);
  if (news.history !== undefined && news.history !== history)
    throw new UsageError(
      `The principal ${other.name} keeps the history in ${news.history}, this one in ${history}: when another one leads, runs and logs of before would be missing.`,
      {
        hint: "Set CDKTR_HISTORY_URL and CDKTR_HISTORY_DATA to the same for all principals.",
      },
    );
  const theirs = news.blobs;
  if (theirs !== undefined && theirs !== blobs)
    throw new UsageError(
      `The principal ${other.name} keeps the files of runs in ${theirs}, this one in ${blobs}: whoever leads needs all of them.`,
      {
        hint: "Set CDKTR_BLOB_URL to the same for all principals: a bucket (s3://BUCKET/PREFIX), or a directory that they share.",
      },
    );
}

/** Where a principal keeps its history: a lake, or a file of its own. */
export function historyPlace(config: Config): string {
  const { CDKTR_HISTORY_URL: url, CDKTR_HISTORY_DATA: data, CDKTR_DB_PATH: file } = config;
  // Nobody expects that one to last.
  if (url === "") return file === IN_MEMORY ? "memory" : `a file on its host, ${file}`;
  return `the lake of ${withoutPassword(url)} in ${data}`;
}
