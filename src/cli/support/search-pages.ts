import type { LogLine } from "../../contract/log-line.ts";
import { linesOf } from "../../contract/log-page.ts";
import type { SearchLogs } from "../../contract/messages.ts";
import type { Connection } from "./connect.ts";
import { say } from "./report.ts";

/**
 * The lines that a search finds, page by page: any number of them in little memory. Warnings of the principal go to stderr.
 * @param limit the newest so many
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
    const lines = linesOf(page).slice(0, left);
    left -= lines.length;
    if (lines.length > 0) yield lines;
    after = page.next ?? undefined;
  } while (after !== undefined && left > 0);
}
