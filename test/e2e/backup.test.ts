/** Backup of state and history while the principal works, and the way back. */
import { expect, test } from "bun:test";
import { readdirSync, writeFileSync } from "node:fs";
import { startCluster } from "../support/cdktr.ts";
import { IMPATIENT, trigger } from "./failures/support.ts";
import { gate, runOver, shellWorkflow, TemporaryDirectory, until } from "./support/fixtures.ts";

test("a backup has state and history of one moment; after its restore runs go on, and there are no ghosts", async () => {
  using directory = new TemporaryDirectory();
  await using cluster = await startCluster({
    agents: 1,
    env: IMPATIENT,
    workflows: {
      "hello.yml": shellWorkflow({ a: { sh: "echo hello" } }),
      "gated.yml": shellWorkflow({ a: { sh: gate(directory.path("gate")) } }),
    },
  });
  const { client } = cluster;
  const hello = async (key: string) =>
    (await client.runTask("hello", { dedupe_key: key })).workflow_instance_id;
  const early = await hello("early");
  expect((await runOver(client, early)).status).toBe("COMPLETED");
  const going = await trigger(cluster, "gated");
  await until("the task runs", async () => (await client.getRun(going)).tasks.length === 1);

  const backup = directory.path("backup");
  const made = await cluster.cdktr(["backup", backup]);
  expect(made.stderr).not.toContain("error");
  expect(made.code).toBe(0);
  expect(readdirSync(backup).sort()).toEqual(["app.db", "state.db"]);
  expect((await cluster.cdktr(["backup", backup])).code).toBe(4);
  const late = await hello("late");
  expect((await runOver(client, late)).status).toBe("COMPLETED");

  const refused = await cluster.cdktr(["restore", backup]);
  expect(refused.code).toBe(1);
  expect(refused.stderr).toContain("A principal is running");
  await cluster.principal?.stop();
  expect((await cluster.cdktr(["restore", directory.path("nothing")])).code).toBe(4);
  expect((await cluster.cdktr(["restore", backup])).code).toBe(0);
  const kept = readdirSync(cluster.dataDirectory).find((name) => name.startsWith("before-restore-")) ?? "";
  expect(readdirSync(`${cluster.dataDirectory}/${kept}`)).toEqual(
    expect.arrayContaining(["app.db", "state.db"]),
  );

  await cluster.startPrincipal();
  writeFileSync(directory.path("gate"), "");
  expect(await runOver(client, going)).toMatchObject({ status: "COMPLETED", attempt: 1 });
  expect(await hello("early")).toBe(early);
  expect(await runOver(client, await hello("late"))).toMatchObject({ status: "COMPLETED" });
  const { rows } = await client.queryDatabase({
    sql: "SELECT workflow_instance_id, status::VARCHAR FROM workflow_runs",
  });
  expect(rows.length).toBe(3);
  expect(rows.map(([, status]) => status)).toEqual(["COMPLETED", "COMPLETED", "COMPLETED"]);
  expect(rows.map(([id]) => id)).not.toContain(late);
  expect(cluster.principal?.stderr).not.toContain("older than the history");
}, 60_000);
