import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { startCluster } from "../support/cdktr.ts";
import { linesOf, runOver, shellWorkflow, TemporaryDirectory, until } from "./support/fixtures.ts";

const RUNS = 200;
const LINES = 5;
const MAX_WORKFLOWS = 4;
const MAX_TASKS = 3;
const AGENTS = 3;

/** Ten tasks in four layers of one, four, four and one. */
const DEPENDS: Readonly<Record<string, readonly string[]>> = {
  a: [],
  b1: ["a"],
  b2: ["a"],
  b3: ["a"],
  b4: ["a"],
  c1: ["b1", "b2"],
  c2: ["b2", "b3"],
  c3: ["b3", "b4"],
  c4: ["b4", "b1"],
  d: ["c1", "c2", "c3", "c4"],
};
const TASKS = Object.keys(DEPENDS);

// Appending is atomic, so the order of the ledger is the order in which things happened, on all agents.
const TASK = `
exec 3>>"$LEDGER"
echo "B $CDKTR_WORKFLOW_INSTANCE_ID $CDKTR_TASK_ID" >&3
while [ ! -e "$GO" ]; do sleep 0.05; done
for i in ${Array.from({ length: LINES }, (_, i) => i + 1).join(" ")}; do echo "$CDKTR_TASK_ID line $i"; done
echo "E $CDKTR_WORKFLOW_INSTANCE_ID $CDKTR_TASK_ID" >&3
`;

test(
  `${RUNS} runs of a ten-task diamond on three agents: each task once, in order, within the limits, every line kept`,
  async () => {
    using directory = new TemporaryDirectory();
    const ledger = directory.path("ledger");
    const go = directory.path("go");
    const tasks = Object.fromEntries(TASKS.map((id) => [id, { sh: TASK, depends: DEPENDS[id] ?? [] }]));
    await using cluster = await startCluster({
      workflows: { "diamond.yml": shellWorkflow(tasks, `env:\n  LEDGER: ${ledger}\n  GO: ${go}\n`) },
      env: {
        CDKTR_AGENT_MAX_CONCURRENCY: String(MAX_WORKFLOWS),
        CDKTR_AGENT_MAX_TASKS: String(MAX_TASKS),
      },
      agents: AGENTS,
    });
    const created = await Promise.all(
      Array.from({ length: RUNS }, (_, i) => cluster.client.runTask("diamond", { dedupe_key: `run ${i}` })),
    );
    expect(new Set(created.map((run) => run.workflow_instance_id)).size).toBe(RUNS);
    // No task ends before every agent has as many as it may have.
    await until("every agent is at its limit", () => linesOf(ledger).length >= AGENTS * MAX_TASKS);
    writeFileSync(go, "");
    const runs = await Promise.all(created.map((run) => runOver(cluster.client, run.workflow_instance_id)));

    expect(runs.filter((run) => run.status !== "COMPLETED" || run.attempt !== 1)).toEqual([]);
    const agentOf = new Map(runs.map((run) => [run.workflow_instance_id, run.agent_id ?? "nobody"]));
    expect(new Set(agentOf.values()).size).toBe(AGENTS);

    // Every task began and ended once, and no sooner than what it depends on had ended.
    const began = new Map<string, number>();
    const ended = new Map<string, number>();
    const tasksNow = new Map<string, number>();
    const runsNow = new Map<string, Set<string>>();
    let mostTasks = 0;
    let mostRuns = 0;
    linesOf(ledger).forEach((line, position) => {
      const [mark = "", run = "", task = ""] = line.split(" ");
      const key = `${run} ${task}`;
      const agent = agentOf.get(run) ?? "nobody";
      const active = runsNow.get(agent) ?? new Set();
      runsNow.set(agent, active);
      const book = mark === "B" ? began : ended;
      expect(`${key} twice: ${book.has(key)}`).toBe(`${key} twice: false`);
      book.set(key, position);
      tasksNow.set(agent, (tasksNow.get(agent) ?? 0) + (mark === "B" ? 1 : -1));
      if (mark === "B") {
        active.add(run);
        for (const needed of DEPENDS[task] ?? []) {
          const over = ended.has(`${run} ${needed}`);
          if (!over) throw new Error(`${task} of ${run} began before ${needed} had ended`);
        }
      } else if (task === "d") {
        active.delete(run);
      }
      mostTasks = Math.max(mostTasks, tasksNow.get(agent) ?? 0);
      mostRuns = Math.max(mostRuns, active.size);
    });
    expect(began.size).toBe(RUNS * TASKS.length);
    expect(ended.size).toBe(RUNS * TASKS.length);
    expect(mostTasks).toBeLessThanOrEqual(MAX_TASKS);
    expect(mostRuns).toBeLessThanOrEqual(MAX_WORKFLOWS);
    // The limits were reached, else the measurement would say nothing: the first tasks were of as many runs.
    expect(mostTasks).toBe(MAX_TASKS);
    expect(mostRuns).toBeGreaterThanOrEqual(MAX_TASKS);

    // The history has every line of every task once, in the order in which the task printed them.
    const { rows } = await cluster.client.queryDatabase({
      sql: `SELECT workflow_instance_id, task_name, count(DISTINCT task_instance_id), list(payload ORDER BY rowid)
            FROM logstore WHERE payload LIKE '% line %' GROUP BY ALL`,
      max_rows: 10_000,
    });
    expect(rows.length).toBe(RUNS * TASKS.length);
    for (const [run, task, instances, payloads] of rows) {
      const lines = Array.isArray(payloads) ? payloads : JSON.parse(String(payloads));
      expect(`${run} ${task} ${instances}: ${lines.join(", ")}`).toBe(
        `${run} ${task} 1: ${Array.from({ length: LINES }, (_, i) => `${task} line ${i + 1}`).join(", ")}`,
      );
    }

    // And the views agree with what happened.
    const views = await cluster.client.queryDatabase({
      sql: `SELECT (SELECT count(*) FROM workflow_runs WHERE status = 'COMPLETED'), (SELECT count(*) FROM workflow_runs),
                   (SELECT count(*) FROM task_runs WHERE status = 'COMPLETED'), (SELECT count(*) FROM task_runs)`,
      max_rows: 10,
    });
    expect(views.rows[0]?.map(Number)).toEqual([RUNS, RUNS, RUNS * TASKS.length, RUNS * TASKS.length]);
  },
  5 * 60_000,
);
