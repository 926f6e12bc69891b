/** The principal's metrics. */
import { VERSION } from "../../build-facts.ts";
import type { HistoryVitals } from "../../contract/history.ts";
import type { AgentSummary, ListenerSummary, PoolSummary } from "../../contract/messages.ts";
import { SIGNALS, type SignalCounts, type TelemetryCounts } from "../../contract/telemetry.ts";
import type { EventHub } from "../../event-hub.ts";
import { Exposition, Histogram } from "../../metrics/exposition.ts";
import { addListeners } from "../../metrics/listener-metrics.ts";
import { addProcess } from "../../metrics/process-metrics.ts";
import { isDoneWithin } from "../../timer.ts";
import type { RunStatus } from "../../workflow/status.ts";
import type { HistoryLinkSignals } from "../history/history-link.ts";
import type { PrincipalEvents } from "../principal-events.ts";
import { type AlertCounts, addAlerts } from "./alert-metrics.ts";
import { addExpectations, type BrokenExpectation } from "./expectation-metrics.ts";
import { ENDS, WorkflowMetrics, type WorkflowMetricsOptions } from "./workflow-metrics.ts";

/** From a local agent that is waiting to a queue of a whole night, seconds. */
const DISPATCH_BOUNDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 30, 120, 600, 3600];
const FLUSH_BOUNDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30];
/** How long a page waits for what the history knows of workflows, ms. */
const RECALL_MS = 1000;
const AGENT_STATES = ["UP", "DRAINING", "LOST"] as const;

/** What the principal knows of the history by itself. */
interface HistoryProcessFacts {
  readonly available: boolean;
  /** How often its process was started. */
  readonly starts: number;
  /** Resident memory of its process, bytes; undefined when it has none. */
  readonly memory: number | undefined;
}

/** Values that are read at the moment of the scrape. */
export interface MetricSources {
  readonly startedAtMs: number;
  runs(): Promise<{ pending: number; running: number; queued: number }>;
  /** Runs that are kept out of the queue, by what holds them. */
  heldRuns(): Promise<{ group: number; pause: number }>;
  pools(): Promise<readonly PoolSummary[]>;
  /** How long the oldest entry of the queue of each priority has waited, ms. */
  oldest(): Promise<ReadonlyMap<number, number>>;
  agents(): Promise<readonly AgentSummary[]>;
  workflows(): { valid: number; paused: number; invalid: number };
  history(): Promise<HistoryVitals & HistoryProcessFacts>;
  /** What was expected of workflows and not done in time, and how many of them get series of their own. */
  expectations(): { broken: readonly BrokenExpectation[]; most: number };
  isStateWritable(): Promise<boolean>;
  listeners(): readonly ListenerSummary[];
  /** Open alerts by kind, deliveries by channel, and messages since the start. */
  alerts(): Promise<AlertCounts>;
  /** The files of runs; undefined for none. */
  files(): { archives: number; bytes: number } | undefined;
}

export class Metrics {
  readonly #dispatch = new Histogram(DISPATCH_BOUNDS);
  readonly #flushes = new Histogram(FLUSH_BOUNDS);
  readonly #ended = new Map<RunStatus, number>();
  #flushFailures = 0;

  readonly #workflows: WorkflowMetrics;

  /** Starts counting. */
  constructor(
    events: PrincipalEvents,
    historian: EventHub<HistoryLinkSignals>,
    workflows: Omit<WorkflowMetricsOptions, "events">,
  ) {
    this.#workflows = new WorkflowMetrics({ ...workflows, events });
    events.on("run assigned", (waitedMs) => this.#dispatch.observe(Math.max(0, waitedMs) / 1000));
    events.on("run ended", ({ status }) => this.#ended.set(status, (this.#ended.get(status) ?? 0) + 1));
    historian.on("flushed", ({ tookMs, ok }) => {
      if (ok) this.#flushes.observe(tookMs / 1000);
      else this.#flushFailures++;
    });
  }

  /** Renders the page. */
  async page(sources: MetricSources): Promise<string> {
    const [
      runs,
      heldRuns,
      pools,
      oldest,
      agents,
      isStateWritable,
      { available, held, sizes, counts: logs, starts, memory, telemetry = {} },
      alerts,
    ] = await Promise.all([
      sources.runs(),
      sources.heldRuns(),
      sources.pools(),
      sources.oldest(),
      sources.agents(),
      sources.isStateWritable(),
      sources.history(),
      sources.alerts(),
      // A page does not wait for a history that does not answer.
      isDoneWithin(RECALL_MS, this.#workflows.recall()),
    ]);
    const { valid, paused, invalid } = sources.workflows();
    const page = new Exposition();
    page.gauge("cdktr_build_info", "The version, as a label; always 1.", [[{ version: VERSION }, 1]]);
    page.gauge(
      "cdktr_start_time_seconds",
      "When the principal started, Unix time.",
      sources.startedAtMs / 1000,
    );
    page.gauge("cdktr_queue_length", "Runs that wait for an agent.", runs.queued);
    page.gauge("cdktr_runs", "Runs that are not over, by status.", [
      [{ status: "PENDING" }, runs.pending],
      [{ status: "RUNNING" }, runs.running],
    ]);
    page.gauge("cdktr_runs_held", "Runs that are kept out of the queue, by what holds them.", [
      [{ by: "group" }, heldRuns.group],
      [{ by: "pause" }, heldRuns.pause],
    ]);
    page.gauge(
      "cdktr_queue_oldest_seconds",
      "How long the oldest entry of the queue has waited, by priority.",
      [...oldest].map(([priority, ms]) => [{ priority: String(priority) }, ms / 1000]),
    );
    page.gauge(
      "cdktr_pool_slots",
      "Slots of pools: those that there are, those that are taken, and tasks that wait for some.",
      pools.flatMap(({ name: pool, size, used, waiting }) => [
        [{ pool, state: "size" }, size ?? 0],
        [{ pool, state: "used" }, used],
        [{ pool, state: "waiting" }, waiting],
      ]),
    );
    page.counter(
      "cdktr_runs_ended_total",
      "Runs that ended since the principal started, by status.",
      ENDS.map((status) => [{ status }, this.#ended.get(status) ?? 0]),
    );
    this.#workflows.addTo(page);
    page.histogram(
      "cdktr_dispatch_latency_seconds",
      "Time that runs waited before they were given to an agent.",
      this.#dispatch,
    );
    page.gauge(
      "cdktr_agents",
      "Agents, by status.",
      AGENT_STATES.map((status) => [{ status }, agents.filter((agent) => agent.status === status).length]),
    );
    const up = agents.filter(({ status }) => status === "UP");
    const sum = (count: (agent: AgentSummary) => number) =>
      up.reduce((total, agent) => total + count(agent), 0);
    page.gauge(
      "cdktr_agents_capacity",
      "Total capacity of the agents that are up, in runs.",
      sum((agent) => agent.max_concurrent_workflows),
    );
    page.gauge(
      "cdktr_agents_running_runs",
      "Runs on the agents that are up.",
      sum((agent) => agent.running_workflows),
    );
    page.gauge(
      "cdktr_agents_survivors",
      "Processes that tasks left and that agents could not end.",
      agents.reduce((total, { survivors = [] }) => total + survivors.length, 0),
    );
    addAlerts(page, alerts);
    page.gauge("cdktr_workflows", "Loaded workflows.", valid);
    page.gauge("cdktr_workflows_paused", "Workflows that are paused.", paused);
    page.gauge("cdktr_workflow_files_invalid", "Invalid workflow files.", invalid);
    const { broken, most } = sources.expectations();
    addExpectations(page, broken, most);
    const files = sources.files() ?? { archives: 0, bytes: 0 };
    page.gauge("cdktr_files_archives", "Archives with files of workflows and of tasks.", files.archives);
    page.gauge("cdktr_files_bytes", "Their size.", files.bytes);
    page.gauge(
      "cdktr_state_writable",
      "Whether the state can be written; if not, triggers are refused.",
      Number(isStateWritable),
    );
    page.gauge("cdktr_history_available", "Whether the history can be written and read.", Number(available));
    page.gauge("cdktr_history_bytes", "Size of the history: the DuckDB file, and the archive beside it.", [
      [{ part: "database" }, sizes.database],
      [{ part: "archive" }, sizes.archive],
    ]);
    page.gauge("cdktr_archive_files_missing", "Files of the archive that are not there.", sizes.missing);
    page.gauge(
      "cdktr_log_lag_seconds",
      "How long the oldest line in memory has waited for DuckDB.",
      held.lagMs / 1000,
    );
    page.gauge("cdktr_log_held_lines", "Log lines that were received and are not in DuckDB yet.", held.lines);
    page.gauge("cdktr_log_held_bytes", "Memory used by those lines.", held.bytes);
    page.counter(
      "cdktr_history_process_starts_total",
      "How often the process of the history was started.",
      starts,
    );
    page.gauge(
      "cdktr_history_process_resident_memory_bytes",
      "Resident memory of the process of the history.",
      memory ?? 0,
    );
    page.histogram("cdktr_history_flush_seconds", "Time that writing to the history took.", this.#flushes);
    page.counter(
      "cdktr_history_flush_failures_total",
      "Failed attempts to write to the history.",
      this.#flushFailures,
    );
    page.counter("cdktr_log_frames_total", "Log messages received.", logs.frames);
    page.counter("cdktr_log_lines_published_total", "Log lines published live.", logs.published);
    page.counter("cdktr_log_malformed_total", "Malformed log messages and lines.", logs.malformed);
    page.counter(
      "cdktr_log_dropped_total",
      "Unnumbered lines of agents that were lost for lack of space.",
      logs.dropped,
    );
    addTelemetry(page, telemetry);
    addListeners(page, sources.listeners());
    addProcess(page);
    return page.toString();
  }
}

/** What becomes of traces and logs that are exported; nothing where none are. */
function addTelemetry(page: Exposition, telemetry: TelemetryCounts): void {
  const counts = SIGNALS.flatMap((signal) => {
    const of = telemetry[signal];
    return of === undefined ? [] : [{ signal, of }];
  });
  if (counts.length === 0) return;
  const each = (value: (of: SignalCounts) => number) =>
    counts.map(({ signal, of }) => [{ signal }, value(of)] as const);
  page.counter(
    "cdktr_telemetry_exported_total",
    "Spans (traces) and log lines (logs) that the receiver accepted.",
    each(({ exported }) => exported),
  );
  page.counter(
    "cdktr_telemetry_dropped_total",
    "Spans and log lines that were not exported: there was no space, or the receiver refused them.",
    each(({ dropped }) => dropped),
  );
  page.counter(
    "cdktr_telemetry_failures_total",
    "Requests to the receiver that failed.",
    each(({ failures }) => failures),
  );
  page.gauge(
    "cdktr_telemetry_queue_length",
    "Spans and log lines that wait to be exported.",
    each(({ queued }) => queued),
  );
}
