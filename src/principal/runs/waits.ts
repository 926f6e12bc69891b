/** What of a run waits for an agent, since when, and why. */
import type { OperationalTx, RunRecord } from "../../storage/operational/store.ts";
import type { Definitions } from "./definitions.ts";
import { type WaitReason, waitReasons } from "./wait-reasons.ts";

/** Tasks of a run that wait for an agent together. */
export interface Wait extends WaitReason {
  /** Number of their slice; 0 for a whole run. */
  readonly slice: number;
  /** Ids, in the order of the definition. */
  readonly tasks: readonly string[];
  /** Since when, ms since the epoch. */
  readonly since_ms: number;
}

/** Says why something with these needs waits; made by {@link Waits.reasons} for one unit of work. */
export type Reasons = (needs: string) => WaitReason;

/** Finds what waits. Its methods are parts of a unit of work. */
export class Waits {
  readonly #definitions: Definitions;

  constructor(definitions: Definitions) {
    this.#definitions = definitions;
  }

  /** The reasons as of now: reads the agents and their leases. */
  async reasons(tx: OperationalTx): Promise<Reasons> {
    const leases = new Map<string, number>();
    for (const { agent_id } of await tx.openAttempts()) leases.set(agent_id, (leases.get(agent_id) ?? 0) + 1);
    const agents = await tx.listAgents();
    return waitReasons(
      agents.map(({ agent_id, status, labels, version, protocol, max_concurrent_workflows }) => ({
        agent_id,
        status,
        labels,
        version,
        protocol,
        leases: leases.get(agent_id) ?? 0,
        max_leases: max_concurrent_workflows,
      })),
    );
  }

  /** What of a run waits, in order; empty when nothing does. */
  async of(tx: OperationalTx, run: RunRecord): Promise<Wait[]> {
    const waits = await this.why(tx, run);
    if (run.revision > 0 || waits.length === 0) return waits;
    const definition = await this.#definitions.of(tx, run);
    const completed = new Set(await tx.completedTasks(run.workflow_instance_id));
    const tasks = (definition?.tasks ?? []).map(({ id }) => id).filter((id) => !completed.has(id));
    return waits.map((wait) => ({ ...wait, tasks }));
  }

  /** As {@link of}, but without the tasks of a whole run. @param reasons read now, if something waits, by default */
  async why(tx: OperationalTx, run: RunRecord, reasons?: Reasons): Promise<Wait[]> {
    if (run.revision === 0) {
      if (!run.queued) return [];
      const reasonOf = reasons ?? (await this.reasons(tx));
      return [{ slice: 0, tasks: [], since_ms: run.status_at_ms, ...reasonOf(run.needs) }];
    }
    const open = await tx.listSlices(run.workflow_instance_id, "open");
    const queued = open.filter(({ state }) => state === "QUEUED");
    if (queued.length === 0) return [];
    const reasonOf = reasons ?? (await this.reasons(tx));
    return queued.map(({ slice, tasks, needs, queued_at_ms }) => ({
      slice,
      tasks,
      since_ms: queued_at_ms,
      ...reasonOf(needs),
    }));
  }
}

/** Slices that are named before the number of the others. */
const NAMED = 3;

/** The reasons of everything that waits in a run, as one text. */
export function textOf(waits: readonly Wait[]): string {
  const reasons = new Set(waits.map(({ reason }) => reason));
  if (reasons.size < 2) return [...reasons].join();
  const named = waits.slice(0, NAMED).map(({ slice, reason }) => `slice ${slice}: ${reason}`);
  if (waits.length > NAMED) named.push(`and ${waits.length - NAMED} more slices`);
  return named.join("; ");
}
