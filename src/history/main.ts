/** The entry of the process of the history when cdktr runs from its sources; the executable has a command for it. */
import { serveHistory } from "./process.ts";

await serveHistory();
