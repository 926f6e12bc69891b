/** How long runs and tasks took lately, from the history. */
import type { Clock } from "../../clock.ts";
import { errorMessage } from "../../errors.ts";
import type { HistoryAccess } from "../history/history-access.ts";
import type { Expected } from "./simulation-input.ts";

/** The last so many runs count, if they are not older than this, ms. */
const RUNS = 20;
const OLDEST_MS = 90 * 86_400_000;
/** How long what was read is used, ms: so many times as long as reading it took, within these bounds. */
const KEPT_TIMES = 1000;
const KEPT_MS = { least: 10_000, most: 10 * 60_000 };
/** Number of workflows of whose tasks one statement asks. */
const TOGETHER = 500;

const UNKNOWN: Expected = { p50_ms: null, p90_ms: null, runs: 0 };

/** The durations that are known. */
export interface Durations {
  ofWorkflow(id: string): Expected;
  /** The median of a task, ms; undefined if it is not known, or was not asked for. */
  ofTask(workflowId: string, taskId: string): number | undefined;
  /** Why they are not known; null if they are. */
  readonly warning: string | null;
}

/** Reads durations, and remembers them for a while. */
export class KnownDurations {
  readonly #history: Pick<HistoryAccess, "query">;
  readonly #clock: Clock;
  #keptMs = KEPT_MS.least;
  #workflows: { readonly atMs: number; readonly expected: ReadonlyMap<string, Expected> } | undefined;
  readonly #tasks = new Map<
    string,
    { readonly atMs: number; readonly medians: ReadonlyMap<string, number> }
  >();

  constructor(history: Pick<HistoryAccess, "query">, clock: Clock) {
    this.#history = history;
    this.#clock = clock;
  }

  /** @param withTasks ids of the workflows whose tasks are asked for */
  async read(withTasks: readonly string[]): Promise<Durations> {
    let warning: string | null = null;
    try {
      await this.#readWorkflows();
      await this.#readTasks(withTasks);
    } catch (error) {
      // Without the history a forecast still says when what fires.
      warning = `How long runs take is not known: ${errorMessage(error)}`;
    }
    return {
      ofWorkflow: (id) => this.#workflows?.expected.get(id) ?? UNKNOWN,
      ofTask: (workflowId, taskId) => this.#tasks.get(workflowId)?.medians.get(taskId),
      warning,
    };
  }

  #isKept(atMs: number | undefined): boolean {
    return atMs !== undefined && this.#clock.monotonic() - atMs < this.#keptMs;
  }

  async #readWorkflows(): Promise<void> {
    if (this.#isKept(this.#workflows?.atMs)) return;
    const began = this.#clock.monotonic();
    const rows = await this.#query(
      `WITH ended AS (${this.#lastRuns()}),
       begun AS (SELECT workflow_instance_id, min(timestamp_ms) AS started_at_ms FROM workflow_run_status
         WHERE status = 'RUNNING' AND workflow_instance_id IN (SELECT workflow_instance_id FROM ended WHERE duration_ms IS NULL) GROUP BY ALL),
       took AS (SELECT workflow_id, coalesce(duration_ms, greatest(timestamp_ms - started_at_ms, 0)) AS ms FROM ended LEFT JOIN begun USING (workflow_instance_id))
       SELECT workflow_id, round(quantile_cont(ms, 0.5))::DOUBLE, round(quantile_cont(ms, 0.9))::DOUBLE, count(ms)::DOUBLE
       FROM took WHERE ms IS NOT NULL GROUP BY workflow_id`,
    );
    const expected = new Map(
      rows.map(([id, p50_ms, p90_ms, runs]) => [
        String(id),
        { p50_ms: Number(p50_ms), p90_ms: Number(p90_ms), runs: Number(runs) },
      ]),
    );
    const atMs = this.#clock.monotonic();
    this.#keptMs = Math.min(KEPT_MS.most, Math.max(KEPT_MS.least, (atMs - began) * KEPT_TIMES));
    this.#workflows = { atMs, expected };
  }

  async #readTasks(workflowIds: readonly string[]): Promise<void> {
    const missing = workflowIds.filter((id) => !this.#isKept(this.#tasks.get(id)?.atMs));
    for (let n = 0; n < missing.length; n += TOGETHER) {
      const ids = missing.slice(n, n + TOGETHER);
      const listed = ids.map((id) => `'${id.replaceAll("'", "''")}'`).join(", ");
      const rows = await this.#query(
        `WITH ended AS (${this.#lastRuns(`AND workflow_id IN (${listed})`)}),
         took AS (SELECT workflow_id, task_id, max(timestamp_ms) FILTER (status IN ('COMPLETED', 'FAILED', 'CRASHED')) - min(timestamp_ms) FILTER (status = 'RUNNING') AS ms
           FROM task_run_status WHERE workflow_instance_id IN (SELECT workflow_instance_id FROM ended) GROUP BY workflow_id, workflow_instance_id, task_id)
         SELECT workflow_id, task_id, round(quantile_cont(greatest(ms, 0), 0.5))::DOUBLE FROM took WHERE ms IS NOT NULL GROUP BY workflow_id, task_id`,
      );
      const byWorkflow = Map.groupBy(rows, ([id]) => String(id));
      const atMs = this.#clock.monotonic();
      for (const id of ids) {
        const medians = (byWorkflow.get(id) ?? []).map(([, task, ms]) => [String(task), Number(ms)] as const);
        this.#tasks.set(id, { atMs, medians: new Map(medians) });
      }
    }
    for (const [id, { atMs }] of this.#tasks) if (!this.#isKept(atMs)) this.#tasks.delete(id);
  }

  /** The last runs of each workflow that completed. */
  #lastRuns(where = ""): string {
    const since = Math.floor(this.#clock.now() - OLDEST_MS);
    return `SELECT workflow_id, workflow_instance_id, timestamp_ms, duration_ms FROM workflow_run_status
      WHERE status = 'COMPLETED' AND timestamp_ms >= ${since} ${where}
      QUALIFY row_number() OVER (PARTITION BY workflow_id ORDER BY timestamp_ms DESC) <= ${RUNS}`;
  }

  async #query(sql: string): Promise<readonly (readonly unknown[])[]> {
    return (await this.#history.query({ sql, max_rows: 1_000_000 })).rows;
  }
}
