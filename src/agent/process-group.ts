/** Finds and ends the processes of a task: its process group, and processes elsewhere that carry its marker. */

import { BackOff, pause } from "../timer.ts";
import { reap } from "./libc.ts";
import { isAlive, listPids, type ProcessStat, readEnvironment, readStat } from "./proc-files.ts";

/** Default time between TERM and KILL, ms. */
export const DEFAULT_GRACE_MS = 5000;

/** Whether a process group has members, including zombies. */
export function groupExists(group: number): boolean {
  try {
    process.kill(-group, 0);
    return true;
  } catch (error) {
    // EPERM: it exists, but belongs to someone else.
    return error instanceof Error && "code" in error && error.code === "EPERM";
  }
}

/** Signals a whole group; it is not an error if it is gone. */
export function signalGroup(group: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-group, signal);
  } catch {
    // Gone, or not ours.
  }
}

/** Signals processes; it is not an error if some are gone. */
export function signalAll(processes: readonly ProcessStat[], signal: NodeJS.Signals): void {
  for (const { pid, startTicks } of processes) {
    // The pid may have been reused.
    if (readStat(pid)?.startTicks !== startTicks) continue;
    try {
      process.kill(pid, signal);
    } catch {
      // Gone, or not ours.
    }
  }
}

/** The living members of a group. Zombies left to this process (as the init of a container) are reaped. */
export function groupMembers(group: number): ProcessStat[] {
  const members: ProcessStat[] = [];
  for (const pid of listPids()) {
    const stat = readStat(pid);
    if (stat === undefined || stat.group !== group) continue;
    if (isAlive(stat)) members.push(stat);
    else if (stat.parent === process.pid && pid !== group) reap(pid);
  }
  return members;
}

/** The living processes, other than this one, whose initial environment had one of the entries `NAME=value`. */
export function processesMarked(marked: (environment: readonly string[]) => boolean): ProcessStat[] {
  const found: ProcessStat[] = [];
  for (const pid of listPids()) {
    if (pid === process.pid) continue;
    const environment = readEnvironment(pid);
    if (environment.length < 2 || !marked(environment)) continue;
    const stat = readStat(pid);
    if (stat !== undefined && isAlive(stat)) found.push(stat);
  }
  return found;
}

/** Process names for a message: `sleep (pid 12), tail (pid 14)`. */
export function describeProcesses(processes: readonly ProcessStat[]): string {
  const shown = processes.slice(0, 5).map(({ name, pid }) => `${name} (pid ${pid})`);
  const more = processes.length - shown.length;
  return shown.join(", ") + (more > 0 ? ` and ${more} more` : "");
}

/**
 * Waits until nothing is found any more, polling at increasing intervals.
 * @returns the processes left at the deadline; empty when all are gone
 */
export async function waitUntilGone(find: () => ProcessStat[], deadline: number): Promise<ProcessStat[]> {
  const backOff = new BackOff(2, 100);
  for (;;) {
    const found = find();
    if (found.length === 0) return found;
    const left = deadline - performance.now();
    if (left <= 0) return found;
    await pause(Math.min(backOff.next(), left));
  }
}

/**
 * Ends processes: TERM, then KILL for those left after the grace period. Processes that appear in the meantime are ended too.
 * @param find returns the processes to end, as of now
 * @returns whether everything is gone (a process in uninterruptible sleep may outlive KILL for a while)
 */
export async function endProcesses(find: () => ProcessStat[], graceMs: number): Promise<boolean> {
  const found = find();
  if (found.length === 0) return true;
  signalAll(found, "SIGTERM");
  signalAll(found, "SIGCONT");
  if ((await waitUntilGone(find, performance.now() + graceMs)).length === 0) return true;
  return killProcesses(find);
}

/** Kills processes, including new ones, for at most a few seconds. */
export async function killProcesses(find: () => ProcessStat[]): Promise<boolean> {
  const deadline = performance.now() + 3000;
  const findAndKill = () => {
    const found = find();
    signalAll(found, "SIGKILL");
    return found;
  };
  return (await waitUntilGone(findAndKill, deadline)).length === 0;
}
