/** What is known of a run without a principal, in the form in which a principal tells of its runs. */
import type {
  ItemResult,
  RunAssignment,
  RunDetails,
  TaskReport,
  TaskRunSummary,
} from "../../contract/messages.ts";
import type { Outputs } from "../../contract/outputs.ts";
import { aggregate } from "../../workflow/fan-out.ts";
import { allTasks, isHook } from "../../workflow/hooks.ts";
import type { WorkflowDefinition } from "../../workflow/model.ts";
import type { RunStatus } from "../../workflow/status.ts";
import { type Ending, isEnding } from "../../workflow/task-state.ts";

/** What a task, or an item, has left as files. */
type InputFiles = NonNullable<RunAssignment["artifacts"]>[number];

/** Which run it is. */
export interface RunName {
  readonly definition: WorkflowDefinition;
  readonly workflow_instance_id: string;
  readonly params: Readonly<Record<string, string>>;
  readonly created_at_ms: number;
  /** What caused it. */
  readonly trigger: "cli" | "workflow";
}

/** How a run ended. */
export interface RunEnd {
  readonly status: RunStatus;
  readonly error: string | null;
  readonly allowed: number;
  readonly outputs?: Outputs | undefined;
}

/** What becomes of a task that no slice has. */
type Change = Pick<TaskRunSummary, "status"> &
  Partial<Pick<TaskRunSummary, "error" | "task_attempt" | "is_allowed">>;

/** The items of a fan-out. */
interface Items {
  total: number;
  readonly statusOf: Map<string, RunStatus>;
  /** What those that are over have published. */
  readonly results: Map<string, ItemResult>;
}

/** Keeps what is told of the tasks of a run. */
export class RunRecord {
  readonly #name: RunName;
  readonly #tasks = new Map<string, TaskRunSummary>();
  readonly #items = new Map<string, Items>();
  readonly #files = new Map<string, InputFiles[]>();
  #startedMs: number | null = null;

  constructor(name: RunName) {
    this.#name = name;
  }

  /** Who executes a task reports about it. @param keepsOutputs whether somebody may read what it publishes */
  reported(report: Omit<TaskReport, "seq">, keepsOutputs: boolean): void {
    const { task_id, item, status, timestamp_ms: at, outputs } = report;
    if (status === "RUNNING") this.#startedMs ??= at;
    if (report.artifacts !== undefined) {
      const { hash, bytes } = report.artifacts;
      const left = { task_id, item_key: item?.key ?? null, hash, bytes };
      this.#files.set(task_id, [...(this.#files.get(task_id) ?? []), left]);
    }
    if (item !== undefined) {
      this.item(task_id, item, status, keepsOutputs ? outputs : null);
      return;
    }
    if (report.items_total !== undefined) this.#itemsOf(task_id).total = report.items_total;
    const { workflow_id: _, workflow_instance_id: __, kind: ___, timestamp_ms: ____, ...rest } = report;
    const {
      items_total: _____,
      next_try_ms,
      outputs: ______,
      item: _______,
      artifacts: ________,
      ...told
    } = rest;
    const before = this.#tasks.get(task_id);
    this.#tasks.set(task_id, {
      ...told,
      agent_id: null,
      started_at_ms: before?.started_at_ms ?? (status === "RUNNING" ? at : null),
      finished_at_ms: isEnding(status) ? at : null,
      ...(next_try_ms === undefined ? {} : { next_attempt_ms: at + next_try_ms }),
      ...this.#hookMark(task_id),
    });
  }

  /** Something becomes of a task that nobody executes. @param at ms since the epoch */
  changed(task_id: string, at: number, change: Change): void {
    const { status } = change;
    const before = this.#tasks.get(task_id);
    const begins = status === "RUNNING" || status === "WAITING";
    if (begins) this.#startedMs ??= at;
    this.#tasks.set(task_id, {
      task_id,
      task_instance_id: before?.task_instance_id ?? crypto.randomUUID(),
      slice: 0,
      attempt: 1,
      task_attempt: before?.task_attempt ?? 0,
      exit_code: before?.exit_code ?? null,
      signal: null,
      error: null,
      cpu_ms: null,
      max_rss_kb: null,
      agent_id: null,
      started_at_ms: before?.started_at_ms ?? (begins ? at : null),
      finished_at_ms: isEnding(status) ? at : null,
      ...this.#hookMark(task_id),
      ...change,
    });
  }

  /** The items of a fan-out are known. */
  expanded(task_id: string, total: number): void {
    this.#itemsOf(task_id).total = total;
  }

  /** Something becomes of an item. */
  item(
    task_id: string,
    { key, index }: { readonly key: string; readonly index: number },
    status: RunStatus,
    outputs: Outputs | null,
  ): void {
    const { statusOf, results } = this.#itemsOf(task_id);
    statusOf.set(key, status);
    if (isEnding(status)) results.set(key, { key, index, status, outputs });
  }

  /** What the items of a fan-out have published, in order; null for a task that is none. */
  resultsOf(task_id: string): readonly ItemResult[] | null {
    const items = this.#items.get(task_id);
    if (items === undefined) return null;
    return [...items.results.values()].sort((a, b) => a.index - b.index);
  }

  /** What tasks, or their items, have left as files. */
  filesOf(tasks: Iterable<string>): InputFiles[] {
    return [...tasks].flatMap((task) => this.#files.get(task) ?? []);
  }

  /** What a fan-out has published: for each name, the list of its items. */
  outputsOf(task_id: string): Outputs | null {
    return aggregate(this.#items.get(task_id)?.total ?? 0, this.resultsOf(task_id) ?? []);
  }

  /** The task run of a task that was told of. */
  task(task_id: string): TaskRunSummary | undefined {
    return this.#tasks.get(task_id);
  }

  /** All of it, as a principal tells it. @param at when it ended, ms since the epoch; @param tookMs by the monotonic clock */
  details({ status, error, allowed, outputs }: RunEnd, at: number, tookMs: number): RunDetails {
    const { definition, workflow_instance_id, params, created_at_ms, trigger } = this.#name;
    const tasks = allTasks(definition).flatMap(({ id }) => {
      const task = this.#tasks.get(id);
      if (task === undefined) return [];
      const items = this.#items.get(task.task_id);
      return items === undefined ? task : { ...task, items: countsOf(items) };
    });
    return {
      workflow_id: definition.id,
      workflow_name: definition.name,
      workflow_instance_id,
      status,
      trigger,
      agent_id: null,
      attempt: 1,
      created_at_ms,
      started_at_ms: this.#startedMs,
      finished_at_ms: at,
      duration_ms: this.#startedMs === null ? null : Math.round(tookMs),
      scheduled_time_ms: null,
      params: { ...params },
      error,
      retry_of: null,
      ...(allowed > 0 ? { allowed_failures: allowed } : {}),
      ...(outputs === undefined ? {} : { outputs }),
      attempts: [],
      tasks,
      definition,
    };
  }

  #hookMark(task_id: string): { readonly hook?: true } {
    return isHook(this.#name.definition, task_id) ? { hook: true } : {};
  }

  #itemsOf(task_id: string): Items {
    let items = this.#items.get(task_id);
    if (items === undefined) {
      items = { total: 0, statusOf: new Map(), results: new Map() };
      this.#items.set(task_id, items);
    }
    return items;
  }
}

function countsOf({ total, statusOf }: Items): NonNullable<TaskRunSummary["items"]> {
  const by_status: Partial<Record<RunStatus | Ending, number>> = {};
  for (const status of statusOf.values()) by_status[status] = (by_status[status] ?? 0) + 1;
  return { total, by_status };
}
