/** Everything that usually goes wrong, looked at once. */
import type { Config } from "../config.ts";
import { checkDatabase } from "./database-check.ts";
import type { Finding } from "./finding.ts";
import {
  checkDescriptors,
  checkDisk,
  checkPermissions,
  checkUv,
  checkWorkflowDirectory,
} from "./host-checks.ts";
import { checkLibraries } from "./library-check.ts";
import { visitPrincipal } from "./principal-checks.ts";

/** Examines this host and its principal. Changes nothing, but unpacks the native libraries if they are not. */
export async function examine(config: Config): Promise<Finding[]> {
  const libraries = checkLibraries();
  const host = [
    ...libraries,
    checkDescriptors(config),
    ...checkDisk(config),
    ...checkPermissions(config),
    await checkUv(),
  ];
  // Without its libraries nothing can be asked of anyone.
  if (libraries.some(({ severity }) => severity === "error")) return host;
  const { findings, info } = await visitPrincipal(config);
  // Files are the business of the host whose principal it is.
  const own = info === undefined ? [checkWorkflowDirectory(config)] : [];
  return [...findings, ...(await checkDatabase(config, info)), ...own, ...host];
}
