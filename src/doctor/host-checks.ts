/** What a host must have: room on its disks, file descriptors, directories that fit, uv. */
import { accessSync, constants, readFileSync, statfsSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { uvOfHost } from "../agent/executors/uv-python.ts";
import type { Config } from "../config.ts";
import { type Finding, failure, ok, warning } from "./finding.ts";

const MIB = 1024 * 1024;
/** Less room than this, MiB: DuckDB and the agent's outbox soon find none. */
const FEW_MIB = 1024;
const NONE_MIB = 100;
/** A task takes its two pipes, its pid file and a share of the logs. */
const DESCRIPTORS_PER_TASK = 8;
const DESCRIPTORS_AT_REST = 128;

/** Looks at the room left where cdktr writes. */
export function checkDisk(config: Config): Finding[] {
  const places = new Map<number, string>();
  const directories = [config.CDKTR_APP_DATA_DIRECTORY, config.CDKTR_CACHE_DIRECTORY];
  if (config.CDKTR_DB_PATH !== ":memory:") directories.push(dirname(config.CDKTR_DB_PATH));
  for (const directory of directories) {
    const present = nearestPresent(directory);
    const { dev } = statSync(present);
    if (!places.has(dev)) places.set(dev, present);
  }
  return [...places.values()].map((place) => {
    const { bavail, bsize, files, ffree } = statfsSync(place);
    const free = Math.floor((bavail * bsize) / MIB);
    const message = `${free} MiB are free at ${place}`;
    const remedy = `Free some, or move cdktr's data with CDKTR_APP_DATA_DIRECTORY and CDKTR_DB_PATH; 'cdktr db export' and 'cdktr db backup' bring the history elsewhere.`;
    if (free < NONE_MIB) return failure("disk", `Only ${message}: nothing can be written soon.`, remedy);
    if (files > 0 && ffree < 1000)
      return failure("disk", `Only ${ffree} inodes are free at ${place}.`, remedy);
    if (free < FEW_MIB) return warning("disk", `Only ${message}.`, remedy);
    return ok("disk", message);
  });
}

/** Looks at who may read and write cdktr's files, and whether this user can. */
export function checkPermissions(config: Config, directory = process.cwd()): Finding[] {
  const findings: Finding[] = [];
  const uid = process.getuid?.() ?? 0;
  for (const place of new Set([config.CDKTR_APP_DATA_DIRECTORY, config.CDKTR_CACHE_DIRECTORY])) {
    const stat = statSync(place, { throwIfNoEntry: false });
    const above = nearestPresent(place);
    if (stat !== undefined && !stat.isDirectory()) {
      findings.push(failure("permissions", `${place} is not a directory.`, "Move it away, or name another."));
    } else if (!may(above, constants.W_OK | constants.X_OK)) {
      findings.push(
        failure(
          "permissions",
          `${place} cannot be written by this user (uid ${uid}).`,
          `Give it to the user that runs cdktr: chown -R USER ${above}. Or run as that user.`,
        ),
      );
    } else if (stat !== undefined && stat.uid !== uid && uid !== 0) {
      findings.push(
        failure(
          "permissions",
          `${place} belongs to uid ${stat.uid}, this is uid ${uid}.`,
          `Run as its owner, or chown -R ${uid} ${place}.`,
        ),
      );
    } else if (stat !== undefined && (stat.mode & 0o077) !== 0) {
      findings.push(
        warning("permissions", `${place} is open to other users of this host.`, `chmod go-rwx ${place}`),
      );
    } else findings.push(ok("permissions", `${place} is this user's${stat === undefined ? " to make" : ""}`));
  }
  const dotenv = join(directory, ".env");
  const settings = statSync(dotenv, { throwIfNoEntry: false });
  if (settings !== undefined && (settings.mode & 0o022) !== 0) {
    findings.push(warning("permissions", `${dotenv} can be changed by other users.`, `chmod go-w ${dotenv}`));
  }
  return findings;
}

/** Looks whether the directory of the workflow files is there; only a principal needs it. */
export function checkWorkflowDirectory(config: Config): Finding {
  const place = resolve(config.CDKTR_WORKFLOW_DIR);
  const stat = statSync(place, { throwIfNoEntry: false });
  if (stat?.isDirectory() && may(place, constants.R_OK | constants.X_OK))
    return ok("workflows", `${place} can be read`);
  return warning(
    "workflows",
    stat === undefined ? `${place} does not exist.` : `${place} cannot be read.`,
    "Only the principal's host needs it: make it, or name another with CDKTR_WORKFLOW_DIR.",
  );
}

/** Looks at the limit of open files, as this process has it. */
export function checkDescriptors(
  config: Config,
  limits = readFileSync("/proc/self/limits", "utf8"),
): Finding {
  const limit = /^Max open files\s+(\S+)/m.exec(limits)?.[1] ?? "unlimited";
  const needed = DESCRIPTORS_AT_REST + config.CDKTR_AGENT_MAX_TASKS * DESCRIPTORS_PER_TASK;
  if (limit === "unlimited" || Number(limit) >= needed)
    return ok("descriptors", `${limit} files may be open (about ${needed} are needed at most)`);
  return failure(
    "descriptors",
    `Only ${limit} files may be open: ${config.CDKTR_AGENT_MAX_TASKS} tasks at once need about ${needed}.`,
    "Raise it (ulimit -n 65536; LimitNOFILE= in a unit), or lower CDKTR_AGENT_MAX_TASKS.",
  );
}

/** Looks whether tasks of the type !UvPython can run. */
export async function checkUv(
  environment: Readonly<Record<string, string | undefined>> = process.env,
): Promise<Finding> {
  const remedy =
    "Only hosts whose agent runs !UvPython tasks need it: pip install uv, or see https://docs.astral.sh/uv/";
  const uv = uvOfHost(environment, process.cwd());
  if (uv === null) return warning("uv", "uv was not found: !UvPython tasks cannot run here.", remedy);
  try {
    const child = Bun.spawn([uv, "--version"], { stdout: "pipe", stderr: "ignore", stdin: "ignore" });
    const [text, status] = await Promise.all([new Response(child.stdout).text(), child.exited]);
    if (status === 0) return ok("uv", `${text.trim()} at ${uv}`);
    return warning("uv", `${uv} --version ends with status ${status}.`, remedy);
  } catch {
    return warning("uv", `${uv} cannot be started.`, remedy);
  }
}

/** The directory itself, or the nearest one above it that is there. */
function nearestPresent(path: string): string {
  for (let at = resolve(path); ; at = dirname(at)) {
    if (statSync(at, { throwIfNoEntry: false }) !== undefined || dirname(at) === at) return at;
  }
}

function may(path: string, mode: number): boolean {
  try {
    accessSync(path, mode);
    return true;
  } catch {
    return false;
  }
}
