/** What waits, in the order in which it goes, with the reasons. */
import type { Clock } from "../../clock.ts";
import type { Queue } from "../../contract/messages.ts";
import { groupName } from "../../storage/operational/records.ts";
import type { OperationalStore, OperationalTx, QueueEntry } from "../../storage/operational/store.ts";
import { holdReason, pauseReason } from "../limits/holds.ts";
import { readNeeds } from "../limits/needs.ts";
import { inOrder } from "../limits/order.ts";
import type { Waits } from "./waits.ts";

/** Tasks of a slice that are named. */
const NAMED = 100;

/** What {@link QueueView} needs. */
interface QueueViewOptions {
  readonly store: OperationalStore;
  readonly waits: Waits;
  readonly clock: Clock;
}

/** Shows the queue. */
export class QueueView {
  readonly #o: QueueViewOptions;

  constructor(options: QueueViewOptions) {
    this.#o = options;
  }

  /** The first `limit` entries, and as many of the runs that are kept out of the queue. */
  list(limit: number): Promise<Queue> {
    const { store, clock } = this.#o;
    return store.read(async (tx) => {
      // What waits for its workflow to be resumed comes last: nobody gets it.
      const all = Map.groupBy(await tx.queueEntries(limit), ({ needs }) => readNeeds(needs).isPaused);
      const order = [false, true].flatMap((isPaused) => inOrder(all.get(isPaused) ?? [], clock.now()));
      return {
        entries: await this.#entries(tx, order.slice(0, limit)),
        queued: (await tx.countRuns()).queued,
        held: await this.#held(tx, limit),
      };
    });
  }

  /** How long the oldest entry of each priority has waited, ms, by priority. */
  async oldest(): Promise<ReadonlyMap<number, number>> {
    const now = this.#o.clock.now();
    const oldest = new Map<number, number>();
    for (const { needs, since_ms } of await this.#o.store.read((tx) => tx.queueHeads())) {
      const { priority, isPaused } = readNeeds(needs);
      if (!isPaused) oldest.set(priority, Math.max(oldest.get(priority) ?? 0, now - since_ms));
    }
    return new Map([...oldest].sort(([a], [b]) => a - b));
  }

  async #entries(tx: OperationalTx, entries: readonly QueueEntry[]): Promise<Queue["entries"]> {
    const reasonOf = await this.#o.waits.reasons(tx);
    const listed: Queue["entries"] = [];
    for (const { workflow_id, workflow_instance_id, slice, needs, priority, since_ms } of entries) {
      const tasks = slice === 0 ? [] : ((await tx.getSlice(workflow_instance_id, slice))?.tasks ?? []);
      const { kind, reason, hint } = readNeeds(needs).isPaused
        ? await pauseReason(tx, { workflow_id })
        : await reasonOf(needs);
      const of = { workflow_id, workflow_instance_id, slice, tasks: tasks.slice(0, NAMED) };
      listed.push({ ...of, priority, since_ms, kind, reason, hint });
    }
    return listed;
  }

  async #held(tx: OperationalTx, limit: number): Promise<Queue["held"]> {
    const held: Queue["held"] = [];
    for (const { workflow_instance_id } of await tx.heldRuns(limit)) {
      const run = await tx.getRun(workflow_instance_id);
      if (run === null || run.hold === null) continue;
      const { reason, hint } = await holdReason(tx, run);
      held.push({
        workflow_id: run.workflow_id,
        workflow_instance_id,
        kind: run.hold,
        ...(run.group_key === null ? {} : { group: groupName(run.group_key) }),
        priority: run.priority,
        since_ms: run.rank_ms ?? run.created_at_ms,
        reason,
        hint,
      });
    }
    return held;
  }
}
