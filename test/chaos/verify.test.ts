/** The account finds each violation that is planted into a history that is in order. */
import { expect, test } from "bun:test";
import { DuckDBInstance } from "@duckdb/node-api";
import { TemporaryDirectory } from "../support/temporary-directory.ts";
import { account, withHistoryFile } from "./verify.ts";

const SCHEMA = `
CREATE TABLE workflow_run_status (workflow_instance_id VARCHAR, attempt INT, workflow_id VARCHAR, parent_run VARCHAR, backfill_id VARCHAR, status VARCHAR);
CREATE TABLE task_run_status (workflow_instance_id VARCHAR, slice INT, attempt INT, agent_id VARCHAR, task_id VARCHAR, item_key VARCHAR, task_instance_id VARCHAR, status VARCHAR, timestamp_ms BIGINT);
CREATE TABLE logstore (task_instance_id VARCHAR, payload VARCHAR, timestamp_ms BIGINT)`;

/** Two runs with a task of two lines each; the agent of the first attempt at the second was lost. */
class Case {
  acknowledged = [
    { workflowId: "w", runId: "r1" },
    { workflowId: "w", runId: "r2" },
  ];
  runs: [run: string, attempt: number, status: string][] = [
    ["r1", 1, "PENDING"],
    ["r1", 1, "RUNNING"],
    ["r1", 1, "COMPLETED"],
    ["r2", 1, "PENDING"],
    ["r2", 1, "RUNNING"],
    ["r2", 1, "CRASHED"],
    ["r2", 2, "PENDING"],
    ["r2", 2, "COMPLETED"],
  ];
  tasks: [run: string, attempt: number, instance: string, status: string, agent: string][] = [
    ["r1", 1, "t1", "RUNNING", "a"],
    ["r1", 1, "t1", "COMPLETED", "a"],
    ["r2", 1, "t2", "RUNNING", "a"],
    ["r2", 2, "t3", "RUNNING", "b"],
    ["r2", 2, "t3", "COMPLETED", "b"],
  ];
  lines: [instance: string, line: number][] = [
    ["t1", 1],
    ["t1", 2],
    ["t3", 1],
    ["t3", 2],
  ];
  witness: [what: string, at: number, run: string, attempt: number, instance: string, agent: string][] = [
    ["start", 10, "r1", 1, "t1", "a"],
    ["end", 11, "r1", 1, "t1", "a"],
    ["start", 20, "r2", 1, "t2", "a"],
    ["start", 30, "r2", 2, "t3", "b"],
    ["end", 31, "r2", 2, "t3", "b"],
  ];

  async violations(): Promise<readonly string[]> {
    using directory = new TemporaryDirectory();
    const file = directory.path("history.db");
    const witness = directory.path("witness");
    const instance = await DuckDBInstance.create(file);
    const connection = await instance.connect();
    const insert = async (columns: string, rows: readonly (readonly unknown[])[]) => {
      const values = rows.map((row) => `(${row.map((value) => `'${value}'`).join(", ")})`);
      await connection.run(`INSERT INTO ${columns} VALUES ${values.join(", ")}`);
    };
    await connection.run(SCHEMA);
    await insert(
      "workflow_run_status (workflow_id, workflow_instance_id, attempt, status)",
      this.runs.map((row) => ["w", ...row]),
    );
    await insert(
      "task_run_status (task_id, timestamp_ms, workflow_instance_id, attempt, task_instance_id, status, agent_id)",
      this.tasks.map((row, n) => ["t", n, ...row]),
    );
    await insert(
      "logstore",
      this.lines.map(([task, line]) => [task, `try 1 line ${line} of 2`, 0]),
    );
    connection.closeSync();
    instance.closeSync();
    const records = this.witness.map(
      ([what, at, run, attempt, task, agent]) => `${what} ${at} ${run} ${attempt} t ${task} 1 ${agent} - -\n`,
    );
    await Bun.write(witness, records.join(""));
    const evidence = { witness, acknowledged: this.acknowledged, split: [], outages: [], fencingSeconds: 12 };
    return await withHistoryFile(
      file,
      async (history) => (await account({ ...evidence, history })).violations,
    );
  }
}

test("a history that is in order has no violations", async () => {
  expect(await new Case().violations()).toEqual([]);
});

const PLANTED: [what: string, plant: (of: Case) => void, found: string[]][] = [
  [
    "an acknowledged run is lost",
    (of) => of.acknowledged.push({ workflowId: "w", runId: "r3" }),
    ["run r3 was acknowledged and is not in the history"],
  ],
  [
    "a trigger made another run",
    (of) => of.runs.push(["r4", 1, "PENDING"], ["r4", 1, "COMPLETED"]),
    ["run r4 was never acknowledged"],
  ],
  [
    "a run ended twice",
    (of) => of.runs.push(["r1", 1, "FAILED"]),
    ["run r1 attempt 1 went PENDING → RUNNING → COMPLETED → FAILED"],
  ],
  ["the end of a run is lost", (of) => of.runs.pop(), ["run r2 attempt 2 went PENDING"]],
  [
    "a run went on although it had COMPLETED",
    (of) => of.runs.push(["r1", 2, "PENDING"], ["r1", 2, "COMPLETED"]),
    ["run r1 went on after attempt 1 was COMPLETED"],
  ],
  [
    "a run was given to two agents in one attempt",
    (of) => of.witness.push(["start", 12, "r1", 1, "t9", "b"]),
    ["r1 attempt 1 task t try 1 started twice"],
  ],
  [
    "a task that had COMPLETED ran again",
    (of) => of.witness.push(["start", 40, "r1", 2, "t9", "b"]),
    ["task r1 t COMPLETED in attempt 1 and ran again in 2"],
  ],
  [
    "two attempts COMPLETED",
    (of) => of.tasks.push(["r2", 1, "t2", "COMPLETED", "a"]),
    ["task r2 t COMPLETED in attempts 2 and 1"],
  ],
  [
    "an agent goes on long after its attempt was over",
    (of) => of.witness.push(["end", 43, "r2", 1, "t2", "a"]),
    ["r2 attempt 1 task t: end on a at 43, 13.0 s after a later attempt had begun"],
  ],
  ["a line is lost", (of) => of.lines.splice(0, 1), ["task run t1 try 1: line 2 follows line 0"]],
  [
    "a line is there twice",
    (of) => of.lines.splice(1, 0, ["t1", 1]),
    ["task run t1 try 1: line 1 follows line 1"],
  ],
  [
    "the last line is lost",
    (of) => of.lines.pop(),
    ["task run t3 try 1 (t) ended; 1 of its lines are there"],
  ],
];

test.each(PLANTED)("it is found that %s", async (_, plant, found) => {
  const planted = new Case();
  plant(planted);
  expect(await planted.violations()).toEqual(expect.arrayContaining(found));
});
