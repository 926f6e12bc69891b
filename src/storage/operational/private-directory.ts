import { mkdirSync } from "node:fs";
import { CdktrError, errorMessage } from "../../errors.ts";

/** Makes a directory that nobody else can read, if it is not there. */
export function makePrivateDirectory(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new CdktrError(`The data directory ${path} cannot be created: ${errorMessage(error)}.`, {
      cause: error,
      hint: "CDKTR_APP_DATA_DIRECTORY sets its location.",
    });
  }
}
