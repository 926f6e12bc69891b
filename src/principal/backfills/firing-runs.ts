/** The runs that firings of a workflow have had: those of the operational state, and those that only the history knows. */
import type { HistoricFiring } from "../../contract/history.ts";
import type { OperationalStore, OperationalTx, RunRecord } from "../../storage/operational/store.ts";

/** What the history knows of firings. */
export interface FiringHistory {
  /** The runs of a workflow with one of these times in its schedule. @throws HistoryUnavailableError */
  findFirings(workflowId: string, timesMs: readonly number[]): Promise<readonly HistoricFiring[]>;
}

/** The runs of a workflow with some times, as they were known before a unit of work. */
export interface KnownRuns {
  /** The times of those that the operational state had when the history was asked, by id. */
  readonly stored: ReadonlyMap<string, number | null>;
  readonly historic: readonly HistoricFiring[];
}

/**
 * Reads what is to be known of firings before the unit of work that decides about them. A run leaves the state only when the history has
 * it: what the state had before the history was asked is either in that or still in the state.
 * @param history null if it does not matter
 */
export async function knownRuns(
  store: OperationalStore,
  history: FiringHistory | null,
  workflowId: string,
  timesMs: readonly number[],
): Promise<KnownRuns> {
  const stored = await store.read((tx) => tx.runsAt(workflowId, timesMs));
  const historic = history === null ? [] : await history.findFirings(workflowId, timesMs);
  return {
    stored: new Map(stored.map((run) => [run.workflow_instance_id, run.scheduled_time_ms])),
    historic,
  };
}

/**
 * All runs with these times, which are among those that were asked for. Part of a unit of work.
 * @returns null if some have left the state since {@link knownRuns}: the history may know more of them now
 */
export async function presentRuns(
  tx: Pick<OperationalTx, "runsAt">,
  known: KnownRuns,
  workflowId: string,
  timesMs: readonly number[],
): Promise<readonly HistoricFiring[] | null> {
  const runs = new Map(known.historic.map((run) => [run.workflow_instance_id, run]));
  const stored = (await tx.runsAt(workflowId, timesMs)).filter(isFiring);
  const ids = new Set(stored.map((run) => run.workflow_instance_id));
  for (const [id, at] of known.stored) if (at !== null && timesMs.includes(at) && !ids.has(id)) return null;
  for (const run of stored) runs.set(run.workflow_instance_id, run);
  return [...runs.values()];
}

function isFiring(run: RunRecord): run is RunRecord & { readonly scheduled_time_ms: number } {
  return run.scheduled_time_ms !== null;
}
