/** Finds the process of a principal's history. */
import { readdirSync, readFileSync } from "node:fs";

/** The process id of the history of a principal; undefined when it has none. */
export function historyOf(principal: number): number | undefined {
  for (const name of readdirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    try {
      const stat = readFileSync(`/proc/${name}/stat`, "latin1");
      const [state, parent] = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      if (Number(parent) !== principal || state === "Z") continue;
      if (/\0__history\0|\/history\/main\.ts\0/.test(readFileSync(`/proc/${name}/cmdline`, "latin1")))
        return Number(name);
    } catch {
      // It has ended.
    }
  }
  return undefined;
}
