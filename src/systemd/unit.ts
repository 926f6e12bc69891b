/** Generates systemd units. Comments in the unit itself explain each decision, because that is where the operator reads them. */
import {
  type Role,
  type ServiceId,
  serviceName,
  stateDirectory,
  stateDirectoryName,
  unitName,
} from "./service-id.ts";
import { choicesLine, sealed } from "./unit-file.ts";

/** The first version of systemd that supports increasing restart delays. */
const BACK_OFF_SINCE = 254;

/** Options of a unit. */
export interface UnitOptions extends ServiceId {
  /** The command line before `start`. */
  readonly program: readonly string[];
  /** Additional arguments of `cdktr start ROLE`. */
  readonly args: readonly string[];
  /** Working directory: the base of relative paths in settings, such as the workflow directory. */
  readonly directory: string;
  /** The user it runs as; ignored for a user service. */
  readonly runAs: string;
  /** Path of its settings file. */
  readonly environmentFile: string;
  /** systemd's version; undefined when unknown. */
  readonly systemdVersion?: number;
}

export function unitText(options: UnitOptions): string {
  const { role, name, user, program, args, environmentFile } = options;
  const unit = unitName(options);
  const command = [...program, "start", role, ...(name === undefined ? [] : ["--suffix", name]), ...args];
  return sealed(`# Written by 'cdktr service install ${role}${name === undefined ? "" : ` --name ${name}`}', which rewrites it when it is run again.
# Put your own changes into a drop-in (systemctl ${user ? "--user " : ""}edit ${unit}).
${choicesLine(options)}

[Unit]
Description=cdktr ${role}${name === undefined ? "" : ` ${name}`}
${order(options)}
# Restart without limit: the service may be waiting for a network or a disk.
StartLimitIntervalSec=0

[Service]
# The service reports when it is ready and pings the watchdog. Without a ping for this long, it is killed and restarted.
Type=notify
NotifyAccess=main
WatchdogSec=60
WatchdogSignal=SIGKILL
ExecStart=${command.map(quoteWord).join(" ")}
WorkingDirectory=${escapePercent(options.directory)}
# Settings: NAME=VALUE lines, see 'cdktr docs configuration'. The file may be missing; only root can read it, so it may contain
# secrets of tasks and webhooks.
EnvironmentFile=-${escapePercent(environmentFile)}
${ownership(options)}
${restart(options)}
${ending(options)}
${limits(options)}
${hardening(options)}
[Install]
WantedBy=${user ? "default.target" : "multi-user.target"}
`);
}

/** The template of the settings file, written when there is none. */
export function environmentText(service: ServiceId): string {
  return `# Settings of the cdktr ${serviceName(service)} service; 'cdktr docs configuration' lists them all.
# After a change: systemctl ${service.user ? "--user " : ""}restart ${unitName(service)}
${SETTINGS_HINTS[service.role]}`;
}

const PRINCIPAL_HINT = `# Where the principal is:
#CDKTR_PRINCIPAL_HOST=10.0.0.5
#CDKTR_PRINCIPAL_PORT=5561
# Or where several are, of which one is used:
#CDKTR_PRINCIPALS=10.0.0.5:5561,10.0.0.6:5561
`;

const SETTINGS_HINTS: Readonly<Record<Role, string>> = {
  principal: `# The address to listen on, and the workflow files:
#CDKTR_PRINCIPAL_HOST=127.0.0.1
#CDKTR_WORKFLOW_DIR=/etc/cdktr/workflows
`,
  agent: `${PRINCIPAL_HINT}# Grace period for its runs when it is stopped, seconds:
#CDKTR_AGENT_STOP_GRACE_S=900
# Where tasks find their programs, such as uv:
#PATH=/usr/local/bin:/usr/bin:/bin
`,
  listeners: `${PRINCIPAL_HINT}# Where webhooks are served; secrets that workflow files refer to as env:NAME go here too:
#CDKTR_WEBHOOK_HOST=127.0.0.1
#CDKTR_WEBHOOK_PORT=5564
`,
};

function order({ role, user }: UnitOptions): string {
  const principal = role === "principal" ? [] : ["cdktr-principal.service"];
  const network = user ? [] : ["network-online.target"];
  return [
    ...(principal.length > 0
      ? ["# If the principal is on this host too: start after it, and stop before it."]
      : []),
    ...network.map((target) => `Wants=${target}`),
    ...([...network, ...principal].length > 0 ? [`After=${[...network, ...principal].join(" ")}`] : []),
  ].join("\n");
}

function ownership(options: UnitOptions): string {
  const { user, runAs } = options;
  if (user) return "";
  const state = stateDirectoryName(runAs);
  return `
# It runs as its own user. Its files are in /var/lib/${state} and /var/cache/${state}, which nobody else can access.
User=${runAs}
StateDirectory=${state}
StateDirectoryMode=0700
CacheDirectory=${state}
CacheDirectoryMode=0700
Environment=CDKTR_APP_DATA_DIRECTORY=%S/${state} CDKTR_CACHE_DIRECTORY=%C/${state}
${workflows(options)}`;
}

/** The workflow directory that comes with the unit; undefined when the operator has chosen a working directory. */
export function ownWorkflows({ role, user, directory, runAs }: UnitOptions): string | undefined {
  return role === "principal" && !user && directory === stateDirectory(runAs)
    ? "/etc/cdktr/workflows"
    : undefined;
}

function workflows(options: UnitOptions): string {
  if (ownWorkflows(options) === undefined) return "";
  return `# The workflow files belong to root, and the service only reads them. Set CDKTR_WORKFLOW_DIR to use another directory.
ConfigurationDirectory=cdktr/workflows
Environment=CDKTR_WORKFLOW_DIR=%E/cdktr/workflows
`;
}

function restart({ role, systemdVersion = BACK_OFF_SINCE }: UnitOptions): string {
  const steps =
    systemdVersion >= BACK_OFF_SINCE
      ? "RestartSec=1\nRestartSteps=6\nRestartMaxDelaySec=60"
      : `# Increasing delays need systemd ${BACK_OFF_SINCE}; this is ${systemdVersion}.\nRestartSec=5`;
  return `# Restart after a failure, with increasing delays. Not after status 2, which a restart cannot fix: wrong usage, an invalid
# setting, a version too old for its data or its principal${role === "agent" ? "; nor after status 0, when 'cdktr agents drain' has stopped it" : ""}.
Restart=on-failure
RestartPreventExitStatus=2
${steps}
`;
}

/** Whether it runs tasks: an agent, or a principal with an agent next to it. */
export function hasTasks({ role, args }: UnitOptions): boolean {
  return role === "agent" || (role === "principal" && args.includes("--with-agent"));
}

function ending(options: UnitOptions): string {
  const drain = hasTasks(options)
    ? `# TERM goes only to the ${options.role}: ${options.role === "agent" ? "it takes" : "its agent takes"} no new work, and its runs have CDKTR_AGENT_STOP_GRACE_S (900) to finish; meanwhile
# it extends the stop timeout. Unfinished runs are ended and go to another agent as their next attempt. Processes that are left
# in the unit when the ${options.role} has stopped are killed, so that no task stays behind. If it hangs without extending the timeout:`
    : `# After TERM it flushes everything to disk. If it hangs, it is killed after:`;
  return `${drain}
KillMode=mixed
KillSignal=SIGTERM
TimeoutStopSec=${hasTasks(options) ? 60 : 120}
TimeoutStartSec=90
`;
}

function limits(options: UnitOptions): string {
  const tasks = hasTasks(options)
    ? `# Tasks may start any number of processes, and one that runs out of memory must not take the agent down with it.
TasksMax=infinity
OOMPolicy=continue
# Its memory holds keys, so it must not dump core; tasks may raise the limit for themselves.
LimitCORE=0:infinity`
    : `# The kernel ends the process of the history first when memory is short; the principal starts it again.
OOMPolicy=continue
# Its memory holds keys, so it must not dump core.
LimitCORE=0`;
  return `LimitNOFILE=65536
${tasks}
`;
}

function hardening(options: UnitOptions): string {
  const { role, user, directory, runAs } = options;
  const forTasks = hasTasks(options);
  const common = `# No program can gain privileges that this user does not have.
NoNewPrivileges=yes
`;
  if (forTasks) {
    const mounts = `# Tasks are arbitrary programs: they may use /home, /tmp, devices and the network like any program of this user. The system
# itself is read-only for them, and kernel settings are out of reach. Tasks that need sudo require a drop-in with
# NoNewPrivileges=no, CapabilityBoundingSet=~ and =no for each of the settings after that, since any of them prevents sudo.
ProtectSystem=full
ProtectControlGroups=yes
${runAs === "root" ? "" : "CapabilityBoundingSet=\n"}ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectClock=yes
ProtectHostname=yes
RestrictRealtime=yes
`;
    return user ? common : common + mounts;
  }
  const filters = `# Bun compiles at run time, so MemoryDenyWriteExecute= cannot be set.
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
SystemCallArchitectures=native
UMask=0077
`;
  if (user) return common + filters;
  const own =
    role === "principal"
      ? `# It runs no tasks: it reads workflow files, keeps its state, and talks to the network. Everything else is denied. If the
# history is elsewhere (CDKTR_DB_PATH), add another ReadWritePaths= in a drop-in.
ProtectSystem=strict
ReadWritePaths=${quoted(escapePercent(`-${directory}`))}`
      : `# It runs no tasks: it watches files, serves webhooks and talks to the principal. Everything else is denied.
ProtectSystem=strict`;
  return `${common}${filters}${own}
# Files may be watched ('on: file') wherever this user can read them, so it sees the host's /home and /tmp, but read-only.
ProtectHome=read-only
Environment=TMPDIR=%C/${stateDirectoryName(runAs)}
PrivateDevices=yes
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
ProtectProc=invisible
RestrictNamespaces=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
CapabilityBoundingSet=
SystemCallFilter=@system-service
SystemCallErrorNumber=EPERM
`;
}

/** A word of a command line in systemd's syntax. */
function quoteWord(word: string): string {
  return quoted(escapePercent(word).replaceAll("$", () => "$$"));
}

/** Quotes it if necessary. */
function quoted(escaped: string): string {
  if (/^[\w@%+=:,./$-]+$/.test(escaped)) return escaped;
  return `"${escaped.replace(/[\\"]/g, "\\$&").replaceAll("\n", "\\n")}"`;
}

function escapePercent(text: string): string {
  return text.replaceAll("%", "%%");
}
