/** Files that travel with runs: from the directory of a workflow to wherever its tasks run, and between tasks. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { chmodSync, mkdirSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { type Cluster, startCluster } from "../support/cdktr.ts";
import { PATIENT } from "./failures/support.ts";
import { linesOf, runOver } from "./support/fixtures.ts";

let cluster: Cluster;
let ledger: string;

function write(path: string, content: string, mode = 0o644): void {
  const absolute = join(cluster.directory, "workflows", path);
  mkdirSync(dirname(absolute), { recursive: true });
  writeFileSync(absolute, content);
  chmodSync(absolute, mode);
}

beforeAll(async () => {
  cluster = await startCluster({ agents: 0, env: PATIENT });
  ledger = join(cluster.directory, "ledger");
  write("etl/scripts/say.sh", '#!/bin/sh\necho "$1 $(cat sql/q.sql)"\n', 0o755);
  write("etl/sql/q.sql", "select 1");
  write(
    "etl/daily.yml",
    `files: ["scripts/**", sql/*.sql]
tasks:
  a:
    run: |
      ./scripts/say.sh a >> ${ledger}
      echo changed > sql/q.sql
  b:
    depends: [a]
    config: !Subprocess {cmd: scripts/say.sh, args: [b]}
  c:
    depends: [b]
    run: ./scripts/say.sh c >> ${ledger}
`,
  );
  write(
    "etl/moves.yml",
    `files: [sql]
tasks:
  here:
    runs_on: {zone: here}
    run: echo "here $(cat sql/q.sql)" >> ${ledger}
  there:
    depends: [here]
    runs_on: {zone: there}
    run: |
      echo "there $(cat sql/q.sql)" >> ${ledger}
      test -e ${ledger}.open
`,
  );
  write(
    "parent.yml",
    `tasks:
  child:
    config: !Workflow {workflow: etl.daily}
`,
  );
  // On hosts of their own, as far as files are concerned.
  for (const zone of ["here", "there"])
    await cluster.startAgent(["--label", `zone=${zone}`, "--suffix", zone], {
      env: { CDKTR_APP_DATA_DIRECTORY: join(cluster.directory, `data-${zone}`) },
    });
});
afterAll(() => cluster[Symbol.asyncDispose]());

async function run(id: string): Promise<string> {
  const { code, stdout, stderr } = await cluster.cdktr(["run", id, "--json"]);
  if (code !== 0) throw new Error(stderr);
  return JSON.parse(stdout).workflow_instance_id;
}

test("every task starts in a directory with the files of the workflow, which each run has for itself", async () => {
  for (const _ of [1, 2])
    expect((await runOver(cluster.client, await run("etl.daily"))).status).toBe("COMPLETED");
  expect(linesOf(ledger)).toEqual(["a select 1", "c changed", "a select 1", "c changed"]);
  // As a run of another one, too.
  expect((await runOver(cluster.client, await run("parent"))).status).toBe("COMPLETED");
  expect(linesOf(ledger).slice(4)).toEqual(["a select 1", "c changed"]);
  rmSync(ledger);
  // The same files are kept once.
  const kept = readdirSync(join(cluster.directory, "data/blobs"), { recursive: true, withFileTypes: true });
  expect(kept.filter((entry) => entry.isFile())).toHaveLength(1);
});

test("tasks on other hosts have them too; a retry has them as they were, a new run as they are", async () => {
  const id = await run("etl.moves");
  expect((await runOver(cluster.client, id)).status).toBe("FAILED");
  expect(linesOf(ledger)).toEqual(["here select 1", "there select 1"]);
  write("etl/sql/q.sql", "select 2");
  writeFileSync(`${ledger}.open`, "");
  const retried = await cluster.cdktr(["runs", "retry", id, "--json"]);
  expect((await runOver(cluster.client, JSON.parse(retried.stdout).workflow_instance_id)).status).toBe(
    "COMPLETED",
  );
  expect((await runOver(cluster.client, await run("etl.moves"))).status).toBe("COMPLETED");
  expect(linesOf(ledger).slice(2)).toEqual(["there select 1", "here select 2", "there select 2"]);
  rmSync(ledger);
});

test("files that are missing when a run is triggered are told, and there is no run", async () => {
  rmSync(join(cluster.directory, "workflows/etl/scripts"), { recursive: true });
  const { code, stderr } = await cluster.cdktr(["run", "etl.daily"]);
  expect(stderr).toContain('The files of etl.daily cannot be packed: no file matches "scripts/**".');
  expect(code).toBe(1);
  const validated = await cluster.cdktr(["workflow", "validate", join(cluster.directory, "workflows")]);
  expect(validated.code).toBe(4);
  expect(validated.stdout + validated.stderr).toContain('"files": no file matches "scripts/**"');
  write("etl/scripts/say.sh", "#!/bin/sh\nexit 0\n", 0o755);
  expect((await runOver(cluster.client, await run("etl.daily"))).status).toBe("COMPLETED");
});
