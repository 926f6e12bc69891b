import { type LogLine, lineOf } from "../../contract/log-line.ts";
import type { SearchLogs } from "../../contract/messages.ts";
import type { Connection } from "./connect.ts";
import { say } from "./report.ts";

/**
 * Fetches the results of a search page by page, so that any number of lines needs little memory. Warnings of the principal go to
 * stderr.
 * @param limit only the newest lines, this many
 */
export async function* searchPages(
  connection: Connection,
  search: SearchLogs,
  limit?: number,
): AsyncGenerator<LogLine[]> {
  let left = limit ?? Number.POSITIVE_INFINITY;
  let after: number | undefined;
  let warned = false;
  do {
    const page = await connection.patiently((options) =>
      connection.client.searchLogs(
        {
          ...search,
          ...(limit === undefined ? {} : { limit: left }),
          ...(after === undefined ? {} : { after }),
        },
        options,
      ),
    );
    if (page.warning !== null && !warned) {
      warned = true;
      say(`warning: ${page.warning}`);
    }
    const lines = page.rows.slice(0, left).map(lineOf);
    left -= lines.length;
    if (lines.length > 0) yield lines;
    after = page.next ?? undefined;
  } while (after !== undefined && left > 0);
}
