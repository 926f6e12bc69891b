/** The process of a principal's history. */
import { readFileSync } from "node:fs";
import { historyOf } from "../../scripts/support/history-of.ts";
import { until } from "./until.ts";

export { historyOf };

/** Waits for a history of a principal other than `former`. */
export async function nextHistoryOf(principal: number, former?: number): Promise<number> {
  let found: number | undefined;
  await until("there is a history", () => {
    found = historyOf(principal);
    return found !== undefined && found !== former;
  });
  if (found === undefined) throw new Error("there is no history");
  return found;
}

/** Whether there is a process. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return !/^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, "latin1"));
  } catch {
    return false;
  }
}
