/**
 * Processes for the tests of the archive, in the directory of a history:
 *   fill DIRECTORY         moves days with a small limit on the size of files, and again without
 *   kill DIRECTORY STEP    is killed at the step with this number
 */
import { join } from "node:path";
import { errorMessage } from "../../../src/errors.ts";
import { HistoryDatabase } from "../../../src/history/database/history-database.ts";
import { limitFileSize } from "../limit-file-size.ts";
import { archiveAll, perDay } from "./archive-support.ts";

const [mode = "", directory = "", step = ""] = process.argv.slice(2);
let steps = 0;
const history = await HistoryDatabase.open({
  path: join(directory, "app.db"),
  filesDirectory: join(directory, "files"),
  tempDirectory: join(directory, "temp"),
  at: () => {
    if (mode === "kill" && ++steps === Number(step)) process.kill(process.pid, "SIGKILL");
  },
});
if (mode === "fill") {
  const before = JSON.stringify(await perDay(history));
  // The log lines of a day have more.
  limitFileSize(16 * 1024);
  const failure = await archiveAll(history, 8).then(
    () => "none",
    (error) => errorMessage(error),
  );
  const during = JSON.stringify(await perDay(history)) === before;
  limitFileSize(null);
  const moved = await archiveAll(history, 8);
  const after = JSON.stringify(await perDay(history)) === before;
  console.log(JSON.stringify({ failure, during, after, days: moved.length }));
} else {
  await archiveAll(history, 8);
  console.log("done");
}
await history.close();
