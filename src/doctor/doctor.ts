/** Runs all checks. */
import { type Config, knownSetting } from "../config.ts";
import { checkDatabase, judgeHistory, judgeState } from "./database-check.ts";
import { judgeFiles } from "./files-check.ts";
import type { Finding } from "./finding.ts";
import {
  checkDescriptors,
  checkDisk,
  checkHome,
  checkPermissions,
  checkUv,
  checkWorkflowDirectory,
} from "./host-checks.ts";
import { checkKeyFiles } from "./key-check.ts";
import { checkLibraries } from "./library-check.ts";
import { checkStore } from "./member-checks.ts";
import { visitPrincipal } from "./principal-checks.ts";

/**
 * Examines this host and its principal. Changes nothing, except that it unpacks the native libraries if necessary.
 * @param progress called with a description of what is being checked
 */
export async function examine(
  config: Config,
  progress: (what: string) => void = () => {},
): Promise<Finding[]> {
  const host = [
    ...checkHome(config),
    checkDescriptors(config),
    ...checkDisk(config),
    ...checkPermissions(config),
    ...checkKeyFiles(config),
    await checkUv(),
    ...(await checkStore(config)),
  ];
  // Nowhere to unpack the libraries.
  if (knownSetting(config, "CDKTR_CACHE_DIRECTORY") === undefined) return host;
  progress("loading the libraries that cdktr carries");
  const libraries = checkLibraries(["libzmq"]);
  // Without the libraries no connection is possible.
  if (libraries.some(({ severity }) => severity === "error")) return [...libraries, ...host];
  const { findings, info, isHere } = await visitPrincipal(config, { progress });
  if (info !== undefined)
    return [...findings, ...judgeState(info), judgeHistory(info), ...judgeFiles(info), ...host, ...libraries];
  // The files of a principal, and DuckDB, are only checked on the principal's own host.
  if (!isHere) return [...findings, ...host, ...libraries];
  progress("reading the history database");
  const own = checkLibraries(["libzmq", "libduckdb"]);
  const canRead = own.every(({ severity }) => severity === "ok");
  const database = canRead ? await checkDatabase(config) : [];
  return [...findings, ...database, checkWorkflowDirectory(config), ...host, ...own];
}
