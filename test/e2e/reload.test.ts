import { afterAll, beforeAll, expect, test } from "bun:test";
import { renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Cluster, startCluster } from "../support/cdktr.ts";
import { runOver, shellWorkflow, until } from "./support/fixtures.ts";

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({
    agents: 1,
    // Only file events can be in time.
    env: { CDKTR_WORKFLOW_DIR_REFRESH_FREQUENCY_S: "86400" },
  });
}, 60_000);
afterAll(() => cluster?.stop());

const says = (word: string, head = "") => shellWorkflow({ say: { sh: `echo ${word}` } }, head);
const listed = async (id: string) => (await cluster.client.listWorkflows())[id];

/** What a run of the workflow prints now. */
async function output(id: string): Promise<string[]> {
  const { workflow_instance_id } = await cluster.client.runTask(id, { dedupe_key: crypto.randomUUID() });
  expect((await runOver(cluster.client, workflow_instance_id)).status).toBe("COMPLETED");
  const page = await cluster.client.searchLogs({ workflow_instance_id });
  return page.rows.map((row) => row[7]);
}

test("an empty directory is no workflow; a new file is one at once, also in a new directory", async () => {
  expect(await cluster.client.listWorkflows()).toEqual({});
  cluster.writeWorkflow("one.yml", says("first"));
  await until("one is loaded", () => listed("one"));
  expect(await output("one")).toContain("first");

  cluster.writeWorkflow("deep/er/two.yaml", says("nested"));
  await until("deep.er.two is loaded", () => listed("deep.er.two"));
  expect(await output("deep.er.two")).toContain("nested");
});

test("a changed file counts for later runs", async () => {
  cluster.writeWorkflow("one.yml", says("second", "description: changed\n"));
  await until("the change is loaded", async () => (await listed("one"))?.description === "changed");
  expect(await output("one")).toContain("second");
});

test("a file that becomes invalid keeps its last valid version and says why, until it is fixed", async () => {
  cluster.writeWorkflow("one.yml", `${says("broken")}  other:\n    nme: x\n`);
  const broken = await until("the error is known", async () => {
    const found = await listed("one");
    return found?.error ? found : undefined;
  });
  expect(broken.error).toMatch(/nme/);
  expect(broken.description).toBe("changed");
  expect(await output("one")).toContain("second");
  const shown = await cluster.cdktr(["workflow", "list"]);
  expect(shown.code).toBe(0);
  expect(shown.stdout + shown.stderr).toContain("one");

  cluster.writeWorkflow("one.yml", says("mended"));
  await until("the error is gone", async () => (await listed("one"))?.error === null);
  expect(await output("one")).toContain("mended");
});

test("a new file that is invalid is left out, the others stay", async () => {
  cluster.writeWorkflow("bad.yml", "name: bad\ntasks: {}\n");
  await until("the file is reported", async () =>
    (await cluster.client.info()).invalid_workflow_files.some((file) => file.path.includes("bad.yml")),
  );
  expect(Object.keys(await cluster.client.listWorkflows()).sort()).toEqual(["deep.er.two", "one"]);
  rmSync(join(cluster.workflowDirectory, "bad.yml"));
  await until(
    "the report is gone",
    async () => (await cluster.client.info()).invalid_workflow_files.length === 0,
  );
});

test("an editor that writes another file and renames it, and a file written in pieces", async () => {
  const target = join(cluster.workflowDirectory, "one.yml");
  writeFileSync(`${target}.swp`, says("renamed", "description: renamed\n"));
  renameSync(`${target}.swp`, target);
  await until("the renamed file is loaded", async () => (await listed("one"))?.description === "renamed");

  const text = says("whole", "description: whole\n");
  writeFileSync(target, text.slice(0, 40));
  writeFileSync(target, text.slice(40), { flag: "a" });
  await until("the whole file is loaded", async () => (await listed("one"))?.description === "whole");
  expect(await output("one")).toContain("whole");
});

test("a deleted file is no workflow any more, and a trigger says so", async () => {
  // One after the other: if everything is gone at once, a mount may have disappeared.
  rmSync(join(cluster.workflowDirectory, "deep"), { recursive: true });
  await until("one is left", async () => (await listed("deep.er.two")) === undefined);
  rmSync(join(cluster.workflowDirectory, "one.yml"));
  await until("both are gone", async () => Object.keys(await cluster.client.listWorkflows()).length === 0);
  const refused = await cluster.cdktr(["task", "run", "one"]);
  expect(refused.code).toBe(4);
  expect(refused.stderr).toContain("one");
  expect(refused.stdout).toBe("");
});
