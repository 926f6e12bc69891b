/** Runs workflows after runs of others, as `on: workflow` declares. */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ConsolaInstance } from "consola";
import { type Clock, systemClock } from "../../clock.ts";
import { errorMessage } from "../../errors.ts";
import type { RunSummary, WorkflowSummary } from "../../protocol/messages.ts";
import { pause } from "../pause.ts";
import { DeclaredListener } from "./declared-listener.ts";

/** Between two looks at the runs, ms. */
const LOOK_MS = 500;
/** Runs of one workflow that a look sees, the newest. */
const RUNS = 1000;
/** Runs that ended longer ago are not looked at after a restart: their dedupe keys may be forgotten. */
const OLDEST_MS = 24 * 3_600_000;

interface Wish {
  readonly workflow: WorkflowSummary;
  readonly after: string;
  readonly statuses: ReadonlySet<string>;
  /** Runs that ended before are no events: nobody had asked yet. */
  readonly sinceMs: number;
}

/** What it needs. */
export interface AfterWorkflowOptions {
  readonly log: ConsolaInstance;
  /** Here it notes since when each wish is known, so that what ends while it is down counts. */
  readonly directory: string;
  readonly clock?: Clock;
}

/** The listener; it looks at the runs of the workflows that others wait for. */
export class AfterWorkflowListener extends DeclaredListener {
  override readonly name = "workflow";
  readonly #options: AfterWorkflowOptions;
  readonly #clock: Clock;
  readonly #file: string;
  /** Since when each wish is known, ms since the epoch. */
  #known: Record<string, number>;
  #wishes: Wish[] = [];
  readonly #handled = new Set<string>();

  constructor(options: AfterWorkflowOptions) {
    super(options.log);
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#file = join(options.directory, "since.json");
    this.#known = this.#read();
  }

  protected override get trigger(): string {
    return "workflow";
  }

  override async startListening(): Promise<void> {
    await Promise.all([super.startListening(), this.#look()]);
  }

  protected override take(workflows: readonly WorkflowSummary[]): void {
    const now = this.#clock.now();
    const known: Record<string, number> = {};
    this.#wishes = workflows.flatMap((workflow) => {
      const after = workflow.on?.workflow;
      if (after == null) return [];
      const key = `${workflow.id} after ${after.id}: ${after.status.toSorted().join(" ")}`;
      const sinceMs = Math.min(this.#known[key] ?? now, now);
      known[key] = sinceMs;
      return [{ workflow, after: after.id, statuses: new Set<string>(after.status), sinceMs }];
    });
    if (JSON.stringify(known) === JSON.stringify(this.#known)) return;
    this.#known = known;
    this.#write();
  }

  async #look(): Promise<void> {
    const { signal } = this;
    while (!signal.aborted) {
      try {
        const seen = new Set<string>();
        for (const id of new Set(this.#wishes.map((wish) => wish.after))) {
          for (const run of await this.client.listRuns({ workflow_id: id, limit: RUNS }, { signal })) {
            await this.#consider(run, seen);
          }
        }
        for (const key of this.#handled) if (!seen.has(key)) this.#handled.delete(key);
      } catch (error) {
        if (signal.aborted) return;
        this.log.debug(`The runs cannot be asked for: ${errorMessage(error)}`);
      }
      await pause(LOOK_MS, signal);
    }
  }

  async #consider(run: RunSummary, seen: Set<string>): Promise<void> {
    const endedMs = run.finished_at_ms;
    if (endedMs === null) return;
    for (const { workflow, after, statuses, sinceMs } of this.#wishes) {
      if (after !== run.workflow_id || !statuses.has(run.status)) continue;
      if (endedMs < Math.max(sinceMs, this.#clock.now() - OLDEST_MS)) continue;
      const key = `after:${workflow.id}:${run.workflow_instance_id}`;
      seen.add(key);
      if (this.#handled.has(key)) continue;
      await this.fire(
        workflow,
        {
          workflow_id: run.workflow_id,
          workflow_instance_id: run.workflow_instance_id,
          status: run.status,
        },
        key,
      );
      this.#handled.add(key);
    }
  }

  #read(): Record<string, number> {
    try {
      return JSON.parse(readFileSync(this.#file, "utf8"));
    } catch {
      // The first start, or a file that was cut off: then what ends from now on counts.
      return {};
    }
  }

  #write(): void {
    try {
      mkdirSync(this.#options.directory, { recursive: true, mode: 0o700 });
      writeFileSync(`${this.#file}.tmp`, JSON.stringify(this.#known), { flush: true });
      renameSync(`${this.#file}.tmp`, this.#file);
    } catch (error) {
      this.log.error(`${this.#file} cannot be written: ${errorMessage(error)}`);
    }
  }
}
