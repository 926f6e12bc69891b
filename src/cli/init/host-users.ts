/** The users of this host. */
import { readFileSync } from "node:fs";

/** A user, as the host knows it. */
export interface HostUser {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
}

/** The user whose process this is. Bun's own userInfo() takes the name from $USER, which cron and containers do not set. */
export function currentUser(): HostUser {
  const uid = process.getuid?.() ?? 0;
  // A container may run as a number that nobody named.
  const unnamed = { name: String(uid), uid, gid: process.getgid?.() ?? 0, home: process.env.HOME || "/" };
  return find(String(uid), (fields) => fields[2] === String(uid)) ?? unnamed;
}

/** A user by name; undefined when there is none. */
export function userNamed(name: string): HostUser | undefined {
  return find(name, (fields) => fields[0] === name);
}

/** Asks whatever knows users here (files, LDAP), or reads the file where there is no `getent`. */
function find(key: string, matches: (fields: readonly string[]) => boolean): HostUser | undefined {
  const asked =
    Bun.which("getent") === null ? "" : Bun.spawnSync(["getent", "passwd", key]).stdout.toString();
  for (const line of (asked || passwd()).split("\n")) {
    const fields = line.split(":");
    const [name = "", , uid, gid, , home] = fields;
    if (uid !== undefined && gid !== undefined && matches(fields))
      return { name, uid: Number(uid), gid: Number(gid), home: home || "/" };
  }
  return undefined;
}

/** The names of the users in /etc/passwd. */
export function userNames(): Set<string> {
  return new Set(
    passwd()
      .split("\n")
      .map((line) => line.split(":", 1)[0] ?? ""),
  );
}

function passwd(): string {
  try {
    return readFileSync("/etc/passwd", "utf8");
  } catch {
    return "";
  }
}
