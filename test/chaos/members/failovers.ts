/** How long it took from the death of a leader until runs were dispatched again. */
import { bootSeconds } from "../endings.ts";
import type { HistoryRows } from "../verify.ts";

/**
 * From each kill of a leader to the first start of a task of a run that was made after it, seconds.
 * @param kills when leaders were killed, seconds of the boot clock
 * @param witness what tasks have recorded
 */
export async function failovers(
  kills: readonly number[],
  witness: string,
  history: HistoryRows,
): Promise<Record<string, number | string>> {
  const rows = await history<{ run: string; made: number }>(
    "SELECT workflow_instance_id AS run, created_at_ms::DOUBLE AS made FROM workflow_runs",
  );
  const offset = Date.now() / 1000 - bootSeconds();
  const made = new Map(rows.map(({ run, made }) => [run, made / 1000 - offset]));
  const starts = witness
    .split("\n")
    .map((line) => line.split(" "))
    .filter(([what]) => what === "start")
    .map(([, at, run = ""]) => ({ at: Number(at), run }));
  const seconds = kills
    .map((kill) => {
      const later = starts.filter(({ at, run }) => at > kill && (made.get(run) ?? 0) > kill);
      return Math.min(...later.map(({ at }) => at)) - kill;
    })
    .filter(Number.isFinite)
    .sort((a, b) => a - b);
  if (seconds.length === 0) return {};
  const at = (share: number) =>
    (seconds[Math.min(seconds.length - 1, Math.floor(seconds.length * share))] ?? 0).toFixed(2);
  return {
    "failovers of a killed leader": seconds.length,
    "seconds until the next run is dispatched, median": at(0.5),
    "seconds until the next run is dispatched, p99": at(0.99),
    "seconds until the next run is dispatched, longest": at(1),
  };
}
