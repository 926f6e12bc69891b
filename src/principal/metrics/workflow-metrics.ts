/**
 * The metrics of single workflows. Their number is bounded: a workflow gets series of its own when it is the first of `most` to have a
 * run that ended, and keeps them as long as this process runs; all others are counted together, as {@link OTHERS}.
 */
import type { LatestEnd } from "../../contract/history.ts";
import { type Exposition, Histogram, type Labels } from "../../metrics/exposition.ts";
import type { RunRecord } from "../../storage/operational/store.ts";
import type { RunStatus } from "../../workflow/status.ts";
import type { PrincipalEvents } from "../principal-events.ts";

/** The statuses of runs that are over. */
export const ENDS = ["COMPLETED", "FAILED", "CRASHED", "SKIPPED", "CANCELLED"] as const satisfies RunStatus[];

/** The label of the workflows that have no series of their own; no id can be this. */
export const OTHERS = "(other)";

/** From a short script to a whole day, seconds. Few, because each workflow has all of them. */
const DURATION_BOUNDS = [1, 5, 15, 60, 300, 900, 3600, 14_400, 86_400];

/** What is known of a workflow. */
class Series {
  readonly ended = new Map<RunStatus, number>();
  readonly durations = new Histogram(DURATION_BOUNDS);
  /** When its last run COMPLETED, ms since the epoch. */
  lastSuccessMs: number | undefined;
  /** How long the last run took that had begun, ms. */
  lastDurationMs: number | undefined;
}

/** Options of {@link WorkflowMetrics}. */
export interface WorkflowMetricsOptions {
  readonly events: PrincipalEvents;
  /** The number of workflows with series of their own; 0 for no such metrics at all. */
  readonly most: number;
  /** The ids of the loaded workflows. */
  readonly ids: () => Iterable<string>;
  /** What the history knows of them. @throws HistoryUnavailableError */
  readonly latestEnds: (workflowIds: readonly string[]) => Promise<readonly LatestEnd[]>;
}

/** Counts the ends of runs by workflow. */
export class WorkflowMetrics {
  readonly #o: WorkflowMetricsOptions;
  readonly #series = new Map<string, Series>();
  #isRecalled = false;
  #recalling: Promise<void> | undefined;

  /** Starts counting. */
  constructor(options: WorkflowMetricsOptions) {
    this.#o = options;
    if (options.most > 0) options.events.on("run ended", (run) => this.#ended(run));
  }

  /**
   * Learns from the history what earlier processes knew: when each workflow last succeeded, and how long its last run took. It is asked
   * once, when somebody wants to see these metrics; when it is away, the next time.
   */
  recall(): Promise<void> {
    if (this.#isRecalled || this.#o.most === 0) return Promise.resolve();
    this.#recalling ??= this.#recall().finally(() => {
      this.#recalling = undefined;
    });
    return this.#recalling;
  }

  async #recall(): Promise<void> {
    const ids = [...this.#o.ids()].sort();
    let ends: readonly LatestEnd[];
    try {
      ends = await this.#o.latestEnds(ids);
    } catch {
      return;
    }
    this.#isRecalled = true;
    for (const { workflow_id, success_ms, duration_ms } of ends) {
      const series = this.#of(workflow_id);
      // The runs that this process saw end are newer.
      if (success_ms !== null) series.lastSuccessMs = Math.max(series.lastSuccessMs ?? 0, success_ms);
      series.lastDurationMs ??= duration_ms ?? undefined;
    }
  }

  #ended(run: RunRecord): void {
    const series = this.#of(run.workflow_id);
    series.ended.set(run.status, (series.ended.get(run.status) ?? 0) + 1);
    const { started_at_ms, finished_at_ms } = run;
    if (run.status === "COMPLETED" && finished_at_ms !== null)
      series.lastSuccessMs = Math.max(series.lastSuccessMs ?? 0, finished_at_ms);
    if (started_at_ms === null || finished_at_ms === null) return;
    series.lastDurationMs = run.duration_ms ?? Math.max(0, finished_at_ms - started_at_ms);
    series.durations.observe(series.lastDurationMs / 1000);
  }

  #of(workflowId: string): Series {
    const known = this.#series.get(workflowId);
    if (known !== undefined) return known;
    const key = this.#series.size - Number(this.#series.has(OTHERS)) < this.#o.most ? workflowId : OTHERS;
    const series = this.#series.get(key) ?? new Series();
    this.#series.set(key, series);
    return series;
  }

  /** Adds them to a page. */
  addTo(page: Exposition): void {
    const all = [...this.#series];
    if (all.length === 0) return;
    // Of several workflows together, the time of the latest success and the latest duration say nothing.
    const single = all.filter(([workflow]) => workflow !== OTHERS);
    const each = (value: (series: Series) => number | undefined): [Labels, number][] =>
      single.flatMap(([workflow, series]) => {
        const ms = value(series);
        return ms === undefined ? [] : [[{ workflow }, ms / 1000]];
      });
    page.counter(
      "cdktr_workflow_runs_total",
      "Runs that ended since the principal started, by workflow and status.",
      all.flatMap(([workflow, { ended }]) =>
        // Also those of which there are none: the first one is an increase then.
        ENDS.map((status): [Labels, number] => [{ workflow, status }, ended.get(status) ?? 0]),
      ),
    );
    page.gauge(
      "cdktr_workflow_last_success_timestamp_seconds",
      "When a run of the workflow last COMPLETED, Unix time.",
      each(({ lastSuccessMs }) => lastSuccessMs),
    );
    page.gauge(
      "cdktr_workflow_last_run_duration_seconds",
      "How long the last run of the workflow took, from its first start.",
      each(({ lastDurationMs }) => lastDurationMs),
    );
    page.histogram(
      "cdktr_workflow_duration_seconds",
      "How long runs of the workflow took that ended since the principal started.",
      all
        .filter(([, { durations }]) => durations.count > 0)
        .map(([workflow, s]) => [{ workflow }, s.durations]),
    );
  }
}
