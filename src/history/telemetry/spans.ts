/**
 * Makes spans of status rows. A run is a span; what it waited for an agent, attempts that crashed, and its task runs are spans below it.
 * A span is complete when its end is: nothing is sent of what still goes on.
 *
 * What a row of an end does not say itself (since when a run waited, what happened in between) is remembered from earlier rows, in bounded
 * memory. Where that is missing, because the history was restarted in between, a span has less detail or, where its beginning is not
 * known, is left out.
 */
import type { PendingStatus, RunStatusRow, TaskStatusRow } from "../../contract/history-rows.ts";
import {
  contextOfRun,
  contextOfTask,
  readTraceparent,
  type Sampling,
  type SpanContext,
  spanIdOf,
} from "../../contract/trace-context.ts";
import { dropOldest } from "../../recent.ts";
import type { RunStatus } from "../../workflow/status.ts";
import { isEnding } from "../../workflow/task-state.ts";
import { attributes, nanoseconds, SPAN_KIND, type Span, type SpanEvent, STATUS_CODE } from "./otlp.ts";

/** The most of what is remembered. */
const MOST_RUNS = 50_000;
const MOST_TASKS = 100_000;
/** Events of a span: the first ones are kept. */
const MOST_EVENTS = 32;

/** How a run or a task ended, in the words of the semantic conventions for CI/CD. */
const RESULTS: Partial<Record<RunStatus, string>> = {
  COMPLETED: "success",
  FAILED: "failure",
  CRASHED: "error",
  CANCELLED: "cancellation",
  SKIPPED: "skip",
};

/** What is known of a run that is not over. */
interface OpenRun {
  attempt: number;
  /** Since when it waits for an agent, ms since the epoch. */
  readonly pendingSince: number;
  /** When an agent began. */
  begunAt: number | undefined;
  /** Why it waited. */
  readonly reasons: SpanEvent[];
}

/** What is known of a task run that is not over. */
interface OpenTask {
  readonly begunAt: number | undefined;
  /** Its tries. */
  readonly events: SpanEvent[];
}

/** Makes spans. */
export class SpanMaker {
  readonly #sampling: Sampling;
  readonly #runs = new Map<string, OpenRun>();
  readonly #tasks = new Map<string, OpenTask>();
  /** Crashed attempts of which it is not clear yet whether they are the end of their run. */
  readonly #crashed = new Map<string, RunStatusRow>();
  /** The contexts that triggers brought, by run; of most runs there is none. */
  readonly #brought = new Map<string, string>();

  constructor(sampling: Sampling) {
    this.#sampling = sampling;
  }

  /** The trigger of this run brought this context. */
  recall(runId: string, traceparent: string): void {
    this.#brought.delete(runId);
    this.#brought.set(runId, traceparent);
    dropOldest(this.#brought, MOST_RUNS);
  }

  /** The span of a run. */
  contextOf(runId: string): SpanContext {
    return contextOfRun({ runId, traceparent: this.#brought.get(runId) ?? null }, this.#sampling);
  }

  /** The spans that are complete with these rows, which follow the earlier ones. */
  take(statuses: readonly PendingStatus[]): Span[] {
    const spans: Span[] = [];
    for (const status of statuses) {
      if (status.table === "workflow_run_status") this.#takeRun(status.row, spans);
      else if (status.table === "task_run_status") this.#takeTask(status.row, spans);
    }
    return spans;
  }

  /** All rows that exist were taken: attempts that crashed last are the ends of their runs. */
  settle(): Span[] {
    const spans: Span[] = [];
    for (const row of this.#crashed.values()) this.#ended(row, spans);
    this.#crashed.clear();
    return spans;
  }

  #takeRun(row: RunStatusRow, spans: Span[]): void {
    const { workflow_instance_id: id, attempt, status, timestamp_ms: at } = row;
    if (row.traceparent != null) this.recall(id, row.traceparent);
    const crashed = this.#crashed.get(id);
    if (crashed !== undefined) {
      this.#crashed.delete(id);
      this.#attemptCrashed(crashed, spans);
    }
    if (status === "CRASHED") this.#crashed.set(id, row);
    else if (isEnding(status)) this.#ended(row, spans);
    else if (status === "PENDING") this.#pending(row);
    else {
      const open = this.#runs.get(id);
      if (open === undefined || open.attempt !== attempt || open.begunAt !== undefined) return;
      open.begunAt = at;
      this.#queued(row, open, at, spans);
    }
  }

  #pending({ workflow_instance_id: id, attempt, timestamp_ms: at, reason }: RunStatusRow): void {
    let open = this.#runs.get(id);
    if (open?.attempt !== attempt) {
      open = { attempt, pendingSince: at, begunAt: undefined, reasons: [] };
      this.#runs.set(id, open);
      dropOldest(this.#runs, MOST_RUNS);
    }
    if (reason != null && open.reasons.length < MOST_EVENTS)
      open.reasons.push({ timeUnixNano: nanoseconds(at), name: reason });
  }

  /** It waited for an agent, or for what it needs before. */
  #queued(row: RunStatusRow, open: OpenRun, until: number, spans: Span[]): void {
    const run = this.contextOf(row.workflow_instance_id);
    if (!run.isSampled) return;
    spans.push({
      traceId: run.traceId,
      spanId: spanIdOf(`${row.workflow_instance_id} queued ${open.attempt}`),
      parentSpanId: run.spanId,
      name: "queued",
      kind: SPAN_KIND.INTERNAL,
      ...between(open.pendingSince, until),
      attributes: attributes({ ...ofRun(row), "cdktr.attempt": open.attempt, ...agentOf(row) }),
      ...(open.reasons.length === 0 ? {} : { events: open.reasons }),
      flags: flagsOf(run),
    });
  }

  /** An attempt crashed, and another one follows. */
  #attemptCrashed(row: RunStatusRow, spans: Span[]): void {
    const open = this.#runs.get(row.workflow_instance_id);
    const run = this.contextOf(row.workflow_instance_id);
    if (!run.isSampled || open?.begunAt === undefined || open.attempt !== row.attempt) return;
    spans.push({
      traceId: run.traceId,
      spanId: spanIdOf(`${row.workflow_instance_id} attempt ${row.attempt}`),
      parentSpanId: run.spanId,
      name: "crashed attempt",
      kind: SPAN_KIND.INTERNAL,
      ...between(open.begunAt, row.timestamp_ms),
      attributes: attributes({ ...ofRun(row), "cdktr.attempt": row.attempt, ...agentOf(row) }),
      status: failed(row.error),
      flags: flagsOf(run),
    });
  }

  #ended(row: RunStatusRow, spans: Span[]): void {
    const id = row.workflow_instance_id;
    this.#runs.delete(id);
    const run = this.contextOf(id);
    if (!run.isSampled) return;
    const parent = row.traceparent == null ? undefined : readTraceparent(row.traceparent);
    const hasFailed = row.status === "FAILED" || row.status === "CRASHED";
    spans.push({
      traceId: run.traceId,
      spanId: run.spanId,
      ...(parent === undefined ? {} : { parentSpanId: parent.spanId }),
      name: row.workflow_id,
      kind: SPAN_KIND.SERVER,
      ...between(row.created_at_ms, row.timestamp_ms),
      attributes: attributes({
        ...ofRun(row),
        "cicd.pipeline.result": RESULTS[row.status],
        "error.type": hasFailed ? row.status : null,
        "cdktr.workflow.name": row.workflow_name,
        "cdktr.status": row.status,
        "cdktr.trigger": row.trigger,
        "cdktr.attempt": row.attempt,
        "cdktr.agents": row.agents,
        ...agentOf(row),
        "cdktr.scheduled_time":
          row.scheduled_time_ms == null ? null : new Date(row.scheduled_time_ms).toISOString(),
        "cdktr.reason": row.status === "SKIPPED" || row.status === "CANCELLED" ? row.error : null,
        "cdktr.retry_of": row.retry_of,
        "cdktr.parent.run.id": row.parent_run,
        "cdktr.parent.task.name": row.parent_task,
        "cdktr.backfill.id": row.backfill_id,
        "cdktr.allowed_failures": row.allowed_failures,
      }),
      ...(row.retry_of === null ? {} : { links: [this.#linkTo(row.retry_of, row.traceparent ?? null)] }),
      ...(hasFailed ? { status: failed(row.error) } : {}),
      flags: flagsOf(run),
    });
  }

  /** A run has the context that the trigger of the one brought that it retries. */
  #linkTo(runId: string, traceparent: string | null): NonNullable<Span["links"]>[number] {
    const { traceId, spanId } = contextOfRun({ runId, traceparent }, this.#sampling);
    return { traceId, spanId, attributes: attributes({ "cdktr.link": "retry_of" }) };
  }

  #takeTask(row: TaskStatusRow, spans: Span[]): void {
    const { task_instance_id: id, status, timestamp_ms: at } = row;
    const open = this.#tasks.get(id);
    if (!isEnding(status)) {
      const events = open?.events ?? [];
      if (events.length < MOST_EVENTS) {
        if (status === "WAITING" && row.error !== null) events.push(triedIn(row));
        else if (status === "WAITING") events.push({ timeUnixNano: nanoseconds(at), name: "waits" });
        else if (status === "RUNNING" && row.task_attempt > 1)
          events.push({ timeUnixNano: nanoseconds(at), name: `try ${row.task_attempt}` });
      }
      const begunAt = open?.begunAt ?? (status === "PENDING" ? undefined : at);
      this.#tasks.set(id, { begunAt, events });
      dropOldest(this.#tasks, MOST_TASKS);
      return;
    }
    this.#tasks.delete(id);
    const run = this.contextOf(row.workflow_instance_id);
    // What was skipped has done nothing.
    if (!run.isSampled || status === "SKIPPED") return;
    const task = contextOfTask(run, id);
    const hasFailed = status === "FAILED" || status === "CRASHED";
    const began = row.duration_ms == null ? (open?.begunAt ?? at) : at - row.duration_ms;
    spans.push({
      traceId: task.traceId,
      spanId: task.spanId,
      parentSpanId: run.spanId,
      name: row.task_id,
      kind: SPAN_KIND.INTERNAL,
      ...between(Math.min(began, at), at),
      attributes: attributes({
        ...ofRun(row),
        "cicd.pipeline.task.name": row.task_name ?? row.task_id,
        "cicd.pipeline.task.run.id": id,
        "cicd.pipeline.task.run.result": RESULTS[status],
        "error.type": hasFailed ? status : null,
        "cdktr.task.id": row.task_id,
        "cdktr.status": status,
        "cdktr.attempt": row.attempt,
        "cdktr.task.attempt": row.task_attempt,
        "cdktr.item.key": row.item_key,
        "cdktr.item.index": row.item_index,
        ...agentOf(row),
        "process.exit.code": row.exit_code,
        "cdktr.signal": row.signal,
        "cdktr.cpu_ms": row.cpu_ms,
        "cdktr.max_rss_kb": row.max_rss_kb,
        "cdktr.allowed_failure": row.allowed === true ? true : null,
      }),
      ...((open?.events.length ?? 0) === 0 ? {} : { events: open?.events }),
      ...(hasFailed ? { status: failed(row.error) } : {}),
      flags: flagsOf(run),
    });
  }
}

function ofRun({
  workflow_id,
  workflow_instance_id,
}: Pick<RunStatusRow, "workflow_id" | "workflow_instance_id">) {
  return { "cicd.pipeline.name": workflow_id, "cicd.pipeline.run.id": workflow_instance_id };
}

function agentOf({ agent_id }: Pick<RunStatusRow, "agent_id">) {
  return { "cicd.worker.id": agent_id };
}

function triedIn(row: TaskStatusRow): SpanEvent {
  return {
    timeUnixNano: nanoseconds(row.timestamp_ms),
    name: `try ${row.task_attempt} failed`,
    attributes: attributes({
      "exception.message": row.error,
      "process.exit.code": row.exit_code,
      "cdktr.signal": row.signal,
    }),
  };
}

function failed(error: string | null): NonNullable<Span["status"]> {
  return { code: STATUS_CODE.ERROR, ...(error === null ? {} : { message: error }) };
}

function between(from: number, to: number): Pick<Span, "startTimeUnixNano" | "endTimeUnixNano"> {
  return { startTimeUnixNano: nanoseconds(Math.min(from, to)), endTimeUnixNano: nanoseconds(to) };
}

/** The flags of the context of a span, as its exporters send them. */
export function flagsOf({ isSampled }: SpanContext): number {
  return isSampled ? 1 : 0;
}
