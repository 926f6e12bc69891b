/** Which machine this is, and since when it runs. */
import { dlopen, ptr } from "bun:ffi";
import { readFileSync } from "node:fs";

const CLOCK_MONOTONIC = 1;

let boot: string | undefined;
let clockGettime: ((clock: number, time: ReturnType<typeof ptr>) => number) | undefined;

/** Identifies this boot of the host; empty where the kernel does not say. */
export function bootId(): string {
  boot ??= read("/proc/sys/kernel/random/boot_id");
  return boot;
}

/** Time since the host was started, ms; undefined where the kernel does not say. */
export function hostUpMs(): number | undefined {
  const seconds = /^\d+\.\d+/.exec(read("/proc/uptime"))?.[0];
  return seconds === undefined ? undefined : Math.round(Number(seconds) * 1000);
}

/** Monotonic time since the host was started, ms, without the time in which it was suspended (CLOCK_MONOTONIC). */
export function monotonicSinceBoot(): number {
  clockGettime ??= dlopen("libc.so.6", { clock_gettime: { args: ["i32", "ptr"], returns: "i32" } }).symbols
    .clock_gettime;
  const time = new BigInt64Array(2);
  clockGettime(CLOCK_MONOTONIC, ptr(time));
  const [seconds = 0n, nanoseconds = 0n] = time;
  return Number(seconds) * 1000 + Number(nanoseconds) / 1e6;
}

/** Identifies this installation of the operating system; empty if the file is missing, as in many containers. */
export function machineId(): string {
  return read("/etc/machine-id");
}

function read(path: string): string {
  try {
    return readFileSync(path, "utf8").trim();
  } catch {
    return "";
  }
}
