/** Checks the requirements of a host: disk space, file descriptors, permissions of directories, uv. */
import { accessSync, constants, existsSync, readFileSync, type Stats, statfsSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { uvOfHost } from "../agent/executors/uv-python.ts";
import { type Config, knownSetting } from "../config.ts";
import { ConfigError, errorMessage } from "../errors.ts";
import { shellWord } from "../host/private-files.ts";
import { type Finding, failure, ok, warning } from "./finding.ts";

const MIB = 1024 * 1024;
/** Free space below which to warn, MiB: DuckDB and the agent's outbox will soon run out. */
const FEW_MIB = 1024;
const NONE_MIB = 100;
const FEW_INODES = 1000;
/** Deadline for `uv --version`, ms. */
const UV_PATIENCE_MS = 5000;
/** A task needs two pipes, a pid file and a share of the logs. */
const DESCRIPTORS_PER_TASK = 8;
const DESCRIPTORS_AT_REST = 128;

/** Checks that the settings whose default is in the home directory have a value. */
export function checkHome(config: Config): Finding[] {
  return (["CDKTR_APP_DATA_DIRECTORY", "CDKTR_CACHE_DIRECTORY"] as const).flatMap((name) => {
    try {
      void config[name];
      return [];
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error;
      const why = "Commands that need it fail, and some of these checks cannot be made.";
      return [failure("settings", error.message, why, error.hint ?? "See 'cdktr docs configuration'.")];
    }
  });
}

/** Checks the free space where cdktr writes. */
export function checkDisk(config: Config): Finding[] {
  const places = new Map<number, string>();
  const db = knownSetting(config, "CDKTR_DB_PATH");
  const directories = [
    knownSetting(config, "CDKTR_APP_DATA_DIRECTORY"),
    knownSetting(config, "CDKTR_CACHE_DIRECTORY"),
    db === undefined || db === ":memory:" ? undefined : dirname(db),
  ];
  for (const directory of directories) {
    if (directory === undefined) continue;
    const present = nearestPresent(directory);
    const { dev } = statSync(present);
    if (!places.has(dev)) places.set(dev, present);
  }
  return [...places.values()].map((place) => {
    const { bavail, bsize, files, ffree } = statfsSync(place);
    const free = Math.floor((bavail * bsize) / MIB);
    const message = `${free} MiB are free at ${place}`;
    const why = "On a full disk, runs cannot be accepted and logs cannot be stored.";
    const remedy = `Find out what uses the space: du -xhd1 ${shellWord(place)} | sort -h. Or stop cdktr and move its data (CDKTR_APP_DATA_DIRECTORY, CDKTR_DB_PATH).`;
    if (free < NONE_MIB) return failure("disk", `Only ${message}.`, why, remedy);
    if (files > 0 && ffree < FEW_INODES)
      return failure(
        "disk",
        `Only ${ffree} inodes are free at ${place}.`,
        why,
        `Find out where the many files are: du --inodes -xd1 ${shellWord(place)} | sort -n`,
      );
    if (free < FEW_MIB) return warning("disk", `Only ${message}.`, why, remedy);
    return ok("disk", message);
  });
}

/** Checks who may read and write cdktr's files, and whether this user can. */
export function checkPermissions(config: Config, directory = process.cwd()): Finding[] {
  const data = knownSetting(config, "CDKTR_APP_DATA_DIRECTORY");
  const cache = knownSetting(config, "CDKTR_CACHE_DIRECTORY");
  const findings: Finding[] = [];
  if (data !== undefined) {
    const why = "Neither a principal nor an agent can start.";
    findings.push(checkDirectory(data, "CDKTR_APP_DATA_DIRECTORY", why));
  }
  if (cache !== undefined) {
    findings.push(checkDirectory(cache, "CDKTR_CACHE_DIRECTORY", "cdktr cannot unpack its libraries."));
  }
  const db = knownSetting(config, "CDKTR_DB_PATH");
  if (db !== undefined && db !== ":memory:") {
    const why = "The principal has no history, so logs cannot be read.";
    // Inside the data directory it is protected by that directory.
    if (dirname(db) !== data) findings.push(checkDirectory(dirname(db), "CDKTR_DB_PATH", why, true));
    for (const file of [db, `${db}.wal`]) findings.push(...checkDatabaseFile(file, why));
  }
  const dotenv = join(directory, ".env");
  const settings = statOf(dotenv);
  if (settings !== undefined && (settings.mode & 0o022) !== 0) {
    findings.push(
      warning(
        "permissions",
        `${dotenv} can be changed by other users.`,
        "Its settings decide where cdktr connects and which keys it uses.",
        `chmod go-w ${shellWord(dotenv)}`,
      ),
    );
  }
  return findings;
}

/** @param isShared it may hold other users' files too, so it need not be private */
function checkDirectory(place: string, setting: string, why: string, isShared = false): Finding {
  const uid = process.getuid?.() ?? 0;
  const stat = statOf(place);
  const above = nearestPresent(place);
  const path = shellWord(above);
  if (stat !== undefined && !stat.isDirectory()) {
    return failure(
      "permissions",
      `${place} is not a directory.`,
      why,
      `Move it away (mv ${path} ${path}.old), or choose another: ${setting}.`,
    );
  }
  const problem = cannot(above, constants.W_OK | constants.X_OK);
  if (problem === "EROFS") {
    return failure(
      "permissions",
      `${place} is on a read-only file system.`,
      why,
      `Make it writable (findmnt -T ${path} shows which; the kernel makes a disk with errors read-only: sudo dmesg), or choose another: ${setting}.`,
    );
  }
  const me = userName(uid);
  if (problem !== null && stat === undefined) {
    return failure(
      "permissions",
      `${place} does not exist, and ${me} cannot create it in ${above}.`,
      why,
      `Create it for this user: sudo install -d -m 700 -o ${me} ${shellWord(place)}. Or choose another: ${setting}.`,
    );
  }
  if (stat !== undefined && (problem !== null || (!isShared && stat.uid !== uid && uid !== 0))) {
    const owner = userName(stat.uid);
    return failure(
      "permissions",
      `${place} ${problem === null ? "does not belong to" : "cannot be written by"} ${me}; it belongs to ${owner}.`,
      why,
      `Run cdktr as ${owner}: sudo -u ${owner} cdktr … Or give the directory to this user: sudo chown -R ${me} ${path}`,
    );
  }
  if (stat !== undefined && !isShared && (stat.mode & 0o077) !== 0) {
    return warning(
      "permissions",
      `${place} is open to other users of this host.`,
      "They can read the output of workflows, and what cdktr runs.",
      `chmod go-rwx ${path}`,
    );
  }
  const toMake = stat === undefined ? " to make" : "";
  return ok("permissions", `${place} is ${isShared ? "writable" : "this user's"}${toMake}`);
}

function checkDatabaseFile(file: string, why: string): Finding[] {
  const stat = statOf(file);
  if (stat === undefined) return [];
  const path = shellWord(file);
  const problem = cannot(file, constants.R_OK | constants.W_OK);
  if (problem !== null && problem !== "EROFS") {
    const me = userName(process.getuid?.() ?? 0);
    return [
      failure(
        "permissions",
        `${file} cannot be read and written by ${me}; it belongs to ${userName(stat.uid)}.`,
        why,
        `Give it to the user that runs the principal: sudo chown ${me} ${path}; chmod u+rw ${path}`,
      ),
    ];
  }
  const others = stat.mode & 0o006;
  if (others === 0 || (statSync(dirname(file)).mode & 0o001) === 0) return [];
  return [
    warning(
      "permissions",
      `${file} can be ${others & 0o002 ? "changed" : "read"} by every user of this host.`,
      "It contains the output of every task.",
      `chmod o-rwx ${path}`,
    ),
  ];
}

/** Checks that the workflow directory exists; only a principal needs it. */
export function checkWorkflowDirectory(config: Config): Finding {
  const place = resolve(config.CDKTR_WORKFLOW_DIR);
  const stat = statOf(place);
  if (stat?.isDirectory() && cannot(place, constants.R_OK | constants.X_OK) === null)
    return ok("workflows", `${place} can be read`);
  const path = shellWord(place);
  return warning(
    "workflows",
    stat === undefined ? `${place} does not exist.` : `${place} cannot be read as a directory.`,
    "A principal started here has no workflows.",
    stat === undefined
      ? `Create it (mkdir ${path}), or choose another: CDKTR_WORKFLOW_DIR, --workflow-dir`
      : `Check its owner (ls -ld ${path}), or choose another: CDKTR_WORKFLOW_DIR, --workflow-dir`,
  );
}

/** Checks the limit of open files of this process. */
export function checkDescriptors(
  config: Config,
  limits = readFileSync("/proc/self/limits", "utf8"),
): Finding {
  // The executable raises its soft limit to the hard limit when it starts.
  const limit = /^Max open files\s+\S+\s+(\S+)/m.exec(limits)?.[1] ?? "unlimited";
  const needed = DESCRIPTORS_AT_REST + config.CDKTR_AGENT_MAX_TASKS * DESCRIPTORS_PER_TASK;
  if (limit === "unlimited" || Number(limit) >= needed)
    return ok("descriptors", `${limit} open files allowed (at most about ${needed} needed)`);
  return failure(
    "descriptors",
    `Only ${limit} open files are allowed: ${config.CDKTR_AGENT_MAX_TASKS} concurrent tasks need about ${needed}.`,
    "Tasks and connections beyond that fail with 'too many open files'.",
    `Raise the hard limit: LimitNOFILE=65536 in the unit (sudo systemctl edit cdktr-agent), '* hard nofile 65536' in /etc/security/limits.conf for logins. Or allow fewer concurrent tasks: CDKTR_AGENT_MAX_TASKS.`,
  );
}

/** Checks that tasks of the type !UvPython can run. */
export async function checkUv(
  environment: Readonly<Record<string, string | undefined>> = process.env,
): Promise<Finding> {
  const why = "Tasks of the type !UvPython fail here. A host whose agent runs none does not need uv.";
  const remedy =
    "Install it for the user of the agent: pip install uv, or curl -LsSf https://astral.sh/uv/install.sh | sh";
  const uv = uvOfHost(environment, process.cwd());
  if (uv === null) return warning("uv", "uv was found neither in PATH nor in ~/.local/bin.", why, remedy);
  try {
    const child = Bun.spawn([uv, "--version"], {
      stdout: "pipe",
      stderr: "ignore",
      stdin: "ignore",
      timeout: UV_PATIENCE_MS,
      killSignal: "SIGKILL",
    });
    const [text, status] = await Promise.all([new Response(child.stdout).text(), child.exited]);
    if (status === 0) return ok("uv", `${text.trim()} at ${uv}`);
    const ended =
      child.signalCode === null
        ? `exits with status ${status}`
        : `does not answer within ${UV_PATIENCE_MS / 1000} s`;
    return warning("uv", `${uv} --version ${ended}.`, why, remedy);
  } catch (error) {
    return warning("uv", `${uv} cannot be started: ${errorMessage(error)}`, why, remedy);
  }
}

/** The status of a path; undefined when nothing is there, or this user has no access. */
function statOf(path: string): Stats | undefined {
  try {
    return statSync(path);
  } catch {
    return undefined;
  }
}

/** The directory itself, or its nearest existing ancestor. */
function nearestPresent(path: string): string {
  for (let at = resolve(path); ; at = dirname(at)) {
    if (statOf(at) !== undefined || dirname(at) === at) return at;
  }
}

/** The error code if access is denied; null if it is granted. */
function cannot(path: string, mode: number): string | null {
  try {
    accessSync(path, mode);
    return null;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? "EACCES";
  }
}

/** The name of a user, or the uid if the host has no name for it. */
function userName(uid: number): string {
  const passwd = existsSync("/etc/passwd") ? readFileSync("/etc/passwd", "utf8") : "";
  const line = passwd.split("\n").find((each) => each.split(":")[2] === String(uid));
  return line?.split(":")[0] ?? String(uid);
}
