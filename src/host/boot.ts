/** Which machine this is, and since when it runs. */
import { readFileSync } from "node:fs";

let boot: string | undefined;

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
