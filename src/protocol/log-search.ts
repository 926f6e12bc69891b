/** Searches the history of log lines. */
import { type LogLine, lineOf } from "../contract/log-line.ts";
import type { LogPage, SearchLogs } from "../contract/messages.ts";

/** Asks the principal for a page. */
export type AskForPage = (search: SearchLogs) => Promise<LogPage>;

/** The lines of a page, and a warning when the history is incomplete. */
export interface FoundLines {
  readonly lines: LogLine[];
  readonly warning: string | null;
}

/**
 * The results of a search, page by page, so that any number of lines takes little memory.
 * @param limit only the newest lines, this many
 */
export async function* searchPages(
  ask: AskForPage,
  search: SearchLogs,
  limit?: number,
): AsyncGenerator<FoundLines> {
  let left = limit ?? Number.POSITIVE_INFINITY;
  let after: number | undefined;
  do {
    const page = await ask({
      ...search,
      ...(limit === undefined ? {} : { limit: left }),
      ...(after === undefined ? {} : { after }),
    });
    const lines = page.rows.slice(0, left).map(lineOf);
    left -= lines.length;
    yield { lines, warning: page.warning };
    after = page.next ?? undefined;
  } while (after !== undefined && left > 0);
}

/** Whether a line matches a search, ignoring `task` and `grep`. */
export function isFoundBy(search: SearchLogs, line: LogLine): boolean {
  const { workflow_id, workflow_instance_id, level, since_ms, until_ms } = search;
  return (
    (workflow_id === undefined || line.workflow_id === workflow_id) &&
    (workflow_instance_id === undefined || line.workflow_instance_id === workflow_instance_id) &&
    (level === undefined || line.level === level) &&
    (since_ms === undefined || line.timestamp_ms >= since_ms) &&
    (until_ms === undefined || line.timestamp_ms <= until_ms)
  );
}
