/** Reads `/proc`. Nothing here throws for a process that ends in the meantime. */
import { closeSync, openSync, readdirSync, readFileSync } from "node:fs";

/** A process, from `/proc/PID/stat`. */
export interface ProcessStat {
  readonly pid: number;
  /** Program name, at most 15 characters. */
  readonly name: string;
  /** `R` running, `S` sleeping, `T` stopped, `Z` zombie, `X` dead, … */
  readonly state: string;
  readonly parent: number;
  readonly group: number;
  readonly session: number;
  /** Start time in clock ticks since boot: together with the pid it is unique until the next boot. */
  readonly startTicks: number;
}

/** Reads the state of a process; undefined when there is none. */
export function readStat(pid: number): ProcessStat | undefined {
  const text = read(`/proc/${pid}/stat`);
  if (text === undefined) return undefined;
  // The name is in parentheses and may itself contain parentheses and spaces.
  const nameEnd = text.lastIndexOf(")");
  const fields = text.slice(nameEnd + 2).split(" ");
  return {
    pid,
    name: text.slice(text.indexOf("(") + 1, nameEnd),
    state: fields[0] ?? "X",
    parent: Number(fields[1]),
    group: Number(fields[2]),
    session: Number(fields[3]),
    startTicks: Number(fields[19]),
  };
}

/** Whether a process exists and is not just a zombie. */
export function isAlive(stat: ProcessStat): boolean {
  return stat.state !== "Z" && stat.state !== "X";
}

/** All visible processes. */
export function listPids(): number[] {
  const pids: number[] = [];
  for (const name of withSpare(() => readdirSync("/proc"))) {
    const pid = Number(name);
    if (Number.isInteger(pid)) pids.push(pid);
  }
  return pids;
}

/** The environment with which a process was started, as `NAME=value` entries; empty when it cannot be read. */
export function readEnvironment(pid: number): string[] {
  return (read(`/proc/${pid}/environ`) ?? "").split("\0");
}

/** Peak resident memory of a process so far, KiB; undefined after its end. */
export function readPeakMemory(pid: number): number | undefined {
  const match = /^VmHWM:\s+(\d+) kB$/m.exec(read(`/proc/${pid}/status`) ?? "");
  return match === null ? undefined : Number(match[1]);
}

/** Whether a process has a handler for SIGTERM. */
export function catchesTerm(pid: number): boolean {
  const mask = /^SigCgt:\s*([0-9a-f]+)$/m.exec(read(`/proc/${pid}/status`) ?? "")?.[1];
  return mask !== undefined && (BigInt(`0x${mask}`) & (1n << 14n)) !== 0n;
}

function read(path: string): string | undefined {
  try {
    return withSpare(() => readFileSync(path, "utf8"));
  } catch {
    return undefined;
  }
}

/** Kept open, so that there is one descriptor for looking at processes when no other is left. */
let spare: number | undefined;

/** Does `work`; if the descriptors are used up, with the spare one. */
function withSpare<T>(work: () => T): T {
  spare ??= openSpare();
  try {
    return work();
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : undefined;
    if (spare === undefined || (code !== "EMFILE" && code !== "ENFILE")) throw error;
    closeSync(spare);
    spare = undefined;
    try {
      return work();
    } finally {
      spare = openSpare();
    }
  }
}

function openSpare(): number | undefined {
  try {
    return openSync("/dev/null", "r");
  } catch {
    return undefined;
  }
}
