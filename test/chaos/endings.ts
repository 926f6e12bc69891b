/** How a storm ends: what was begun comes to its end, and nothing is left behind. */
import { readdirSync, readFileSync } from "node:fs";
import { PrincipalUnreachableError, UnprocessableError } from "../../src/errors.ts";
import { type PrincipalClient, RequestRefusedError } from "../../src/protocol/client.ts";
import type { Meddler } from "./limits.ts";

/** No run reached its end for so long, with everything in order: something is stuck. */
const STUCK_MS = 90_000;

/** Waits until every run is over. @returns a violation when nothing moves any more */
export async function settled(runIds: readonly string[], client: PrincipalClient): Promise<string[]> {
  const open = new Set(runIds);
  const unknown: string[] = [];
  let progress = performance.now();
  while (open.size > 0) {
    for (const runId of [...open]) {
      const run = await patiently(() => client.waitRun(runId, 2000, { timeoutMs: 5000 })).catch((error) => {
        if (error instanceof RequestRefusedError) return undefined;
        throw error;
      });
      if (run === undefined) {
        unknown.push(`run ${runId} was acknowledged, and is not known any more`);
        open.delete(runId);
        continue;
      }
      if (!["COMPLETED", "FAILED", "CRASHED", "CANCELLED", "SKIPPED"].includes(run.status)) {
        // A run that makes no progress has no event.
        if (performance.now() - progress > STUCK_MS)
          return [
            ...unknown,
            `${open.size} runs are stuck, among them ${runId} (${run.status}, attempt ${run.attempt} on ${run.agent_id})`,
          ];
        continue;
      }
      open.delete(runId);
      progress = performance.now();
    }
  }
  return unknown;
}

/** Asks again while nobody answers, or somebody else is about to. @throws whatever it is after a minute and a half */
export async function patiently<T>(ask: () => Promise<T>): Promise<T> {
  const began = performance.now();
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      const isLater = error instanceof PrincipalUnreachableError || error instanceof UnprocessableError;
      // Nobody may answer ever again.
      if (!isLater || performance.now() - began > STUCK_MS) throw error;
      // A pause, not a wait: whoever answers next has a moment.
      await Bun.sleep(100);
    }
  }
}

/** Waits until the backfill is over. @returns a violation when nothing moves any more */
export async function filled(meddler: Meddler): Promise<string[]> {
  let [progress, done] = [performance.now(), -1];
  for (;;) {
    const present = await meddler.filled();
    if (present?.state === "DONE") return [];
    if (present !== undefined && present.done !== done) [progress, done] = [performance.now(), present.done];
    // A backfill that makes no progress has no event.
    if (performance.now() - progress > STUCK_MS)
      return [`the backfill is stuck at ${done} firings: ${present?.state}`];
    await Bun.sleep(200);
  }
}

/** Processes of tasks that are still there, known by the witness variable in their environment. */
export function leftovers(witness: string): string[] {
  const mark = `CHAOS_WITNESS=${witness}`;
  return readdirSync("/proc")
    .filter((entry) => /^\d+$/.test(entry))
    .filter((pid) => readOr(`/proc/${pid}/environ`).split("\0").includes(mark))
    .map((pid) => `process ${pid} is left over: ${readOr(`/proc/${pid}/cmdline`).replaceAll("\0", " ")}`);
}

/** Seconds of the boot clock. */
export function bootSeconds(): number {
  return Number(readFileSync("/proc/uptime", "utf8").split(" ")[0]);
}

/** The text of a file; empty when it cannot be read. */
export function readOr(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}
