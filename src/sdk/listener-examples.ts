/** The listener examples embedded in the executable: `cdktr docs listeners` shows them. */

import fileWatcherPy from "./examples/file_watcher.py" with { type: "text" };
import fileWatcherTs from "./examples/file-watcher.ts" with { type: "text" };
import flaskWebhook from "./examples/flask_webhook.py" with { type: "text" };
import postgresNotify from "./examples/postgres_notify.py" with { type: "text" };
import rabbitmq from "./examples/rabbitmq.py" with { type: "text" };
import shipLogsPy from "./examples/ship_logs.py" with { type: "text" };
import shipLogsTs from "./examples/ship-logs.ts" with { type: "text" };

/** A complete, runnable program. */
export interface ListenerExample {
  readonly name: string;
  /** Language of the code block. */
  readonly language: "python" | "ts";
  readonly text: string;
}

// TypeScript takes these text imports for modules.
const typescript: readonly [string, string][] = [
  ["file-watcher.ts", String(fileWatcherTs)],
  ["ship-logs.ts", String(shipLogsTs)],
];
const python: readonly [string, string][] = [
  ["flask_webhook.py", flaskWebhook],
  ["rabbitmq.py", rabbitmq],
  ["postgres_notify.py", postgresNotify],
  ["file_watcher.py", fileWatcherPy],
  ["ship_logs.py", shipLogsPy],
];

/** In the order of the page. */
export const LISTENER_EXAMPLES: readonly ListenerExample[] = [
  ...python.map(([name, text]): ListenerExample => ({ name, language: "python", text })),
  ...typescript.map(([name, text]): ListenerExample => ({ name, language: "ts", text })),
];
