/** The entry of a reader of workflow files when cdktr runs from its sources; the executable has a command for it. */
import { serveFileRequests } from "../../host/file-helper/helper.ts";
import { digestFile } from "./parsed-file.ts";

await serveFileRequests(digestFile);
