/**
 * Writes batches into a lake until it is killed: numbered lines of one stream, from the first that the lake does not have. Reads the
 * settings from its argument, and prints the number of the last line of each batch that was written.
 */
import { HistoryDatabase } from "../../../src/history/database/history-database.ts";
import { lake } from "../../../src/history/lake/lake.ts";
import { line, logs, runRow } from "../database-support.ts";

const { settings, directory } = JSON.parse(process.argv[2] ?? "{}");
const files = { path: ":memory:", filesDirectory: `${directory}/files`, tempDirectory: `${directory}/temp` };
const history = await HistoryDatabase.open({ ...files, place: lake({ ...files, settings }) });
for (let next = ((await history.cursors()).streams.get("s") ?? 0) + 1; ; ) {
  // Rows in the catalog, rows in a file, and both.
  const sizes = [[2], [1_500], [1_200, 3]][next % 3] ?? [];
  for (const size of sizes) {
    const batch = logs(
      "s",
      next,
      Array.from({ length: size }, (_, i) => line({ payload: String(next + i) })),
    );
    const last = next + size - 1;
    const row = runRow({ workflow_instance_id: `run-${last}` });
    await history.write({ ...batch, statuses: [{ id: last, table: "workflow_run_status", row }] });
    console.log(last);
    next = last + 1;
  }
}
