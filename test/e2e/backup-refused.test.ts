/** What stops `cdktr backup` or `cdktr restore` from outside is told as what it is, and leaves everything as it was. */
import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { stagedFor } from "../../src/storage/restore-journal.ts";
import { cdktr, startCluster } from "../support/cdktr.ts";
import { PrivateMounts } from "./failures/support.ts";
import { TemporaryDirectory, until } from "./support/fixtures.ts";

const NOBODY = ["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--"];

/** A state as `restore` looks at it, and a history of some size. */
function makeBackup(directory: string, kib: number): string {
  mkdirSync(directory, { recursive: true });
  const state = new Database(join(directory, "state.db"), { create: true });
  state.run("CREATE TABLE identity (taken_id INTEGER)");
  state.run("CREATE TABLE follow_up_feed (id TEXT)");
  state.close();
  writeFileSync(join(directory, "app.db"), "");
  truncateSync(join(directory, "app.db"), kib * 1024);
  return directory;
}

const restore = (backup: string, data: string, prefix: readonly string[] = []) =>
  cdktr(["restore", backup], {
    prefix,
    env: { CDKTR_APP_DATA_DIRECTORY: data, CDKTR_DB_PATH: join(data, "app.db") },
  });

test("a backup for which the disk is too small leaves nothing; one that is there is not replaced", async () => {
  using directory = new TemporaryDirectory();
  await using mounts = await PrivateMounts.create();
  await using cluster = await startCluster({ agents: 0, workflows: {} });
  const good = directory.path("good");
  expect(await cluster.cdktr(["backup", good])).toMatchObject({ code: 0 });
  const [history, state] = ["app.db", "state.db"].map((name) => statSync(join(good, name)).size / 1024);
  const again = await cluster.cdktr(["backup", good]);
  expect(again.code).toBe(4);
  expect(again.stderr).toContain("state.db already exists");
  expect(again.stderr).not.toContain("--force");

  // Enough for the larger of both.
  const disk = directory.path("disk");
  await mounts.disk(disk, Math.ceil(Math.max(history ?? 0, state ?? 0)) + 16);
  const failed = await cluster.cdktr(["backup", join(disk, "of", "today")], { prefix: mounts.prefix });
  expect(failed).toMatchObject({ code: 4, stderr: expect.stringContaining("the disk is full") });
  expect(readdirSync(mounts.path(disk))).toEqual([]);
});

test("a principal that is started while the copy is made is noticed: nothing is put in place", async () => {
  using directory = new TemporaryDirectory();
  // Copying it takes a while.
  const backup = makeBackup(directory.path("backup"), 400 * 1024);
  const data = makeBackup(directory.path("data"), 4);
  const before = readFileSync(join(data, "state.db"));
  const restoring = restore(backup, data);
  // The state is complete, and the history is being copied.
  await until("it copies", () => existsSync(stagedFor(join(data, "app.db"))));
  const principal = new Database(join(data, "state.db"));
  principal.run("BEGIN EXCLUSIVE");
  const refused = await restoring;
  principal.close();
  expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining("A principal is running") });
  expect(readdirSync(data).sort()).toEqual(["app.db", "state.db"]);
  expect(readFileSync(join(data, "state.db"))).toEqual(before);
}, 60_000);

test("a full disk stops a restore: it says so, and nothing of the copy stays", async () => {
  using directory = new TemporaryDirectory();
  await using mounts = await PrivateMounts.create();
  const backup = makeBackup(directory.path("backup"), 4096);
  const data = directory.path("data");
  await mounts.disk(data, 1024);
  const { code, stderr } = await restore(backup, data, mounts.prefix);
  expect({ code, stderr }).toEqual({
    code: 4,
    stderr: expect.stringContaining(`${data}/app.db cannot be written: the disk is full.`),
  });
  expect(stderr).not.toContain("bug");
  expect(readdirSync(mounts.path(data))).toEqual([]);
});

test("a state that this user may not write is not a running principal, and stays as it was", async () => {
  using directory = new TemporaryDirectory();
  chmodSync(directory.path("."), 0o755);
  const backup = makeBackup(directory.path("backup"), 1);
  const data = makeBackup(directory.path("data"), 1);
  for (const file of ["state.db", "app.db"]) chmodSync(join(data, file), 0o444);
  const before = readFileSync(join(data, "state.db"));
  const { code, stderr } = await restore(backup, data, NOBODY);
  expect({ code, stderr }).toEqual({
    code: 4,
    stderr: expect.stringContaining(`${data}/state.db cannot be written: permission denied.`),
  });
  expect(stderr).not.toContain("principal is running");
  expect(readdirSync(data).sort()).toEqual(["app.db", "state.db"]);
  expect(readFileSync(join(data, "state.db"))).toEqual(before);
});

test("a history that cannot be replaced leaves the state of before in place", async () => {
  using directory = new TemporaryDirectory();
  await using mounts = await PrivateMounts.create();
  const backup = makeBackup(directory.path("backup"), 1);
  const data = directory.path("data");
  mkdirSync(data);
  writeFileSync(join(data, "state.db"), "damaged, but ours");
  // A mount point cannot be renamed.
  await mounts.disk(join(data, "app.db"), 64);
  const { code, stdout, stderr } = await restore(backup, data, mounts.prefix);
  expect({ code, stdout, stderr }).toEqual({
    code: 4,
    stdout: "",
    stderr: expect.stringContaining("/app.db cannot be written: EBUSY"),
  });
  expect(readFileSync(join(data, "state.db"), "utf8")).toBe("damaged, but ours");
  expect(readdirSync(data).filter((name) => name.includes("restoring"))).toEqual([]);
});
