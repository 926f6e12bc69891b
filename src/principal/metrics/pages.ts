import { VERSION } from "../../build-facts.ts";
import { residentMemoryOf } from "../../host/resident-memory.ts";
import type { MetricsServerOptions } from "../../metrics/metrics-server.ts";
import type { OperationalStore } from "../../storage/operational/store.ts";
import type { AgentRegistry } from "../agents/agent-registry.ts";
import type { Deliveries } from "../alerts/deliveries.ts";
import { expectationView } from "../alerts/expectation-views.ts";
import type { Expectations } from "../alerts/expectations.ts";
import type { HistoryLink } from "../history/history-link.ts";
import type { Pauses } from "../limits/pauses.ts";
import type { PoolService } from "../limits/pool-service.ts";
import type { ListenerRegistry } from "../listener-registry.ts";
import type { QueueView } from "../runs/queue-view.ts";
import type { RunService } from "../runs/run-service.ts";
import type { WorkflowDirectory } from "../workflows/workflow-directory.ts";
import type { Metrics } from "./metrics.ts";

/** The services that the pages report on. */
export interface PagesOptions {
  readonly principalId: string;
  readonly startedAtMs: number;
  readonly metrics: Metrics;
  readonly runs: RunService;
  readonly pools: Pick<PoolService, "list">;
  readonly queue: Pick<QueueView, "oldest">;
  readonly agents: AgentRegistry;
  readonly workflows: WorkflowDirectory;
  readonly pauses: Pick<Pauses, "all">;
  readonly expectations: Pick<Expectations, "broken">;
  /** The number of workflows with series of their own. */
  readonly mostWorkflows: number;
  readonly deliveries: Pick<Deliveries, "counts">;
  readonly history: HistoryLink;
  readonly store: Pick<OperationalStore, "read" | "writeProblem">;
  readonly listeners: ListenerRegistry;
  /** The files of runs; undefined for none. */
  readonly files: () => { archives: number; bytes: number } | undefined;
}

/** The two pages of a principal. */
export function principalPages(o: PagesOptions): Pick<MetricsServerOptions, "page" | "health"> {
  return {
    page: () =>
      o.metrics.page({
        startedAtMs: o.startedAtMs,
        runs: () => o.runs.counts(),
        heldRuns: () => o.store.read((tx) => tx.countHeld()),
        pools: () => o.pools.list(),
        oldest: () => o.queue.oldest(),
        agents: () => o.agents.list(),
        workflows: () => ({
          valid: o.workflows.size,
          paused: o.pauses.all().length,
          invalid: o.workflows.invalidFiles.length,
        }),
        expectations: () => ({
          broken: o.expectations.broken().map((row) => {
            const { rule, state } = expectationView(row);
            return { workflow_id: row.workflow_id, rule, kind: state === "late" ? "late" : "missed" };
          }),
          most: o.mostWorkflows,
        }),
        history: async () => {
          const vitals = await o.history.vitals();
          const { pid, starts, available } = o.history;
          const memory = pid === undefined ? undefined : residentMemoryOf(pid);
          return { ...vitals, available: available.ok, starts, memory };
        },
        isStateWritable: async () => (await o.store.writeProblem()) === null,
        listeners: () => o.listeners.list(),
        files: () => o.files(),
        alerts: async () => ({
          ...(await o.store.read(async (tx) => ({
            open: await tx.countOpenAlerts(),
            deliveries: await tx.countDeliveries(),
          }))),
          messages: o.deliveries.counts,
        }),
      }),
    health: async () => {
      // It works as long as its state can be read and written; an unavailable history does not make it unhealthy.
      const [{ queued }, problem] = await Promise.all([o.runs.counts(), o.store.writeProblem()]);
      if (problem !== null) throw new Error(problem);
      return { principal_id: o.principalId, version: VERSION, queued, history: o.history.available };
    },
  };
}
