/** Runs that agents begin by themselves: what an agent may say of them. */
import { expect, test } from "bun:test";
import { systemClock } from "../../src/clock.ts";
import { LongPolls } from "../../src/principal/long-polls.ts";
import { BegunRuns } from "../../src/principal/runs/begun-runs.ts";
import { Definitions } from "../../src/principal/runs/definitions.ts";
import { FollowUps } from "../../src/principal/runs/follow-ups.ts";
import type { NewRun } from "../../src/principal/runs/new-run.ts";
import type { OperationalStore, OperationalTx, RunRecord } from "../../src/storage/operational/store.ts";
import { commandDefinition } from "../../src/workflow/command-definition.ts";
import { readDefinition, type TaskConfig } from "../../src/workflow/model.ts";

const CONFIG: TaskConfig = {
  type: "Subprocess",
  cmd: "backup.sh",
  args: ["--full"],
  working_directory: "/srv",
};
const TASK = { id: "command", name: "backup.sh", config: CONFIG };

/** What is created of a run that an agent reports with this definition. */
async function created(definition: string): Promise<NewRun[]> {
  const runs: NewRun[] = [];
  const begun = new BegunRuns({
    clock: systemClock,
    definitions: new Definitions(),
    creation: {
      create: async (_tx, run) => {
        runs.push(run);
        return {} as RunRecord;
      },
    },
  });
  await begun.begun({ getRun: async () => null } as unknown as OperationalTx, {
    workflow_instance_id: "r1",
    agent_id: "host-exec",
    stream_id: null,
    slice: 0,
    attempt: 1,
    status: "RUNNING",
    timestamp_ms: Date.now(),
    error: null,
    log_seq: 0,
    begun: { session_id: "s", definition },
  });
  return runs;
}

test("a command that an agent runs is a run as the agent says", async () => {
  const definition = JSON.stringify(commandDefinition("nightly", TASK));
  expect(await created(definition)).toMatchObject([
    { workflow_id: "nightly", definition, trigger: "exec", begun: { agent_id: "host-exec" } },
  ]);
});

test("an agent cannot have others execute it, nor bring along anything else that a workflow may have", async () => {
  const own = JSON.stringify(commandDefinition("nightly", TASK));
  const more = readDefinition(
    JSON.stringify({
      id: "nightly",
      name: "nightly",
      failover: "rerun",
      env: { A: "b" },
      tasks: [{ ...TASK, retry: { max_attempts: 9 } }],
    }),
  );
  expect(JSON.stringify(more)).not.toBe(own);
  expect((await created(JSON.stringify(more))).map(({ definition }) => definition)).toEqual([own]);
});

test.each([
  ["no definition", "{"],
  [
    "more than one task",
    JSON.stringify({ ...commandDefinition("nightly", TASK), tasks: [TASK, { ...TASK, id: "b" }] }),
  ],
  [
    "a task of another kind",
    JSON.stringify({ id: "nightly", name: "n", tasks: [{ ...TASK, config: { type: "Approval" } }] }),
  ],
])("what is no command is no run: %s", async (_, definition) => {
  expect(await created(definition)).toEqual([]);
});

test("nothing follows a command: an agent's key triggers no workflow", async () => {
  const appended: string[] = [];
  const tx = {
    appendFollowUp: async ({ workflow_id }: { workflow_id: string }) => void appended.push(workflow_id),
    afterCommit: () => {},
  } as unknown as OperationalTx;
  const next = readDefinition(
    JSON.stringify({
      id: "next",
      name: "next",
      on: { workflow: { id: "nightly", status: ["COMPLETED"] } },
      tasks: [TASK],
    }),
  );
  const followUps = new FollowUps({
    store: {} as OperationalStore,
    workflows: { revision: 1, definitions: () => [next], refused: () => {} },
    polls: new LongPolls(),
    clock: systemClock,
  });
  const run = { workflow_id: "nightly", status: "COMPLETED", trigger_depth: 0, workflow_instance_id: "r1" };
  await followUps.ending(tx, { ...run, trigger: "exec" } as RunRecord);
  expect(appended).toEqual([]);
  await followUps.ending(tx, { ...run, trigger: "cli" } as RunRecord);
  expect(appended).toEqual(["next"]);
});
