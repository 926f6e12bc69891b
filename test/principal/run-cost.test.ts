import { expect, test } from "bun:test";
import { EventHub } from "../../src/event-hub.ts";
import { applyReports } from "../../src/principal/agents/agent-reports.ts";
import type { PrincipalEvents } from "../../src/principal/principal-events.ts";
import { Definitions } from "../../src/principal/runs/definitions.ts";
import { Dispatcher } from "../../src/principal/runs/dispatcher.ts";
import { ProgressOfRuns } from "../../src/principal/runs/progress-of-runs.ts";
import { RunChanges } from "../../src/principal/runs/run-changes.ts";
import { RunQueue } from "../../src/principal/runs/run-queue.ts";
import { parseWorkflow } from "../../src/workflow/parse.ts";
import { agentRecord, silent, TestStores } from "../storage/operational-support.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { NO_WORKFLOWS } from "./no-workflows.ts";
import { required, workflowText } from "./support.ts";

/** Statements of a trigger with its assignment, and of the reports of the run, of which a batch may have several. */
test("a run of one task costs a principal two commits and few statements", async () => {
  await using stores = new TestStores();
  const store = await stores.open();
  const clock = new ManualClock();
  const definitions = new Definitions();
  const events: PrincipalEvents = new EventHub();
  const base = {
    store,
    clock,
    definitions,
    events,
    progress: new ProgressOfRuns(definitions),
    queue: new RunQueue(),
  };
  const changes = new RunChanges({ workflows: NO_WORKFLOWS, ...base, followUps: { ending: async () => {} } });
  const dispatcher = new Dispatcher({ ...base, changes, log: silent, offerMs: 10_000 });
  await dispatcher.start();
  await store.transact((tx) => tx.registerAgent(agentRecord("agent"), null, 10_000));
  const parsed = parseWorkflow(workflowText(), { path: "w.yml", id: "w" });
  if (!parsed.ok) throw new Error("the workflow is invalid");
  const { definition } = parsed;
  let seq = 0;
  const execute = async (id: string) => {
    const fetched = dispatcher.fetch({ agentId: "agent", sessionId: "s", fetchId: id, waitMs: 60_000 });
    // Its first look finds no run.
    await store.transact(async () => {});
    const [commits, statements] = [stores.commits, stores.statements];
    await store.transact((tx) =>
      changes.create(tx, {
        workflow_instance_id: id,
        workflow_id: "w",
        workflow_name: definition.name,
        definition_hash: "hash",
        definition: JSON.stringify(definition),
        params: {},
        trigger: "api",
        scheduled_time_ms: null,
        retry_of: null,
        trigger_depth: 0,
        tasks_total: 1,
        carried: [],
      }),
    );
    const { attempt, is_confirmed } = required(await fetched);
    expect(is_confirmed).toBe(true);
    const of = { workflow_id: "w", workflow_instance_id: id, slice: 0, attempt, timestamp_ms: clock.now() };
    const task = { ...of, kind: "task", task_id: "only", task_instance_id: `task of ${id}` } as const;
    const usage = { exit_code: null, signal: null, error: null, cpu_ms: 1, max_rss_kb: 1, outputs: null };
    const reports = [
      { ...task, ...usage, task_attempt: 1, status: "RUNNING", seq: ++seq },
      { ...task, ...usage, task_attempt: 1, status: "COMPLETED", exit_code: 0, seq: ++seq },
      { ...of, kind: "run", status: "COMPLETED", error: null, log_seq: 0, seq: ++seq },
    ] as const;
    const triggered = stores.statements - statements;
    await store.transact(async (tx) => {
      const before = (await tx.getStream("stream"))?.seq ?? null;
      const batch = { agent_id: "agent", session_id: "s", stream_id: "stream", reports: [...reports] };
      const context = { changes, log: silent, before, nowMs: clock.now(), aheadMs: 0 };
      expect((await applyReports(tx, batch, context)).fenced).toEqual([]);
    });
    expect((await store.read((tx) => tx.getRun(id)))?.status).toBe("COMPLETED");
    const reported = stores.statements - statements - triggered - 1;
    return { commits: stores.commits - commits, triggered, reported };
  };
  await execute("first");
  const cost = await execute("second");
  await dispatcher.stop();
  expect(cost.commits).toBe(2);
  expect(cost.triggered).toBeLessThanOrEqual(22);
  expect(cost.reported).toBeLessThanOrEqual(20);
});
