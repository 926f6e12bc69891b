/** The entry of the file helper when cdktr runs from its sources; the executable has a command for it. */
import { serveFileRequests } from "./helper.ts";

await serveFileRequests();
