/** What tasks publish on the way to those that depend on them. */
import { expect, test } from "bun:test";
import { readdirSync, writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { Cluster, freePorts } from "../support/cdktr.ts";
import { PATIENT, trigger } from "./failures/support.ts";
import { gate, runOver, shellWorkflow, until } from "./support/fixtures.ts";

test("outputs survive a killed agent, its private files do not, and labels of the host are not for the taking", async () => {
  await using cluster = new Cluster({ env: PATIENT }, await freePorts(3));
  const open = join(cluster.directory, "open");
  cluster.writeWorkflow(
    "pass.yml",
    shellWorkflow({
      count: { sh: 'printf "rows=17\\nnote<<E\\na b\\nc\\nE\\n" > "$CDKTR_OUTPUT"' },
      report: {
        sh: `cat "$CDKTR_INPUTS/count.json"; echo half=1 > "$CDKTR_OUTPUT"; ${gate(open)}`,
        depends: ["count"],
      },
    }),
  );
  await cluster.startPrincipal();
  const refused = await cluster.cdktr(["start", "agent", "--label", "cores=64"]);
  expect([refused.code, refused.stderr]).toEqual([
    2,
    expect.stringContaining("has the label cores by itself"),
  ]);

  const agent = await cluster.startAgent(["--label", "zone=b"]);
  const listed = JSON.parse((await cluster.cdktr(["agents", "list", "--json"])).stdout);
  expect(listed[0].labels).toMatchObject({ zone: "b", host: hostname(), os: "linux", arch: process.arch });
  const id = listed[0].agent_id;
  const files = () => readdirSync(join(cluster.dataDirectory, "agents", id, "tasks"));
  const run = await trigger(cluster, "pass");
  // Its inputs and what it has published itself; what the first task has published is gone.
  await until("it waits", () => {
    const [input, output, more] = files().sort();
    return input !== undefined && more === undefined && input.replace(/inputs$/, "output") === output;
  });
  await until("the principal knows that the first task has completed", async () =>
    (await cluster.client.getRun(run)).tasks.some(({ status }) => status === "COMPLETED"),
  );
  agent.kill("SIGKILL");
  await agent.finished;
  expect(files().length).toBe(2);

  const again = await cluster.startAgent(["--suffix", id.slice(hostname().length + 1)]);
  writeFileSync(open, "");
  const over = await runOver(cluster.client, run);
  expect(over).toMatchObject({ status: "COMPLETED", attempt: 2 });
  expect(over.tasks.filter((task) => task.outputs !== undefined)).toEqual([]);
  const shown = await cluster.cdktr(["runs", "show", run, "--json"]);
  const { tasks }: typeof over = JSON.parse(shown.stdout);
  const outputs = Object.fromEntries(tasks.map((task) => [task.task_id, task.outputs]));
  expect(outputs).toEqual({ count: { rows: "17", note: "a b\nc" }, report: { half: "1" } });
  const { rows } = await cluster.client.searchLogs({ workflow_instance_id: run });
  const found = rows.map((row) => row[7]).filter((line) => line?.startsWith("{"));
  // That of the first attempt is missing if the agent died before it wrote it.
  expect([...new Set(found)]).toEqual(['{"rows":"17","note":"a b\\nc"}']);
  again.kill("SIGTERM");
  await again.finished;
  expect(files()).toEqual([]);
});
