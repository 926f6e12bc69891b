/** A full disk under the principal's state, the history, or an agent. */
import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { Cluster, cdktr, freePorts } from "../../support/cdktr.ts";
import { gate, runOver, shellWorkflow, TemporaryDirectory, until } from "../support/fixtures.ts";
import { IMPATIENT, numbers, numbersOf, PATIENT, PrivateMounts, trigger, upTo } from "./support.ts";

const FULL = /disk is full/i;

test("the principal's: triggers are refused, what runs goes on, and everything acknowledged ends once there is space", async () => {
  using directory = new TemporaryDirectory();
  await using mounts = await PrivateMounts.create();
  await using cluster = new Cluster(
    {
      env: { ...IMPATIENT, CDKTR_DB_PATH: directory.path("app.db") },
      workflows: {
        "gated.yml": shellWorkflow({ a: { sh: gate(directory.path("gate")) } }),
        "quick.yml": shellWorkflow({ a: { sh: "echo quick" } }),
      },
    },
    await freePorts(3),
  );
  await mounts.disk(cluster.dataDirectory, 8 * 1024);
  const principal = await cluster.startPrincipal([], { prefix: mounts.prefix });
  const agent = await cluster.startAgent();
  const gated = await trigger(cluster, "gated");
  const acknowledged = [gated];
  await until("the task runs", async () => (await cluster.client.getRun(gated)).tasks.length === 1);

  mounts.fill(cluster.dataDirectory);
  const refused = await until("a trigger is refused", async () => {
    try {
      acknowledged.push(await trigger(cluster, "quick"));
      return false;
    } catch (error) {
      return error;
    }
  });
  expect(String(refused)).toMatch(FULL);
  await principal.waitFor(/state cannot be written: the disk is full .*cdktr then continues by itself/);
  const command = await cluster.cdktr(["run", "quick"]);
  expect(command.code).toBe(1);
  expect(command.stderr).toMatch(FULL);

  // Its end cannot be written down; it waits with the agent, who is not lost meanwhile.
  writeFileSync(directory.path("gate"), "");
  await agent.waitFor(/Reports are kept on this agent's disk: .*the disk is full/);
  const silent = Number(IMPATIENT.CDKTR_AGENT_HEARTBEAT_TIMEOUT_MS) + 500;
  const since = performance.now();
  await until("it would be lost if it were silent", async () => {
    const [known] = await cluster.client.registeredAgents();
    expect(known?.status).toBe("UP");
    // That it stays UP has no event.
    return performance.now() - since > silent;
  });
  const runs = await cluster.cdktr(["runs", "list", "--json"]);
  expect(runs.code).toBe(0);
  expect(JSON.parse(runs.stdout)).toHaveLength(acknowledged.length);

  mounts.free(cluster.dataDirectory);
  acknowledged.push(
    await until("a trigger is taken", () => trigger(cluster, "quick").catch(() => undefined)),
  );
  for (const id of acknowledged) {
    expect(await runOver(cluster.client, id)).toMatchObject({ status: "COMPLETED", attempt: 1 });
  }
  await principal.waitFor(/can be written again/);
  // It ends in order on a full disk too.
  mounts.fill(cluster.dataDirectory);
  expect((await agent.stop()).code).toBe(0);
  expect((await principal.stop()).code).toBe(0);
  // Said once each time, not with every request.
  expect(principal.stderr.match(/state cannot be written/g)?.length).toBeLessThanOrEqual(2);
}, 60_000);

test("the history's: runs go on, queries say what they cannot show, and no line is missing or doubled afterwards", async () => {
  await using mounts = await PrivateMounts.create();
  using directory = new TemporaryDirectory();
  const history = directory.path("history");
  await using cluster = new Cluster(
    {
      env: { ...PATIENT, CDKTR_DB_PATH: `${history}/app.db` },
      workflows: { "chatty.yml": shellWorkflow({ a: { sh: numbers(3000) } }) },
    },
    await freePorts(3),
  );
  await mounts.disk(history, 16 * 1024);
  const principal = await cluster.startPrincipal([], { prefix: mounts.prefix });
  await cluster.startAgent();
  const before = await trigger(cluster, "chatty");
  await runOver(cluster.client, before);
  expect(await numbersOf(cluster.client, before, 3000)).toEqual(upTo(3000));

  mounts.fill(history);
  const during = await Promise.all(Array.from({ length: 5 }, () => trigger(cluster, "chatty")));
  for (const id of during) expect((await runOver(cluster.client, id)).status).toBe("COMPLETED");
  await principal.waitFor(/The disk is full: the history database .* cannot be written/);
  const query = await cluster.cdktr(["logs", "query", "--run", during[0] ?? ""]);
  expect(query.stderr).toMatch(FULL);
  expect((await cluster.client.info()).history).toMatchObject({ available: false });
  expect((await cluster.client.listRuns({ limit: 10 })).map((run) => run.status)).toEqual(
    Array(6).fill("COMPLETED"),
  );

  mounts.free(history);
  await principal.waitFor(/is available again/);
  for (const id of [before, ...during]) expect(await numbersOf(cluster.client, id, 3000)).toEqual(upTo(3000));
}, 60_000);

test("an agent's: its runs go on, it says so, and what waited in memory is written and delivered", async () => {
  await using mounts = await PrivateMounts.create();
  using directory = new TemporaryDirectory();
  await using cluster = new Cluster(
    {
      env: PATIENT,
      workflows: {
        "gated.yml": shellWorkflow({ a: { sh: numbers(2000, directory.path("gate")) } }),
        "next.yml": shellWorkflow({ a: { sh: numbers(2000) } }),
      },
    },
    await freePorts(3),
  );
  await cluster.startPrincipal();
  const data = directory.path("agent");
  await mounts.disk(data, 2 * 1024);
  const agent = await cluster.startAgent(["--data-dir", data], { prefix: mounts.prefix });
  const gated = await trigger(cluster, "gated");
  await until("the task runs", async () => (await cluster.client.getRun(gated)).tasks.length === 1);

  mounts.fill(data);
  writeFileSync(directory.path("gate"), "");
  expect((await runOver(cluster.client, gated)).status).toBe("COMPLETED");
  await agent.waitFor(/cannot write its outbox: .*full/i);
  const next = await trigger(cluster, "next");
  expect((await runOver(cluster.client, next)).status).toBe("COMPLETED");

  mounts.free(data);
  await agent.waitFor(/can write its outbox again/);
  for (const id of [gated, next]) expect(await numbersOf(cluster.client, id, 2000)).toEqual(upTo(2000));
}, 60_000);

test("at the start: principal and agent end with status 1 and say which directory it is", async () => {
  await using mounts = await PrivateMounts.create();
  using directory = new TemporaryDirectory();
  const full = directory.path("full");
  await mounts.disk(full, 256);
  mounts.fill(full);
  const env = { CDKTR_APP_DATA_DIRECTORY: full, CDKTR_WORKFLOW_DIR: directory.root };
  for (const what of ["principal", "agent"]) {
    const ended = await cdktr(["start", what], { env, prefix: mounts.prefix });
    expect(ended.code).toBe(1);
    expect(ended.stderr).toMatch(FULL);
    expect(ended.stderr).toContain(full);
    expect(ended.stderr).toContain("CDKTR_APP_DATA_DIRECTORY");
  }
}, 60_000);
