/** Becomes the process of a history. Internal: only principals start it. */
export { serveHistory } from "../history/process.ts";
