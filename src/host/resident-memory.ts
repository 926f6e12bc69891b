/** The memory of processes, and how to give back what this one does not need. */
import { dlopen } from "bun:ffi";
import { readFileSync } from "node:fs";

/** Resident memory of this process, bytes; undefined when it cannot be read, for example when no descriptor is left. */
export function residentMemory(): number | undefined {
  try {
    return process.memoryUsage.rss();
  } catch {
    return undefined;
  }
}

/** Resident memory of a process, bytes; undefined when there is no such process. */
export function residentMemoryOf(pid: number): number | undefined {
  try {
    const kilobytes = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "latin1"))?.[1];
    return kilobytes === undefined ? undefined : Number(kilobytes) * 1024;
  } catch {
    return undefined;
  }
}

let trim: ((pad: number) => number) | undefined;

/** Collects garbage, and gives unused memory back to the system: JavaScript's, and that of the libraries, which the C library keeps. */
export function giveBackMemory(): void {
  Bun.gc(true);
  trim ??= dlopen("libc.so.6", { malloc_trim: { args: ["u64"], returns: "i32" } }).symbols.malloc_trim;
  trim(0);
}
