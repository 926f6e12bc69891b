/** The users of this host. */
import { readFileSync } from "node:fs";

/** A user account of the host. */
export interface HostUser {
  readonly name: string;
  readonly uid: number;
  readonly gid: number;
  readonly home: string;
}

/** The user this process runs as. Bun's own userInfo() takes the name from $USER, which cron and containers do not set. */
export function currentUser(): HostUser {
  const uid = process.getuid?.() ?? 0;
  // In a container the uid may have no name.
  const unnamed = { name: String(uid), uid, gid: process.getgid?.() ?? 0, home: process.env.HOME || "/" };
  return find(String(uid), (fields) => fields[2] === String(uid)) ?? unnamed;
}

/** Looks up a user by name; undefined when there is none. */
export function userNamed(name: string): HostUser | undefined {
  return find(name, (fields) => fields[0] === name);
}

/** Asks the name service (files, LDAP), or reads the file where there is no `getent`. */
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
