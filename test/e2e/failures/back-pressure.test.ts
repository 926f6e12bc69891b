/** An agent's outbox is full: the tasks wait, and nothing is dropped. */
import { expect, test } from "bun:test";
import { startCluster } from "../../support/cdktr.ts";
import { lockOf } from "../../support/file-lock.ts";
import { linesOf, runOver, shellWorkflow, TemporaryDirectory, until } from "../support/fixtures.ts";
import { numbersOf, PATIENT, trigger, upTo } from "./support.ts";

/** Blocks of lines that a task prints, about 64 KiB each: six times the limit of the outbox. */
const BLOCKS = 96;
const LINES = 500;

test("a task that prints more than the outbox holds waits while the principal is away, and every line arrives once", async () => {
  using directory = new TemporaryDirectory();
  const progress = directory.path("progress");
  const filling = "x".repeat(128);
  // Each block is noted once it is in the pipe.
  const print = [
    "n=0",
    `while [ $n -lt ${BLOCKS} ]`,
    `do seq -f 'line %.0f ${filling}' $((n * ${LINES} + 1)) $(((n + 1) * ${LINES}))`,
    "n=$((n + 1))",
    `echo $n >> ${progress}`,
    "done",
  ].join("; ");
  await using cluster = await startCluster({
    agents: 1,
    env: { ...PATIENT, CDKTR_AGENT_OUTBOX_LIMIT_MB: "1" },
    workflows: {
      "much.yml": shellWorkflow({
        a: { sh: `while [ ! -e ${directory.path("go")} ]; do sleep 0.05; done; ${print}` },
      }),
    },
  });
  const [agent] = cluster.agents;
  const run = await trigger(cluster, "much");
  await until("the task runs", async () => (await cluster.client.getRun(run)).tasks.length === 1);
  cluster.principal?.kill("SIGKILL");
  await cluster.principal?.finished;
  await Bun.write(directory.path("go"), "");
  await agent?.waitFor(
    /MiB of log lines wait for the principal: tasks that print more are blocked.* Nothing is dropped/,
  );
  const printed = linesOf(progress).length;
  expect(printed).toBeGreaterThan(3);
  expect(printed).toBeLessThan(BLOCKS / 2);

  await cluster.startPrincipal();
  expect(await runOver(cluster.client, run)).toMatchObject({ status: "COMPLETED", attempt: 1 });
  expect(linesOf(progress)).toHaveLength(BLOCKS);
  expect(await numbersOf(cluster.client, run, BLOCKS * LINES)).toEqual(upTo(BLOCKS * LINES));
}, 60_000);

test("with a full outbox and no history, runs end when they end, time out or are cancelled; their lines come later", async () => {
  const flood = "yes 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx'";
  await using cluster = await startCluster({
    env: { ...PATIENT, CDKTR_AGENT_OUTBOX_LIMIT_MB: "1" },
    workflows: {
      "times-out.yml": shellWorkflow({ a: { sh: flood } }, "timeout: 1s\n"),
      "cancelled.yml": shellWorkflow({ a: { sh: flood } }),
      "ends.yml": shellWorkflow({ a: { sh: "echo line 1" } }),
    },
  });
  await cluster.principal?.stop();
  await using lock = await lockOf(`${cluster.dataDirectory}/app.db`);
  const principal = await cluster.startPrincipal();
  await principal.waitFor(new RegExp(`is in use by .*process ${lock.pid}`));
  const agent = await cluster.startAgent();

  const timesOut = await trigger(cluster, "times-out");
  await agent.waitFor(/MiB of log lines wait for the principal: tasks that print more are blocked/);
  expect(await runOver(cluster.client, timesOut)).toMatchObject({
    status: "FAILED",
    error: "timed out after 1s",
  });
  const cancelled = await trigger(cluster, "cancelled");
  await until("the task runs", async () => (await cluster.client.getRun(cancelled)).tasks.length === 1);
  await cluster.client.cancelRun(cancelled);
  expect((await runOver(cluster.client, cancelled)).status).toBe("CANCELLED");
  const ends = await trigger(cluster, "ends");
  expect(await runOver(cluster.client, ends)).toMatchObject({ status: "COMPLETED", attempt: 1 });
  expect((await cluster.client.info()).history).toMatchObject({ available: false });

  await lock[Symbol.asyncDispose]();
  await principal.waitFor(/is available again/);
  expect(await numbersOf(cluster.client, ends, 1)).toEqual([1]);
}, 60_000);

test("what tasks publish while the principal is away counts: no more of them start than the outbox holds, and all of it arrives", async () => {
  using directory = new TemporaryDirectory();
  const progress = directory.path("progress");
  const publish = `{ printf v=; head -c 200000 /dev/zero | tr '\\0' x; } > $CDKTR_OUTPUT; echo done >> ${progress}`;
  const ids = Array.from({ length: 24 }, (_, n) => `t${n}`);
  const first = { first: { sh: `while [ ! -e ${directory.path("go")} ]; do sleep 0.05; done` } };
  await using cluster = await startCluster({
    agents: 1,
    env: { ...PATIENT, CDKTR_AGENT_OUTBOX_LIMIT_MB: "1", CDKTR_AGENT_MAX_TASKS: "2" },
    workflows: {
      "publish.yml": shellWorkflow({
        ...first,
        ...Object.fromEntries(ids.map((id) => [id, { sh: publish, depends: ["first"] }])),
      }),
    },
  });
  const [agent] = cluster.agents;
  const run = await trigger(cluster, "publish");
  await until("the task runs", async () => (await cluster.client.getRun(run)).tasks.length === 1);
  cluster.principal?.kill("SIGKILL");
  await cluster.principal?.finished;
  await Bun.write(directory.path("go"), "");
  await agent?.waitFor(/MiB of reports, with what tasks published, wait for the principal: no task starts/);
  expect(linesOf(progress).length).toBeLessThan(ids.length / 2);

  await cluster.startPrincipal();
  const over = await runOver(cluster.client, run);
  expect(over).toMatchObject({ status: "COMPLETED", attempt: 1 });
  const { tasks } = await cluster.client.getRun(run, { outputs: true });
  expect(tasks.filter(({ outputs }) => String(outputs?.v).length === 200_000)).toHaveLength(ids.length);
}, 60_000);
