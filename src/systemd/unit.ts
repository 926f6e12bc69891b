/** The units that make cdktr a service. Each line that is a decision says why in the unit itself: the operator reads it there. */
import { join } from "node:path";

/** What can be a service. */
export const ROLES = ["principal", "agent"] as const;
export type Role = (typeof ROLES)[number];

/** From this version on systemd can lengthen the pauses between restarts. */
const BACK_OFF_SINCE = 254;

/** How a unit is to be. */
export interface UnitOptions {
  readonly role: Role;
  /** The user's own systemd, instead of the host's. */
  readonly user: boolean;
  /** The program with what comes before `start`. */
  readonly program: readonly string[];
  /** Further arguments of `cdktr start ROLE`. */
  readonly args: readonly string[];
  /** Where it runs: relative settings, such as the workflow directory, start there. */
  readonly directory: string;
  /** Whom it runs as; of no meaning for a user's own. */
  readonly runAs: string;
  /** The file with its settings. */
  readonly environmentFile: string;
  /** How long it may take to end, seconds. */
  readonly stopSeconds: number;
  /** systemd's version; undefined when it is not known. */
  readonly systemdVersion?: number;
}

/** Name of the unit of a role. */
export function unitName(role: Role): string {
  return `cdktr-${role}.service`;
}

/** Where a unit file stands. */
export function unitPath(role: Role, user: boolean, home: string): string {
  return join(user ? join(home, ".config/systemd/user") : "/etc/systemd/system", unitName(role));
}

/** Where the settings of a role stand. */
export function environmentPath(role: Role, user: boolean, home: string): string {
  return join(user ? join(home, ".config/cdktr") : "/etc/cdktr", `${role}.env`);
}

/** The text of a unit. */
export function unitText(options: UnitOptions): string {
  const { role, user, program, args, environmentFile } = options;
  const sections = [
    `# Written by 'cdktr service install ${role}', which writes it anew when it is run again:
# changes of yours belong into a drop-in (systemctl ${user ? "--user " : ""}edit ${unitName(role)}).

[Unit]
Description=cdktr ${role}
${user ? "" : "Wants=network-online.target\nAfter=network-online.target\n"}# It is started again for ever: who waits for a network or a disk must not be given up.
StartLimitIntervalSec=0

[Service]
# It says itself when it is ready, and that it is still well: when it has not for this long, it is started again.
Type=notify
NotifyAccess=main
WatchdogSec=60
ExecStart=${[...program, "start", role, ...args].map(quoteWord).join(" ")}
WorkingDirectory=${escapePercent(options.directory)}
# Its settings: NAME=VALUE lines, see 'cdktr docs configuration'. The file may be missing.
EnvironmentFile=-${escapePercent(environmentFile)}
${ownership(options)}
${restart(options)}
${ending(options)}
${limits(role)}
${hardening(options)}
[Install]
WantedBy=${user ? "default.target" : "multi-user.target"}
`,
  ];
  return sections.join("\n");
}

/** The settings file that is written when there is none. */
export function environmentText(role: Role): string {
  const reach =
    role === "agent"
      ? "# Where the principal is:\n#CDKTR_PRINCIPAL_HOST=10.0.0.5\n#CDKTR_PRINCIPAL_PORT=5561\n"
      : "# The address to listen on, and the workflow files:\n#CDKTR_PRINCIPAL_HOST=127.0.0.1\n#CDKTR_WORKFLOW_DIR=/srv/workflows\n";
  return `# Settings of the cdktr ${role} service; 'cdktr docs configuration' lists them all.\n${reach}`;
}

function ownership({ user, runAs }: UnitOptions): string {
  if (user) return "";
  return `
# A user of its own. Its files are /var/lib/cdktr and /var/cache/cdktr, closed to everybody else.
User=${runAs}
StateDirectory=cdktr
StateDirectoryMode=0700
CacheDirectory=cdktr
CacheDirectoryMode=0700
Environment=CDKTR_APP_DATA_DIRECTORY=%S/cdktr CDKTR_CACHE_DIRECTORY=%C/cdktr
`;
}

function restart({ role, systemdVersion = BACK_OFF_SINCE }: UnitOptions): string {
  const steps =
    systemdVersion >= BACK_OFF_SINCE
      ? "RestartSec=1\nRestartSteps=6\nRestartMaxDelaySec=60"
      : `# The pauses grow from systemd ${BACK_OFF_SINCE} on; this one is ${systemdVersion}.\nRestartSec=5`;
  return `# Again after a failure, after pauses that grow. Not after wrong usage or a setting that does not parse (2), which no repetition
# heals${role === "agent" ? ", and not after status 0: 'cdktr agents drain' has ended it" : ""}.
Restart=on-failure
RestartPreventExitStatus=2
${steps}
`;
}

function ending({ role, stopSeconds }: UnitOptions): string {
  const drain =
    role === "agent"
      ? `# TERM goes to the agent alone: it takes nothing new and its tasks finish. When it has ended, or the time is up, whatever is left
# in the unit is killed, so that no task stays behind. Runs that are killed go to another agent as their next attempt.`
      : `# TERM goes to the principal alone: it writes everything down (and, with --with-agent, lets its agent finish what it runs).
# When it has ended, or the time is up, whatever is left in the unit is killed.`;
  return `${drain}
KillMode=mixed
KillSignal=SIGTERM
TimeoutStopSec=${stopSeconds}
TimeoutStartSec=90
`;
}

function limits(role: Role): string {
  const tasks =
    role === "agent"
      ? `
# Tasks may start as many processes as they like, and one that takes too much memory must not take the agent down with it.
TasksMax=infinity
OOMPolicy=continue`
      : "";
  return `LimitNOFILE=65536${tasks}
`;
}

function hardening({ role, user, directory, args }: UnitOptions): string {
  const common = `# No program can gain rights that this user does not have.${role === "agent" ? " Delete the line if tasks must use sudo." : ""}
NoNewPrivileges=yes
`;
  // An agent beside the principal needs what an agent needs.
  if (role === "agent" || args.includes("--with-agent")) {
    const mounts = `# Tasks are other people's programs: /home, /tmp and devices stay open to them, as to any program of this user. The system itself
# is read-only for them, and the kernel's settings are out of reach.
ProtectSystem=full
ProtectKernelTunables=yes
ProtectKernelModules=yes
ProtectKernelLogs=yes
ProtectControlGroups=yes
ProtectClock=yes
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
  return `${common}${filters}# The principal runs no tasks: it reads workflow files, keeps its state, and talks to the network. All else is closed to it. A
# history elsewhere (CDKTR_DB_PATH) needs another ReadWritePaths= in a drop-in.
ProtectSystem=strict
ReadWritePaths=-${escapePercent(directory)}
ProtectHome=read-only
PrivateTmp=yes
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

/** A word of a command line as systemd reads it. */
function quoteWord(word: string): string {
  const escaped = escapePercent(word).replaceAll("$", () => "$$");
  if (/^[\w@%+=:,./$-]+$/.test(escaped)) return escaped;
  return `"${escaped.replace(/[\\"]/g, "\\$&").replaceAll("\n", "\\n")}"`;
}

function escapePercent(text: string): string {
  return text.replaceAll("%", "%%");
}
