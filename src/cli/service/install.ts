import { chmodSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { homedir, userInfo } from "node:os";
import { dirname, resolve } from "node:path";
import { CdktrError, UnprocessableError, UsageError } from "../../errors.ts";
import { selfCommand } from "../../host/self.ts";
import { withoutJoinTokens } from "../../redaction.ts";
import {
  exposure,
  journalctl,
  requireSystemd,
  runTool,
  systemctl,
  systemdVersion,
  unitProperties,
} from "../../systemd/host.ts";
import {
  DEFAULT_USER,
  environmentPath,
  stateDirectory,
  stateDirectoryName,
  unitName,
  unitPath,
} from "../../systemd/service-id.ts";
import { environmentText, hasTasks, ownWorkflows, type UnitOptions, unitText } from "../../systemd/unit.ts";
import { choicesOf, differences, dropIns, isEdited, readUnit } from "../../systemd/unit-file.ts";
import { pause } from "../../timer.ts";
import { command } from "../support/command.ts";
import { joinTokenOf } from "../support/join-token.ts";
import { say } from "../support/report.ts";
import { nameArg, requireRoot, roleArg, serviceOf, userArg } from "../support/service-args.ts";
import { sayGrace, serviceSettings } from "../support/service-settings.ts";
import { writeStdout } from "../support/stdout.ts";

/** Lines of the journal to show when a service does not start. */
const LINES_OF_A_FAILURE = 15;
/** How long a ready service may take to find the principal before this is reported, and the interval between checks, ms. */
const FINDING_MS = 4000;
const POLL_MS = 100;
/** Part of the status text of agents and listeners that have not found the principal yet. */
const SEARCHING = "looks for the principal";

export default command({
  meta: { name: "install", description: "Write a unit, enable it and start it" },
  args: {
    ...roleArg,
    ...nameArg,
    ...userArg,
    "dry-run": { type: "boolean", description: "Print the unit and change nothing" },
    join: {
      type: "string",
      valueHint: "TOKEN",
      description: "Token with which an agent gets its key before it starts; - reads it from stdin",
    },
    "run-as": {
      type: "string",
      valueHint: "USER",
      description: `User it runs as; created if missing (else ${DEFAULT_USER})`,
    },
    directory: {
      type: "string",
      valueHint: "DIR",
      description: "Working directory (else its data directory below /var/lib; with --user, this one)",
    },
    program: { type: "string", valueHint: "FILE", description: "The executable (else this one)" },
    fresh: {
      type: "boolean",
      description: "Do not keep the arguments, directory and user of an existing unit",
    },
    force: {
      type: "boolean",
      description: "Overwrite a unit that was edited; a copy of it is kept",
    },
  },
  extras: {
    completes: { role: "role" },
    rest: "ARGUMENT",
    restDescription: "After --: options of 'cdktr start ROLE'",
    details: `What stands after -- goes to 'cdktr start'. Settings belong into the file that the unit names; it is written when it is missing,
      and never overwritten. Run it again after an upgrade or to change something: arguments, directory and user stay as they are unless
      they are given, drop-ins stay, and a unit that was edited is not overwritten without --force. --dry-run needs neither systemd nor root.`,
    topic: "operations",
    examples: [
      { command: "cdktr service install principal", does: "on the principal's host" },
      {
        command: "cdktr service install agent --join - < token.txt",
        does: "on a new host, for a secured principal",
      },
      {
        command: "cdktr service install agent --name gpu -- --label gpu=a100",
        does: "a second agent on this host, with arguments",
      },
      { command: "cdktr service install agent --user", does: "without root" },
      {
        command: "cdktr service install agent --dry-run > cdktr-agent.service",
        does: "for Ansible and similar tools",
      },
    ],
  },
  async run({ args }) {
    const service = serviceOf(args);
    const { role, user } = service;
    const before = args["dry-run"] ? undefined : readUnit(unitPath(service, homedir()));
    const kept = before === undefined || args.fresh ? undefined : choicesOf(before);
    const runAs = args["run-as"] ?? kept?.runAs ?? DEFAULT_USER;
    const given = args._.slice(1);
    const version = systemdVersion();
    const options: UnitOptions = {
      ...service,
      program: args.program === undefined ? selfCommand() : [resolve(args.program)],
      args: given.length > 0 ? given : (kept?.args ?? []),
      directory: resolve(args.directory ?? kept?.directory ?? (user ? "." : stateDirectory(runAs))),
      runAs,
      environmentFile: environmentPath(service, homedir()),
      ...(version === undefined ? {} : { systemdVersion: version }),
    };
    checkWords(options);
    if (args.join !== undefined) refuseJoin(role, args["dry-run"] ?? false);
    if (options.args.some((word) => withoutJoinTokens(word) !== word)) refuseTokenInUnit();
    if (args["dry-run"]) return writeStdout(unitText(options));
    requireSystemd(user, role, options.program);
    requireRoot(user, "install");
    const token = await joinTokenOf(args.join);
    if (kept !== undefined && given.length === 0 && kept.args.length > 0) {
      say(`Arguments: ${kept.args.join(" ")} (kept; arguments after -- replace them, --fresh drops them)`);
    }
    await install(options, before, token, args.force ?? false);
  },
});

/** Rejects values that would become several words or lines in a unit. */
function checkWords({ runAs, directory, program }: UnitOptions): void {
  if (!/^[A-Za-z_][A-Za-z0-9_.@-]*$/.test(runAs))
    throw new UsageError(`--run-as ${runAs}: expected the name of a user.`);
  for (const path of [directory, ...program]) {
    if (/\p{Cc}/u.test(path)) throw new UsageError(`${JSON.stringify(path)} cannot be used in a unit.`);
  }
}

function refuseJoin(role: string, isDryRun: boolean): void {
  if (role !== "agent") {
    throw new UsageError(`--join is for agents, not for the ${role}.`, {
      hint: "Other services use a key from 'cdktr keys add', set as CDKTR_KEY_FILE in their settings.",
    });
  }
  if (isDryRun) refuseTokenInUnit();
}

/** Rejects secrets: every user can read a unit. */
function refuseTokenInUnit(): never {
  throw new UsageError(
    "A join token must not be in a unit: it is a secret, and every user can read a unit.",
    {
      hint: "Pass it to 'service install' with --join -, or run 'cdktr start agent --join - --join-only' once on the host, as the service's user and with its CDKTR_APP_DATA_DIRECTORY.",
    },
  );
}

async function install(
  options: UnitOptions,
  before: string | undefined,
  token: string | undefined,
  force: boolean,
): Promise<void> {
  const { role, user, environmentFile } = options;
  const path = unitPath(options, homedir());
  if (before !== undefined && isEdited(before) && !force) {
    throw new UnprocessableError(`${path} was edited after cdktr wrote it, so it was left unchanged.`, {
      hint: `Move your changes into a drop-in (systemctl ${user ? "--user " : ""}edit ${unitName(options)}), which is kept; then use --force to rewrite the unit. The edited one is saved as ${path}.before.`,
    });
  }
  if (!user) prepareUser(options);
  if (!existsSync(environmentFile)) {
    mkdirSync(dirname(environmentFile), { recursive: true, mode: 0o755 });
    writeFileSync(environmentFile, environmentText(options), { mode: 0o600 });
    say(`Settings: ${environmentFile} (written, all commented out)`);
  } else say(`Settings: ${environmentFile} (kept as it is)`);
  if (token !== undefined) await join(options, token);
  writeUnit(path, before, unitText(options), force);
  start(options, before !== undefined);
  if (role !== "principal") await sayWhere(options);
  const score = exposure(options);
  if (score !== undefined) {
    say(`Security: ${score} ('systemd-analyze security': 0 is fully sandboxed, 10 fully exposed)`);
  }
  if (role === "principal") {
    say(`Workflows: ${workflowDirectory(options)}`);
    tellOfKeys(options);
  }
  if (role === "listeners") {
    say("The principal also serves webhooks and files itself unless told not to:");
    say("          cdktr service install principal -- --no-listeners");
  }
  const named = options.name === undefined ? "" : ` --name ${options.name}`;
  say(
    `It starts again after a reboot. Its state: 'cdktr service status ${role}${named}${user ? " --user" : ""}'.`,
  );
  if (user && !existsSync(`/var/lib/systemd/linger/${userInfo().username}`))
    say("To keep it running while you are not logged in: loginctl enable-linger");
}

function writeUnit(path: string, before: string | undefined, text: string, force: boolean): void {
  mkdirSync(dirname(path), { recursive: true });
  if (before !== undefined && force && isEdited(before)) {
    writeFileSync(`${path}.before`, before);
    say(`Unit:     ${path}.before (the edited one)`);
  }
  writeFileSync(path, text);
  chmodSync(path, 0o644);
  const changes = before === undefined ? [] : differences(before, text);
  const how = before === undefined ? "" : changes.length === 0 ? " (unchanged)" : " (changed)";
  say(`Unit:     ${path}${how}`);
  for (const line of changes) say(`          ${line}`);
  for (const file of dropIns(path)) say(`Drop-in:  ${file} (kept)`);
}

/** @throws CdktrError with the end of the service's journal when it does not start */
function start(options: UnitOptions, isInstalled: boolean): void {
  const { user, role } = options;
  const base = systemctl(user);
  const unit = unitName(options);
  runTool([...base, "daemon-reload"]);
  runTool([...base, "enable", unit]);
  if (isInstalled && hasTasks(options)) sayGrace("Restarting it", options.environmentFile);
  const since = new Date();
  try {
    // Restart rather than start, so that a previous version is replaced. Returns when the service reports that it is ready.
    runTool([...base, "restart", unit]);
  } catch (error) {
    const { stdout } = Bun.spawnSync(
      [
        ...journalctl(options, LINES_OF_A_FAILURE),
        "--output=cat",
        `--since=@${Math.floor(since.getTime() / 1000)}`,
      ],
      { stdin: "ignore", stderr: "ignore" },
    );
    const said = stdout.toString().trimEnd();
    throw new CdktrError(`${unit} does not start. ${said === "" ? String(error) : `Its log:\n${said}`}`, {
      hint: `Its settings are in ${options.environmentFile}. systemd keeps trying unless the settings are invalid; 'cdktr service logs ${role}' shows the result.`,
    });
  }
  say(`Service:  ${unit} is ready`);
}

/** Reports the service's status text, after giving it a moment to find the principal. */
async function sayWhere(options: UnitOptions): Promise<void> {
  const deadline = performance.now() + FINDING_MS;
  let status = "";
  do {
    status = unitProperties(options, ["StatusText"]).StatusText ?? "";
    if (!status.includes(SEARCHING)) break;
    await pause(POLL_MS);
  } while (performance.now() < deadline);
  say(`          ${status}`);
  if (status.includes(SEARCHING))
    say(`          (CDKTR_PRINCIPAL_HOST in ${options.environmentFile} says where it is)`);
}

/** @throws UnprocessableError when the service's user cannot run the program */
function prepareUser({ runAs, program }: UnitOptions): void {
  const known = Bun.spawnSync(["getent", "passwd", runAs], { stdout: "ignore", stderr: "ignore" });
  if (known.exitCode !== 0) {
    runTool([
      "useradd",
      "--system",
      "--home-dir",
      stateDirectory(runAs),
      "--shell",
      "/usr/sbin/nologin",
      runAs,
    ]);
    say(`User:     ${runAs} (made)`);
  }
  for (const file of program) {
    const test = ["runuser", "-u", runAs, "--", "test", "-r", file];
    if (Bun.spawnSync(test, { stdin: "ignore", stderr: "ignore" }).exitCode === 0) continue;
    throw new UnprocessableError(`The user ${runAs} cannot read ${file}, so the service could not start.`, {
      hint: `Put it where every user can read it: install -m 755 ${file} /usr/local/bin/cdktr, then run 'service install' from there.`,
    });
  }
}

/** Gets the key before the agent is started, as the agent's user and with its settings; the token is passed through a pipe. */
async function join(options: UnitOptions, token: string): Promise<void> {
  const { user, runAs, program, name, args, directory } = options;
  const suffix = name === undefined ? [] : ["--suffix", name];
  const command = [...program, "start", "agent", "--join", "-", "--join-only", ...suffix, ...args];
  const base: Record<string, string | undefined> = user
    ? process.env
    : { PATH: process.env.PATH, LANG: process.env.LANG };
  const directories = user ? {} : stateDirectories(runAs);
  if (!user) {
    const group = runTool(["id", "-gn", runAs]).trim();
    runTool([
      "install",
      "-d",
      "-m",
      "0700",
      "-o",
      runAs,
      "-g",
      group,
      ...Object.values(stateDirectories(runAs)),
    ]);
  }
  const child = Bun.spawn(user ? command : ["runuser", "-u", runAs, "--", ...command], {
    cwd: existsSync(directory) ? directory : "/",
    env: { ...base, ...directories, ...serviceSettings(options.environmentFile) },
    stdin: Buffer.from(token),
    stdout: "ignore",
    stderr: "inherit",
  });
  if ((await child.exited) === 0) return;
  throw new UnprocessableError("This host could not join the principal, so nothing was installed.", {
    hint: "See the error above.",
  });
}

function stateDirectories(runAs: string): {
  CDKTR_APP_DATA_DIRECTORY: string;
  CDKTR_CACHE_DIRECTORY: string;
} {
  return {
    CDKTR_APP_DATA_DIRECTORY: stateDirectory(runAs),
    CDKTR_CACHE_DIRECTORY: `/var/cache/${stateDirectoryName(runAs)}`,
  };
}

/** The directory in which the principal looks for workflow files. */
function workflowDirectory(options: UnitOptions): string {
  const { args, directory } = options;
  const flag = args.findIndex((arg) => arg === "--workflow-dir" || arg.startsWith("--workflow-dir="));
  const given = flag === -1 ? undefined : (args[flag]?.split("=")[1] ?? args[flag + 1]);
  return resolve(
    directory,
    given ??
      serviceSettings(options.environmentFile).CDKTR_WORKFLOW_DIR ??
      ownWorkflows(options) ??
      "workflows",
  );
}

/** The remaining steps before agents on other hosts can connect. */
function tellOfKeys(options: UnitOptions): void {
  const { user, runAs, environmentFile } = options;
  const settings = serviceSettings(options.environmentFile);
  const data: string | undefined =
    settings.CDKTR_APP_DATA_DIRECTORY ??
    (user ? undefined : stateDirectories(runAs).CDKTR_APP_DATA_DIRECTORY);
  const keys = `${data ?? `${homedir()}/.cdktr`}/keys`;
  if (existsSync(`${keys}/principal.key`)) {
    say(`Keys:     ${keys}; only known keys are accepted`);
    return;
  }
  const cdktr = user ? "cdktr" : `sudo -H -u ${runAs} cdktr`;
  const where = data === undefined ? "" : ` --data-dir ${data}`;
  say(`Keys:     none, so it can listen on loopback only. For agents of other hosts:
            ${cdktr} keys init${where}
            then CDKTR_PRINCIPAL_HOST=ADDRESS in ${environmentFile}, and
            ${[...systemctl(user), "restart", unitName(options)].join(" ")}
            ${cdktr} join-token create${where} --address ADDRESS
          and on each of them: cdktr service install agent --join -`);
}
