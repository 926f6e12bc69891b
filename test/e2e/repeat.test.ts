/** Tasks that are tried again and again until a condition holds; in between, no agent has them. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import type { RunDetails } from "../../src/contract/messages.ts";
import { type Cluster, startCluster } from "../support/cdktr.ts";
import { PATIENT } from "./failures/support.ts";
import { runOver, until } from "./support/fixtures.ts";

let cluster: Cluster;

const poll = (repeat: string, sh: string) =>
  `tasks:\n  poll: {repeat: {${repeat}}, run: '${sh}'}\n  after: {depends: [poll], run: "true"}\n`;

beforeAll(async () => {
  cluster = await startCluster({
    agents: 1,
    env: PATIENT,
    workflows: {
      "third.yml": poll(
        'every: 500ms, until: "${{ exit_code == 0 }}"',
        "echo try $CDKTR_ATTEMPT; test $CDKTR_ATTEMPT -ge 3",
      ),
      "tries.yml": poll('every: 200ms, until: "${{ exit_code == 0 }}", max_attempts: 2', "exit 1"),
      "late.yml": poll('every: 300ms, until: "${{ exit_code == 0 }}", timeout: 1s', "exit 1"),
      "long.yml": poll('every: 1h, until: "${{ exit_code == 0 }}"', "exit 1"),
      "away.yml": poll('every: 3s, until: "${{ exit_code == 0 }}"', "test $CDKTR_ATTEMPT -ge 2"),
    },
  });
  await until("they are known", async () => "third" in (await cluster.client.listWorkflows()));
});
afterAll(() => cluster?.stop());

async function trigger(id: string): Promise<string> {
  const { workflow_instance_id } = await cluster.client.runTask(id, { dedupe_key: crypto.randomUUID() });
  return workflow_instance_id;
}
const asleep = (id: string) =>
  until("it waits", async () => {
    const run = await cluster.client.getRun(id);
    const [agent] = await cluster.client.registeredAgents();
    return run.tasks.some(({ status }) => status === "WAITING") && agent?.running_workflows === 0;
  });
const of = (run: RunDetails, task: string) => run.tasks.find(({ task_id }) => task_id === task);

test("a task is over when its condition holds; no agent has it in between", async () => {
  const id = await trigger("third");
  const run = await runOver(cluster.client, id);
  expect(run.status).toBe("COMPLETED");
  expect(run.tasks.map(({ task_id, status, task_attempt }) => [task_id, status, task_attempt])).toEqual([
    ["poll", "COMPLETED", 3],
    ["after", "COMPLETED", 1],
  ]);
});

test("it fails when there are no more tries, and when there is no more time", async () => {
  const tries = await runOver(cluster.client, await trigger("tries"));
  expect(of(tries, "poll")).toMatchObject({ status: "FAILED", task_attempt: 2 });
  expect(of(tries, "poll")?.error).toBe("the condition was not met after 2 tries: exit_code == 0");
  const late = await runOver(cluster.client, await trigger("late"));
  expect(of(late, "poll")?.error).toBe("the condition was not met within 1s: exit_code == 0");
  expect(of(late, "after")?.status).toBe("SKIPPED");
});

test("a run whose task waits for its next try can be cancelled, and says until when it waits", async () => {
  const id = await trigger("long");
  await asleep(id);
  const why = await cluster.cdktr(["runs", "why", id]);
  expect(why.stdout).toMatch(/^Task poll begins attempt 2 in (1h|59m)/m);
  expect((await cluster.cdktr(["runs", "cancel", id])).stderr).toBe(`Run ${id} of long is cancelled.\n`);
  const run = await runOver(cluster.client, id);
  expect(of(run, "poll")?.status).toBe("CANCELLED");
});

test("it goes on after the principal was killed", async () => {
  const id = await trigger("away");
  await asleep(id);
  cluster.principal?.kill("SIGKILL");
  await cluster.principal?.finished;
  await cluster.startPrincipal();
  const run = await runOver(cluster.client, id);
  expect(of(run, "poll")).toMatchObject({ status: "COMPLETED", task_attempt: 2 });
});
