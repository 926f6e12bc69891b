/** The host's systemd: whether it is available, and its tools. */
import { existsSync } from "node:fs";
import { CdktrError, UnprocessableError } from "../errors.ts";
import { type Role, type ServiceId, unitName } from "./service-id.ts";

/** Checks that systemd runs this host, or this user's session. */
export function requireSystemd(user: boolean, role: Role, program: readonly string[]): void {
  if (existsSync("/run/systemd/system") && Bun.which("systemctl") !== null) {
    if (!user || process.env.XDG_RUNTIME_DIR) return;
    throw new UnprocessableError("There is no systemd instance for this user (XDG_RUNTIME_DIR is not set).", {
      hint: "Log in as that user (ssh, machinectl shell USER@), rather than with su or sudo; 'loginctl enable-linger USER' keeps it running.",
    });
  }
  throw new UnprocessableError("This host is not managed by systemd.", { hint: otherWays(role, program) });
}

/** How to keep cdktr running without systemd. A test runs the cron line as it is written here. */
function otherWays(role: Role, program: readonly string[]): string {
  const command = [...program, "start", role].map(shellWord).join(" ");
  return [
    "Ways to keep it running without systemd (TERM shuts it down cleanly):",
    "  cron ('crontab -e'), which starts it at boot and restarts it within a minute after a failure:",
    `    * * * * * cd ${shellWord(process.cwd())} && exec flock -no cdktr-${role}.lock ${command} >>cdktr-${role}.log 2>&1`,
    `  a container that runs 'cdktr start ${role}' (docker run --init --restart unless-stopped)`,
    "  OpenRC, runit, s6 or supervisord, with the same command in the foreground",
    `'cdktr service install ${role} --dry-run' prints the unit for another host.`,
  ].join("\n");
}

/** Cron treats a bare `%` as a newline. */
function shellWord(word: string): string {
  const quoted = /^[\w@+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`;
  return quoted.replaceAll("%", "\\%");
}

/** systemd's version; undefined without systemd. */
export function systemdVersion(): number | undefined {
  const systemctl = Bun.which("systemctl");
  if (systemctl === null) return undefined;
  const { stdout } = Bun.spawnSync([systemctl, "--version"], { stderr: "ignore" });
  const version = /^systemd (\d+)/.exec(stdout.toString())?.[1];
  return version === undefined ? undefined : Number(version);
}

/**
 * Runs one of systemd's tools, or another program of the host, to completion.
 * @returns its output
 * @throws CdktrError with its error output when it fails
 */
export function runTool(command: readonly string[]): string {
  const { exitCode, stdout, stderr } = Bun.spawnSync([...command], { stdin: "ignore" });
  if (exitCode === 0) return stdout.toString();
  throw new CdktrError(`'${command.join(" ")}' failed: ${stderr.toString().trim() || `status ${exitCode}`}`);
}

/** The words before a systemctl verb. */
export function systemctl(user: boolean): string[] {
  return user ? ["systemctl", "--user"] : ["systemctl"];
}

/** The command that shows a service's log. */
export function journalctl(service: ServiceId, lines: number): string[] {
  // The journals of all users may share one file, but journalctl --user only reads files per user.
  const unit = service.user ? `--user-unit=${unitName(service)}` : `--unit=${unitName(service)}`;
  return ["journalctl", unit, `--lines=${lines}`, "--no-pager"];
}

/** The properties that `systemctl show` prints for a unit; unknown ones are missing or empty. */
export function unitProperties(
  service: ServiceId,
  names: readonly string[],
): Partial<Record<string, string>> {
  const text = runTool([
    ...systemctl(service.user),
    "show",
    unitName(service),
    `--property=${names.join(",")}`,
  ]);
  const lines = text.split("\n").map((line) => /^(\w+)=(.*)$/.exec(line));
  return Object.fromEntries(
    lines.flatMap((match) => (match === null ? [] : [[match[1] ?? "", match[2] ?? ""]])),
  );
}

/** The exposure of a loaded unit as rated by `systemd-analyze security`, such as `1.7 OK`; undefined when it has none. */
export function exposure(service: ServiceId): string | undefined {
  if (Bun.which("systemd-analyze") === null) return undefined;
  const { stdout } = Bun.spawnSync(
    ["systemd-analyze", ...(service.user ? ["--user"] : []), "security", "--no-pager", unitName(service)],
    { stdin: "ignore", stderr: "ignore" },
  );
  const match = /Overall exposure level for \S+: ([\d.]+ [A-Z]+)/.exec(stdout.toString());
  return match?.[1];
}
