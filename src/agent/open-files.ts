/**
 * The limit of open files of tasks. The runtime raises its own soft limit to the hard limit when it starts, and children would inherit
 * that. Programs that use select(), or that close all possible descriptors, suffer from a high limit.
 */

import { readFileSync, readlinkSync } from "node:fs";
import { getOpenFilesLimit, setOpenFilesLimit } from "./libc.ts";
import { readStat } from "./proc-files.ts";

/** The default limits of systemd. */
const USUAL = { soft: 1024, hard: 524_288 };
/** Descriptors that starting a process needs in addition to the open ones. */
const NEEDED = 64;

/**
 * The soft limit with which this process was started. The kernel does not keep it; it was inherited from the process that started this
 * one.
 * @returns undefined if it was not raised
 */
export function limitAtStart(): number | undefined {
  const { soft, hard } = getOpenFilesLimit();
  if (soft < hard) return undefined;
  const inherited = starterLimit() ?? (hard === USUAL.hard ? USUAL.soft : hard);
  return inherited < hard ? inherited : undefined;
}

/** The soft limit of the nearest ancestor that is not cdktr; undefined if that is the init process. */
function starterLimit(): number | undefined {
  try {
    const own = readlinkSync("/proc/self/exe");
    let pid = process.ppid;
    while (pid > 1 && readlinkSync(`/proc/${pid}/exe`) === own) pid = readStat(pid)?.parent ?? 0;
    if (pid <= 1) return undefined;
    const limits = readFileSync(`/proc/${pid}/limits`, "utf8");
    const soft = /^Max open files\s+(\d+)/m.exec(limits)?.[1];
    return soft === undefined ? undefined : Number(soft);
  } catch {
    return undefined;
  }
}

/**
 * Starts a child process with this soft limit of open files. Other threads have the limit too for that moment, so it is left alone
 * when almost as many files are open.
 * @param newest a descriptor that has just been opened
 */
export function withOpenFilesLimit<Child>(
  limit: number | undefined,
  newest: number,
  start: () => Child,
): Child {
  if (limit === undefined || newest + NEEDED > limit) return start();
  const { soft } = getOpenFilesLimit();
  setOpenFilesLimit(limit);
  try {
    return start();
  } finally {
    setOpenFilesLimit(soft);
  }
}
