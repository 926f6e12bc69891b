/** Files that travel with runs: from the directory of a workflow to wherever its tasks run, and between tasks. */
import { afterAll, beforeAll, beforeEach, expect, test } from "bun:test";
import { chmodSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { type Cluster, startCluster } from "../support/cdktr.ts";
import { LONG } from "../support/long.ts";
import { PATIENT } from "./failures/support.ts";
import { linesOf, runOver, until } from "./support/fixtures.ts";

let cluster: Cluster;
let ledger: string;

function write(path: string, content: string, mode = 0o644): void {
  const absolute = join(cluster.directory, "workflows", path);
  mkdirSync(dirname(absolute), { recursive: true });
  writeFileSync(absolute, content);
  chmodSync(absolute, mode);
}

beforeAll(async () => {
  cluster = await startCluster({
    agents: 0,
    env: { ...PATIENT, CDKTR_ARTIFACTS_LIMIT_MB: LONG ? "256" : "64" },
  });
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
beforeEach(() => rmSync(ledger, { force: true }));
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

test("files that tasks leave are there for those that depend on them, on other hosts too, and for people", async () => {
  write(
    "leaves.yml",
    `tasks:
  a:
    runs_on: {zone: here}
    retry: {max_attempts: 2, delay: 1ms}
    run: |
      mkdir "$CDKTR_ARTIFACTS/deep"
      if [ "$CDKTR_ATTEMPT" = 1 ]; then echo junk > "$CDKTR_ARTIFACTS/junk"; exit 1; fi
      printf 'one\\n' > "$CDKTR_ARTIFACTS/deep/späte Äste.txt"
      printf 'x' > "$CDKTR_ARTIFACTS/.hidden"
  old:
    runs_on: {zone: here}
    config: !Subprocess
      cmd: sh
      args: ["-c", 'mkdir -p "$CDKTR_ARTIFACTS"; echo old > "$CDKTR_ARTIFACTS/o"']
  none:
    run: test -d "$CDKTR_ARTIFACTS"
  each:
    runs_on: {zone: here}
    foreach: [eu, us/west]
    key: \${{ item }}
    run: echo "$CDKTR_ITEM" > "$CDKTR_ARTIFACTS/region"
  b:
    depends: [a, old, none, each]
    runs_on: {zone: there}
    run: |
      cd "$CDKTR_INPUTS"
      find . -type f | LC_ALL=C sort | while read -r f; do echo "$f $(cat "$f")" >> ${ledger}; done
`,
  );
  const id = await run("leaves");
  const over = await runOver(cluster.client, id);
  expect(over.tasks.map(({ task_id, status, error }) => `${task_id} ${status} ${error}`).sort()).toEqual(
    ["a", "b", "each", "none", "old"].map((task) => `${task} COMPLETED null`),
  );
  expect(linesOf(ledger)).toEqual([
    "./a/.hidden x",
    "./a/deep/späte Äste.txt one",
    "./each/eu/region eu",
    "./each/us%2Fwest/region us/west",
    "./old/o old",
  ]);
  const listed = await cluster.cdktr(["runs", "artifacts", id]);
  expect(listed.stdout.split("\n").sort().slice(1)).toEqual([
    "a/.hidden  1 B",
    "a/deep/späte Äste.txt  4 B",
    "each/eu/region  3 B",
    "each/us%2Fwest/region  8 B",
    "old/o  4 B",
  ]);
  const shown = await cluster.cdktr(["runs", "show", id]);
  expect(shown.stdout).toMatch(new RegExp(`Files +5 files, 20 B \\(cdktr runs artifacts ${id}\\)`));
  const out = join(cluster.directory, "out");
  const got = await cluster.cdktr(["runs", "artifacts", id, "--get", out]);
  expect(got.code).toBe(0);
  expect(readFileSync(join(out, "a/deep/späte Äste.txt"), "utf8")).toBe("one\n");
  expect(readFileSync(join(out, "each/us%2Fwest/region"), "utf8")).toBe("us/west\n");
  expect((await cluster.cdktr(["runs", "artifacts", id, "--get", out])).stderr).toContain("already exists");
  const one = await cluster.cdktr(["runs", "artifacts", id, "--task", "each[eu]", "--json"]);
  expect(JSON.parse(one.stdout)).toMatchObject([
    { task_id: "each", item_key: "eu", files: [{ path: "region", bytes: 3 }] },
  ]);
  const unknown = await cluster.cdktr(["runs", "artifacts", id, "--task", "none"]);
  expect(unknown.code).toBe(4);
  expect(unknown.stderr).toContain(`Task none of run ${id} has left no files.`);
  // Also in the history.
  const sql = `SELECT task_id, artifacts FROM task_runs WHERE workflow_instance_id = '${id}' AND task_id = 'old'`;
  const { stdout } = await cluster.cdktr(["db", "query", sql, "--json"]);
  expect(stdout).toContain('\\"path\\":\\"o\\"');
  // A backup does not have them, and says so, as the doctor says how much they are.
  const place = join(cluster.directory, "data/blobs");
  const backup = await cluster.cdktr(["backup", join(cluster.directory, "backup")]);
  expect(backup.stderr).toMatch(
    /The files of runs \([^)]+\) are not in it: copy (\S+), too, after the backup\./,
  );
  expect(backup.stderr).toContain(place);
  const doctor = await cluster.cdktr(["doctor", "--json"]);
  const found = JSON.parse(doctor.stdout).findings.find(({ check }: { check: string }) => check === "files");
  expect(found.severity).toBe("ok");
  expect(found.message).toMatch(/^\d+ archives with files of runs, 1 MiB of 51200 MiB, in /);
});

test("what cannot be kept fails the task, with the reason", async () => {
  const task = (script: string) => `run: ${JSON.stringify(script)}`;
  write(
    "refused.yml",
    `tasks:
  large: {${task('truncate -s 300M "$CDKTR_ARTIFACTS/x"')}}
  out: {${task('ln -s /etc/passwd "$CDKTR_ARTIFACTS/x"')}}
  pipe: {${task('mkfifo "$CDKTR_ARTIFACTS/x"')}}
  file: {${task('rmdir "$CDKTR_ARTIFACTS"; echo > "$CDKTR_ARTIFACTS"')}}
`,
  );
  const { tasks } = await runOver(cluster.client, await run("refused"));
  expect(Object.fromEntries(tasks.map(({ task_id, error }) => [task_id, error]))).toEqual({
    large: `its artifacts cannot be kept: they have 300 MiB, and a run may keep ${LONG ? 256 : 64} MiB (CDKTR_ARTIFACTS_LIMIT_MB)`,
    out: 'its artifacts cannot be kept: "x" is a link that leads out of the directory',
    pipe: 'its artifacts cannot be kept: "x" is a pipe, not a file',
    file: "its artifacts cannot be kept: CDKTR_ARTIFACTS is not a directory",
  });
});

test("a retry has the files of the tasks that it does not run again", async () => {
  write(
    "again.yml",
    `tasks:
  a:
    run: echo kept > "$CDKTR_ARTIFACTS/x"
  b:
    depends: [a]
    run: |
      cat "$CDKTR_INPUTS/a/x" >> ${ledger}
      test -e ${ledger}.again
`,
  );
  const id = await run("again");
  expect((await runOver(cluster.client, id)).status).toBe("FAILED");
  writeFileSync(`${ledger}.again`, "");
  const { workflow_instance_id: retried } = await cluster.client.retryRun({
    workflow_instance_id: id,
    dedupe_key: "again",
  });
  expect((await runOver(cluster.client, retried)).status).toBe("COMPLETED");
  expect(linesOf(ledger)).toEqual(["kept", "kept"]);
  const { stdout } = await cluster.cdktr(["runs", "artifacts", retried]);
  expect(stdout.trim()).toBe("a/x  5 B");
});

test("a large file goes from one agent to another, although the principal is killed on the way", async () => {
  const MIB = LONG ? 200 : 24;
  write(
    "large.yml",
    `tasks:
  a:
    runs_on: {zone: here}
    run: |
      head -c ${MIB}M /dev/urandom > "$CDKTR_ARTIFACTS/big"
      sha256sum < "$CDKTR_ARTIFACTS/big" >> ${ledger}
  b:
    depends: [a]
    runs_on: {zone: there}
    run: sha256sum < "$CDKTR_INPUTS/a/big" >> ${ledger}
`,
  );
  const id = await run("large");
  const kill = async () => {
    cluster.principal?.kill("SIGKILL");
    await cluster.principal?.finished;
    await cluster.startPrincipal();
  };
  const MIB_ARRIVED = 1024 * 1024;
  /** The names in a directory, which may come and go. */
  const namesIn = (directory: string) => {
    try {
      return readdirSync(directory).map((name) => join(directory, name));
    } catch {
      return [];
    }
  };
  const hasArrived = (directories: readonly string[]) =>
    directories
      .flatMap(namesIn)
      .some((path) => (statSync(path, { throwIfNoEntry: false })?.size ?? 0) > MIB_ARRIVED);
  // Somewhere between the first piece and the last one; at the latest when all of it is there.
  const data = join(cluster.directory, "data");
  await until("some of it has arrived at the principal", () =>
    hasArrived([join(data, "blob-parts"), ...namesIn(join(data, "blobs"))]),
  );
  await kill();
  const agents = join(cluster.directory, "data-there/agents");
  await until("some of it has arrived at the other agent", () =>
    hasArrived(namesIn(agents).map((agent) => join(agent, "blobs"))),
  );
  await kill();
  const over = await runOver(cluster.client, id);
  expect(over.tasks.map(({ status, error, attempt }) => [status, error, attempt])).toEqual([
    ["COMPLETED", null, 1],
    ["COMPLETED", null, 1],
  ]);
  const [sent, arrived] = linesOf(ledger);
  expect(arrived).toBe(sent as string);
}, 300_000);
