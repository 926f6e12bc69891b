import { chmodSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, resolve } from "node:path";
import { requireSystemd, runTool, systemctl, systemdVersion } from "../../systemd/host.ts";
import {
  environmentPath,
  environmentText,
  type UnitOptions,
  unitName,
  unitPath,
  unitText,
} from "../../systemd/unit.ts";
import { command, wholeNumber } from "../support/command.ts";
import { say } from "../support/report.ts";
import { selfCommand } from "../support/self.ts";
import { requireRoot, roleArg, roleOf, userArg } from "../support/service-args.ts";
import { writeStdout } from "../support/stdout.ts";

/** How long an agent may drain, and a principal write, seconds. */
const STOP_SECONDS = { agent: 900, principal: 120 };

export default command({
  meta: { name: "install", description: "Write a unit, enable it and start it" },
  args: {
    ...roleArg,
    ...userArg,
    "dry-run": { type: "boolean", description: "Print the unit and change nothing" },
    "run-as": {
      type: "string",
      valueHint: "USER",
      default: "cdktr",
      description: "Whom it runs as; made when missing",
    },
    directory: {
      type: "string",
      valueHint: "DIR",
      description: "Where it runs (else /var/lib/cdktr; with --user, here)",
    },
    program: { type: "string", valueHint: "FILE", description: "The executable (else this one)" },
    "stop-timeout": {
      type: "string",
      valueHint: "SECONDS",
      description: "How long it may take to end (agents 900: they drain; principals 120)",
    },
  },
  extras: {
    completes: { role: "role" },
    rest: "ARGUMENT",
    details: `What stands after -- goes to 'cdktr start'. Settings belong into the file that the unit names; it is written when it is missing,
      and never overwritten. --dry-run needs neither systemd nor root.`,
    topic: "operations",
    examples: [
      { command: "cdktr service install principal", does: "on the principal's host" },
      {
        command: "cdktr service install agent -- --suffix gpu --label gpu=a100",
        does: "an agent with arguments",
      },
      { command: "cdktr service install agent --user", does: "without root" },
      {
        command: "cdktr service install agent --dry-run > cdktr-agent.service",
        does: "for Ansible and its like",
      },
    ],
  },
  async run({ args }) {
    const role = roleOf(args.role);
    const user = args.user ?? false;
    const version = systemdVersion();
    const extra = args._.slice(1);
    const drains = role === "agent" || extra.includes("--with-agent");
    const options: UnitOptions = {
      role,
      user,
      program: args.program === undefined ? selfCommand() : [resolve(args.program)],
      args: extra,
      directory: resolve(args.directory ?? (user ? "." : "/var/lib/cdktr")),
      runAs: args["run-as"],
      environmentFile: environmentPath(role, user, homedir()),
      stopSeconds:
        wholeNumber(args["stop-timeout"], "--stop-timeout", { min: 1 }) ??
        STOP_SECONDS[drains ? "agent" : "principal"],
      ...(version === undefined ? {} : { systemdVersion: version }),
    };
    if (args["dry-run"]) return writeStdout(unitText(options));
    requireSystemd(user, role);
    requireRoot(user, "install");
    install(options);
  },
});

function install(options: UnitOptions): void {
  const { role, user, environmentFile, runAs } = options;
  if (!user) makeUser(runAs);
  if (!existsSync(environmentFile)) {
    mkdirSync(dirname(environmentFile), { recursive: true, mode: 0o755 });
    writeFileSync(environmentFile, environmentText(role), { mode: 0o600 });
    say(`Settings: ${environmentFile} (written, all commented out)`);
  } else say(`Settings: ${environmentFile} (kept as it is)`);
  const path = unitPath(role, user, homedir());
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, unitText(options));
  chmodSync(path, 0o644);
  say(`Unit:     ${path}`);
  const base = systemctl(user);
  runTool([...base, "daemon-reload"]);
  runTool([...base, "enable", unitName(role)]);
  // Not only started: what was installed before is replaced.
  runTool([...base, "restart", unitName(role)]);
  const flag = user ? " --user" : "";
  say(`The ${role} runs and comes back after a reboot: 'cdktr service status${flag}'.`);
  if (user) say("For it to run while you are not logged in: loginctl enable-linger");
}

function makeUser(name: string): void {
  if (Bun.spawnSync(["getent", "passwd", name], { stdout: "ignore", stderr: "ignore" }).exitCode === 0)
    return;
  runTool(["useradd", "--system", "--home-dir", "/var/lib/cdktr", "--shell", "/usr/sbin/nologin", name]);
  say(`User:     ${name} (made)`);
}
