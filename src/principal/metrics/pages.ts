import { VERSION } from "../../build-facts.ts";
import type { MetricsServerOptions } from "../../metrics/metrics-server.ts";
import type { OperationalStore } from "../../storage/operational/store.ts";
import type { AgentRegistry } from "../agents/agent-registry.ts";
import type { Historian } from "../history/historian.ts";
import type { ListenerRegistry } from "../listener-registry.ts";
import type { LogHub } from "../logs/log-hub.ts";
import type { RunService } from "../runs/run-service.ts";
import type { WorkflowDirectory } from "../workflows/workflow-directory.ts";
import type { Metrics } from "./metrics.ts";

/** The services that the pages report on. */
export interface PagesOptions {
  readonly principalId: string;
  readonly startedAtMs: number;
  readonly metrics: Metrics;
  readonly runs: RunService;
  readonly agents: AgentRegistry;
  readonly workflows: WorkflowDirectory;
  readonly history: Historian;
  readonly logHub: LogHub;
  readonly store: Pick<OperationalStore, "writeProblem">;
  readonly listeners: ListenerRegistry;
}

/** The two pages of a principal. */
export function principalPages(o: PagesOptions): Pick<MetricsServerOptions, "page" | "health"> {
  return {
    page: () =>
      o.metrics.page({
        startedAtMs: o.startedAtMs,
        runs: () => o.runs.counts(),
        agents: () => o.agents.list(),
        workflows: () => ({ valid: o.workflows.size, invalid: o.workflows.invalidFiles.length }),
        history: () => ({ ...o.history.held, available: o.history.available.ok }),
        isStateWritable: async () => (await o.store.writeProblem()) === null,
        logs: () => o.logHub.counts,
        listeners: () => o.listeners.list(),
      }),
    health: async () => {
      // It works as long as its state can be read and written; an unavailable history does not make it unhealthy.
      const [{ queued }, problem] = await Promise.all([o.runs.counts(), o.store.writeProblem()]);
      if (problem !== null) throw new Error(problem);
      return { principal_id: o.principalId, version: VERSION, queued, history: o.history.available };
    },
  };
}
