/** A principal in a process of its own: `principal-child.ts DIRECTORY`. Prints its API port when it is ready. */
import { join } from "node:path";
import { createConsola } from "consola";
import { loadConfig } from "../../src/config.ts";
import { historyHere } from "../../src/history/in-process.ts";
import { Principal } from "../../src/principal/principal.ts";

const [directory = ""] = process.argv.slice(2);
const principal = new Principal({
  history: historyHere(),
  config: {
    ...loadConfig({}, {}, directory).values,
    CDKTR_APP_DATA_DIRECTORY: join(directory, "data"),
    CDKTR_DB_PATH: join(directory, "data", "app.db"),
    CDKTR_WORKFLOW_DIR: join(directory, "workflows"),
    CDKTR_PRINCIPAL_PORT: 0,
    CDKTR_LOGS_LISTENING_PORT: 0,
    CDKTR_LOGS_PUBLISHING_PORT: 0,
    CDKTR_METRICS_PORT: 0,
  },
  log: createConsola({ level: 1, stdout: process.stderr, stderr: process.stderr }),
  scheduler: false,
});
await principal.start();
await principal.historySettled();
process.stdout.write(`${principal.ports.api}\n`);
process.once("SIGTERM", () => void principal.stop().then(() => process.exit(0)));
