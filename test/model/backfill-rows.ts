/**
 * Backfills in the world of limits: they are created, paused, resumed and cancelled by chance, over hours that overlap. What they promise is
 * judged from the rows of runs: no firing has two runs under way, none is run again unless its backfill says so, no backfill has more runs
 * under way than it may, and in the end each of its firings is done with.
 */
import type { BackfillSummary } from "../../src/contract/messages.ts";
import type { ManualClock } from "../support/manual-clock.ts";
import type { LimitedPrincipal } from "./limited-principal.ts";
import { BrokenPromise, type Snapshot } from "./limits-reference.ts";

const HOUR_MS = 3_600_000;
/** Backfills are about the first hours of the clock, which are over when a world begins. */
const HOURS = 4;
export const BEGINS_MS = (HOURS + 1) * HOUR_MS;
/** Backfills that are not over at which no more are made. */
const MANY = 4;
const AGAIN: ReadonlySet<string> = new Set(["FAILED", "CRASHED", "CANCELLED", "SKIPPED"]);

interface BackfillRowsOptions {
  readonly random: () => number;
  readonly clock: ManualClock;
  readonly workflows: readonly string[];
  readonly principal: () => LimitedPrincipal;
  /** Does something that may be refused, or fail with the disk; null then. */
  readonly attempt: <T>(what: string, deed: () => Promise<T>) => Promise<T | null>;
}

type Run = Snapshot["runs"] extends ReadonlyMap<string, infer R> ? R : never;

/** The backfills of a world. */
export class BackfillRows {
  readonly #o: BackfillRowsOptions;
  /** As they were at the last look: reading them must not meet a failure of the disk. */
  #known: readonly BackfillSummary[] = [];
  #made = 0;

  constructor(options: BackfillRowsOptions) {
    this.#o = options;
  }

  async create(): Promise<void> {
    if (this.#known.filter(isOpen).length >= MANY) return;
    const workflow_id = this.#one(this.#o.workflows);
    const first = Math.floor(this.#o.random() * HOURS);
    const last = Math.min(HOURS, first + Math.floor(this.#o.random() * 5));
    const text = (hour: number) => new Date(hour * HOUR_MS).toISOString();
    const request = {
      workflow_id,
      from: text(first),
      to: text(last),
      reverse: this.#o.random() < 0.3,
      reprocess: this.#one(["none", "none", "failed", "all"] as const),
      params: {},
      max_active: 1 + Math.floor(this.#o.random() * 3),
      dedupe_key: `backfill ${this.#made++}`,
    };
    await this.#o.attempt(`backfill of ${JSON.stringify(request)}`, async () => {
      const made = await this.#o.principal().backfills.create(request, null);
      // The reply was lost: the same again.
      if (this.#o.random() < 0.2) {
        const again = await this.#o.principal().backfills.create(request, null);
        if (again.backfill_id !== made.backfill_id)
          throw new BrokenPromise(`${made.backfill_id} was created twice`);
      }
    });
  }

  /** Runs are made, as many as may be. */
  async pass(): Promise<void> {
    await this.#o.attempt("backfills go on", () => this.#o.principal().backfillRunner.pass());
  }

  async change(): Promise<void> {
    const backfill = this.#one(this.#known.filter(isOpen));
    if (backfill === undefined) return;
    const { backfill_id } = backfill;
    const to = this.#o.random() < 0.25 ? "CANCELLED" : backfill.state === "PAUSED" ? "ACTIVE" : "PAUSED";
    await this.#o.attempt(`backfill ${backfill_id} becomes ${to}`, () =>
      this.#o.principal().backfills.change({ backfill_id, to }),
    );
  }

  /** Those that are paused go on, whoever has paused them. */
  async resumeAll(): Promise<void> {
    for (const { backfill_id, state } of await this.#list())
      if (state === "PAUSED")
        await this.#o.attempt(`backfill ${backfill_id} goes on`, () =>
          this.#o.principal().backfills.change({ backfill_id, to: "ACTIVE" }),
        );
  }

  async isOpen(): Promise<boolean> {
    return (await this.#list()).some(isOpen);
  }

  /** What a unit of work may not have done. */
  async step(before: Snapshot, after: Snapshot): Promise<void> {
    if (this.#made === 0) return;
    this.#known = await this.#list();
    const all = [...after.runs.values()];
    const made = all.filter((run) => isMade(run) && !before.runs.has(run.id));
    const open = all.filter((run) => isMade(run) && !run.isOver);
    if (made.length === 0 && open.length === 0) return;
    const backfills = new Map(this.#known.map((backfill) => [backfill.backfill_id, backfill]));
    for (const [firing, runs] of Map.groupBy(open, firingOf))
      check(
        runs.length === 1,
        () => `firing ${firing} has runs ${runs.map(({ id }) => id).join(", ")} at once`,
      );
    for (const [id, runs] of Map.groupBy(open, ({ backfill }) => backfill ?? "")) {
      const most = backfills.get(id)?.max_active ?? 0;
      check(runs.length <= most, () => `backfill ${id} has ${runs.length} runs under way, of ${most}`);
    }
    for (const run of made) {
      const { reprocess = "none", state } = backfills.get(run.backfill ?? "") ?? {};
      check(run.onConflict === null || run.onConflict === "queue", () => `${run.id} obeys ${run.onConflict}`);
      check(run.priority <= 9 && run.priority >= 0, () => `${run.id} has priority ${run.priority}`);
      check(state !== undefined, () => `${run.id} is of a backfill that does not exist`);
      const earlier = all.filter(
        (other) => other.seq < run.seq && other.scheduledMs !== null && firingOf(other) === firingOf(run),
      );
      const last = earlier.at(-1);
      if (last === undefined) continue;
      check(last.isOver, () => `${run.id} is a second run beside ${last.id}`);
      if (reprocess === "none")
        check(
          earlier.every(({ status }) => status === "SKIPPED"),
          () => `${run.id} repeats ${last.id}, which is ${last.status}`,
        );
      if (reprocess === "failed")
        check(AGAIN.has(last.status), () => `${run.id} repeats ${last.id}, which is ${last.status}`);
    }
  }

  /** Everything is over. */
  async calm(now: Snapshot): Promise<void> {
    for (const backfill of await this.#list()) {
      const { backfill_id: id, state, workflow_id } = backfill;
      const own = [...now.runs.values()].filter((run) => isMade(run) && run.backfill === id);
      check(state === "DONE" || state === "CANCELLED", () => `backfill ${id} of ${workflow_id} is ${state}`);
      check(
        own.every(({ isOver }) => isOver),
        () => `backfill ${id} is ${state}, and not all of its runs are over`,
      );
      const counts = Object.values(backfill.by_status).reduce((sum, count) => sum + count, backfill.active);
      const done = counts + backfill.present;
      if (state === "DONE")
        check(done === backfill.total, () => `${done} of ${backfill.total} firings of ${id}`);
      check(counts === own.length, () => `${counts} firings of ${id} have an outcome, ${own.length} a run`);
    }
  }

  async #list(): Promise<readonly BackfillSummary[]> {
    return this.#o.principal().backfills.list({ limit: 1000, open: false });
  }

  #one<T>(list: readonly T[]): T {
    return list[Math.floor(this.#o.random() * list.length)] as T;
  }
}

const isOpen = ({ finished_at_ms }: BackfillSummary) => finished_at_ms === null;
/** Whether a backfill has made it, not somebody who retried a run of one. */
const isMade = ({ backfill, retryOf }: Run) => backfill !== null && retryOf === null;
const firingOf = ({ workflow, scheduledMs }: Run) => `${workflow} ${scheduledMs}`;

function check(holds: boolean, what: () => string): void {
  if (!holds) throw new BrokenPromise(what());
}
