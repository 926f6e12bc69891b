/** A disk that fails, so that the kernel makes it read-only, and one that is read-only from the start. */
import { expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { Cluster, cdktr, freePorts } from "../../support/cdktr.ts";
import { gate, runOver, shellWorkflow, TemporaryDirectory, until } from "../support/fixtures.ts";
import { numbers, numbersOf, PATIENT, PrivateMounts, trigger, upTo } from "./support.ts";

test("under the history: runs go on, queries say what they cannot show, and after a restart every line is there", async () => {
  await using mounts = await PrivateMounts.create();
  using directory = new TemporaryDirectory();
  const history = directory.path("history");
  await using cluster = new Cluster(
    {
      env: { ...PATIENT, CDKTR_DB_PATH: `${history}/app.db` },
      workflows: { "chatty.yml": shellWorkflow({ a: { sh: numbers(1000) } }) },
    },
    await freePorts(3),
  );
  await mounts.device(history);
  const principal = await cluster.startPrincipal([], { prefix: mounts.prefix });
  await cluster.startAgent();
  const before = await trigger(cluster, "chatty");
  await runOver(cluster.client, before);
  expect(await numbersOf(cluster.client, before, 1000)).toEqual(upTo(1000));

  await mounts.fail(history);
  const during = await trigger(cluster, "chatty");
  expect((await runOver(cluster.client, during)).status).toBe("COMPLETED");
  await principal.waitFor(/The file system of the history database .* is read-only/);
  const query = await cluster.cdktr(["logs", "query", "--run", during]);
  expect(query.code).toBe(0);
  expect(query.stderr).toMatch(/1000 lines or more, .* are not shown: .* is read-only/);

  // The operator's way out: end it, mend the disk, start it. The lines waited with the agent.
  expect((await principal.stop()).code).toBe(0);
  await mounts.unmount(history);
  await mounts.mount(history);
  await cluster.startPrincipal([], { prefix: mounts.prefix });
  for (const id of [before, during]) {
    expect(await numbersOf(cluster.client, id, 1000)).toEqual(upTo(1000));
  }
}, 60_000);

test("under the principal's state: nothing is acknowledged any more; after a restart everything acknowledged runs", async () => {
  await using mounts = await PrivateMounts.create();
  using directory = new TemporaryDirectory();
  await using cluster = new Cluster(
    {
      env: { ...PATIENT, CDKTR_DB_PATH: directory.path("app.db") },
      workflows: {
        "gated.yml": shellWorkflow({ a: { sh: gate(directory.path("gate")) } }),
        "quick.yml": shellWorkflow({ a: { sh: "echo quick" } }),
      },
    },
    await freePorts(3),
  );
  await mounts.device(cluster.dataDirectory);
  const principal = await cluster.startPrincipal([], { prefix: mounts.prefix });
  const agent = await cluster.startAgent(["--max-concurrent-workflows", "1"]);
  const gated = await trigger(cluster, "gated");
  const queued = await trigger(cluster, "quick");
  await until("the task runs", async () => (await cluster.client.getRun(gated)).tasks.length === 1);

  await mounts.fail(cluster.dataDirectory);
  const refused = await cluster.cdktr(["run", "quick"]);
  expect(refused.code).toBe(1);
  expect(refused.stderr).toMatch(/state cannot be (read|written): /);
  await principal.waitFor(/state cannot be written: /);
  // What the agent has goes on without the principal's disk.
  writeFileSync(directory.path("gate"), "");
  await agent.waitFor(/Reports are kept on this agent's disk/);
  expect((await cluster.client.registeredAgents()).map((known) => known.status)).toEqual(["UP"]);

  // The operator's way out: end it, mend the disk, start it.
  await principal.stop();
  const again = await cluster.spawn(["start", "principal"], { prefix: mounts.prefix }).finished;
  expect(again.code).toBe(1);
  expect(again.stderr).toContain(cluster.dataDirectory);
  await mounts.unmount(cluster.dataDirectory);
  await mounts.mount(cluster.dataDirectory);
  await cluster.startPrincipal([], { prefix: mounts.prefix });
  for (const id of [gated, queued]) {
    expect(await runOver(cluster.client, id)).toMatchObject({ status: "COMPLETED", attempt: 1 });
  }
}, 60_000);

test("read-only from the start: status 1 and what to do, for principal and agent", async () => {
  await using mounts = await PrivateMounts.create();
  using directory = new TemporaryDirectory();
  const disk = directory.path("disk");
  await mounts.device(disk);
  await mounts.fail(disk);
  const env = { CDKTR_APP_DATA_DIRECTORY: `${disk}/data`, CDKTR_WORKFLOW_DIR: directory.root };
  for (const what of ["principal", "agent"]) {
    const ended = await cdktr(["start", what], { env, prefix: mounts.prefix });
    expect(ended.code).toBe(1);
    expect(ended.stderr).toMatch(/read-only/i);
    expect(ended.stderr).toContain(disk);
    expect(ended.stderr).toContain("CDKTR_APP_DATA_DIRECTORY");
  }
}, 60_000);
