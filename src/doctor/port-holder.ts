/** Finds out which process listens on a port of this host, from /proc, like `ss -ltnp`. */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";

/** `st` of a listening socket in /proc/net/tcp (include/net/tcp_states.h of Linux). */
const LISTEN = "0A";

export interface Holder {
  /** Its name as the kernel stores it: at most 15 characters. */
  readonly program: string;
  readonly pid: number;
}

/** The process that listens on a port; undefined when none does, or when it belongs to another user, which only root can see. */
export function holderOf(port: number): Holder | undefined {
  const sockets = new Set(["tcp", "tcp6"].flatMap((table) => listeners(table, port)));
  if (sockets.size === 0) return undefined;
  for (const pid of readdirSync("/proc")) {
    if (!/^\d+$/.test(pid)) continue;
    try {
      const own = readdirSync(`/proc/${pid}/fd`);
      if (!own.some((descriptor) => sockets.has(linkOf(`/proc/${pid}/fd/${descriptor}`)))) continue;
      return { program: readFileSync(`/proc/${pid}/comm`, "utf8").trim(), pid: Number(pid) };
    } catch {
      // It has exited in the meantime, or belongs to another user.
    }
  }
  return undefined;
}

/** The parent of a process; undefined when it has ended. */
export function parentOf(pid: number): number | undefined {
  try {
    return Number(/^PPid:\s*(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1]);
  } catch {
    return undefined;
  }
}

/** Links of the file descriptors that listen on a port: `socket:[12345]`. */
function listeners(table: string, port: number): string[] {
  const wanted = port.toString(16).toUpperCase().padStart(4, "0");
  try {
    return readFileSync(`/proc/net/${table}`, "utf8")
      .split("\n")
      .map((line) => line.trim().split(/\s+/))
      .filter((fields) => fields[1]?.split(":")[1] === wanted && fields[3] === LISTEN)
      .map((fields) => `socket:[${fields[9]}]`);
  } catch {
    return [];
  }
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return "";
  }
}
