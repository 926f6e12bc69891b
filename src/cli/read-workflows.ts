/** Becomes a process that reads workflow files. Internal: only principals start it. */
import { serveFileRequests } from "../host/file-helper/helper.ts";
import { digestFile } from "../principal/workflows/parsed-file.ts";

/** Serves until its standard input ends. */
export function readWorkflows(): Promise<void> {
  return serveFileRequests(digestFile);
}
