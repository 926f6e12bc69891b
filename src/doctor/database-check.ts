/** The history database: asked of the principal that has it open, else read from the disk. */
import { existsSync } from "node:fs";
import type { Config } from "../config.ts";
import { errorMessage } from "../errors.ts";
import type { PrincipalInfo } from "../protocol/messages.ts";
import { type Finding, failure, ok } from "./finding.ts";

/** @param info what the principal says of itself; undefined when none answers */
export async function checkDatabase(config: Config, info: PrincipalInfo | undefined): Promise<Finding[]> {
  const remedy =
    "A damaged file can be moved away while the principal is stopped: it makes a new one. 'cdktr db backup' copies can take its place.";
  if (info !== undefined) {
    const { available, error } = info.history;
    if (available) return [ok("database", "The principal can read and write its history")];
    return [failure("database", `The principal has no history: ${error ?? "it does not say why"}`, remedy)];
  }
  const path = config.CDKTR_DB_PATH;
  if (path === ":memory:" || !existsSync(path)) return [];
  try {
    const { countHistory } = await import("../storage/history-check.ts");
    return [ok("database", `${path} can be read (${await countHistory(path)} status rows)`)];
  } catch (error) {
    return [failure("database", `${path} cannot be read: ${errorMessage(error).split("\n", 1)[0]}`, remedy)];
  }
}
