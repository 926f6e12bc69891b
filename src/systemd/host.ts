/** The host's systemd: whether it is there, and its programs. */
import { existsSync } from "node:fs";
import { CdktrError, UnprocessableError } from "../errors.ts";

/** Makes sure that systemd runs this host, or this user's session. */
export function requireSystemd(user: boolean, role: string): void {
  if (existsSync("/run/systemd/system") && Bun.which("systemctl") !== null) {
    if (!user || process.env.XDG_RUNTIME_DIR) return;
    throw new UnprocessableError("This user has no systemd of its own here (XDG_RUNTIME_DIR is not set).", {
      hint: "Log in as that user (ssh, machinectl shell USER@), rather than with su or sudo; 'loginctl enable-linger USER' keeps it running.",
    });
  }
  throw new UnprocessableError("systemd does not run this host.", {
    hint: `In a container let 'cdktr start ${role}' be its program and the runtime restart it (docker run --init --restart unless-stopped). Elsewhere give the same command to the supervisor there is (OpenRC, runit, s6): TERM ends it in order. 'cdktr service install ${role} --dry-run' prints the unit for another host.`,
  });
}

/** systemd's version; undefined when there is none. */
export function systemdVersion(): number | undefined {
  const systemctl = Bun.which("systemctl");
  if (systemctl === null) return undefined;
  const { stdout } = Bun.spawnSync([systemctl, "--version"], { stderr: "ignore" });
  const version = /^systemd (\d+)/.exec(stdout.toString())?.[1];
  return version === undefined ? undefined : Number(version);
}

/**
 * Runs one of systemd's programs to its end.
 * @returns what it printed
 * @throws CdktrError with what it said when it fails
 */
export function runTool(command: readonly string[]): string {
  const { exitCode, stdout, stderr } = Bun.spawnSync([...command], { stdin: "ignore" });
  if (exitCode === 0) return stdout.toString();
  throw new CdktrError(`'${command.join(" ")}' failed: ${stderr.toString().trim() || `status ${exitCode}`}`);
}

/** The words before a verb of systemctl. */
export function systemctl(user: boolean): string[] {
  return user ? ["systemctl", "--user"] : ["systemctl"];
}
