/** The alert files of the workflow directory in a principal: the last valid versions count, also after a restart. */
import { expect, test } from "bun:test";
import { mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../src/clock.ts";
import { EventHub } from "../../src/event-hub.ts";
import { FileHelper } from "../../src/host/file-helper/file-helper.ts";
import { LongPolls } from "../../src/principal/long-polls.ts";
import type { PrincipalEvents } from "../../src/principal/principal-events.ts";
import { WorkflowDirectory } from "../../src/principal/workflows/workflow-directory.ts";
import { SqliteOperationalStore } from "../../src/storage/operational/sqlite/store.ts";
import { LogBook, temporaryDirectory } from "./support.ts";

/** A workflow directory that is scanned when the test says so. */
async function world(path: string) {
  const book = new LogBook();
  const root = join(path, "flows");
  mkdirSync(join(root, "alerts/deep"), { recursive: true });
  let changes = 0;
  let store: SqliteOperationalStore;
  let workflows: WorkflowDirectory;
  const start = async () => {
    store = new SqliteOperationalStore({ directory: join(path, "data"), log: book.log });
    await store.start();
    const events: PrincipalEvents = new EventHub();
    events.on("alert files changed", () => changes++);
    workflows = new WorkflowDirectory({
      root,
      files: new FileHelper(),
      store,
      clock: systemClock,
      log: book.log,
      refreshMs: 3_600_000,
      settleMs: 0,
      polls: new LongPolls(),
      zone: "UTC",
      events,
    });
    await workflows.start();
  };
  const stop = async () => {
    await workflows.stop();
    await store.stop();
  };
  await start();
  return {
    book,
    /** At once: a scan that a file event causes never sees half of it. */
    write: (name: string, text: string) => {
      writeFileSync(join(path, "written"), text);
      renameSync(join(path, "written"), join(root, name));
    },
    remove: (name: string) => rmSync(join(root, name)),
    /** A scan while another is in progress may not see what was written after that one began. */
    scan: async () => {
      await workflows.scan();
      await workflows.scan();
    },
    restart: async () => {
      await stop();
      await start();
    },
    queries: () => [...workflows.alertFiles.values()].map(({ path, query }) => `${path} ${query}`),
    ids: () => [...workflows.ids()].sort(),
    invalid: () => workflows.invalidFiles.map(({ path, error }) => `${path} ${error.split("\n")[0]}`),
    changes: () => changes,
    [Symbol.asyncDispose]: stop,
  };
}

test("alert files are known by their query, loaded, changed and removed; workflows beside them stay workflows", async () => {
  using directory = temporaryDirectory();
  await using here = await world(directory.path);
  here.write("alerts/slow.yml", "query: SELECT 1\n");
  here.write("alerts/deep/b.yaml", "query: SELECT 2\n");
  here.write("alerts/tell.yml", "tasks: {a: {run: echo query}}\n");
  here.write("other.yml", "tasks: {a: {run: echo}}\n");
  await here.scan();
  expect(here.queries()).toEqual(["alerts/deep/b.yaml SELECT 2", "alerts/slow.yml SELECT 1"]);
  expect(here.ids()).toEqual(["alerts.tell", "other"]);
  expect(here.invalid()).toEqual([]);

  const before = here.changes();
  await here.scan();
  expect(here.changes()).toBe(before);
  here.write("alerts/slow.yml", "query: SELECT 3\n");
  here.remove("alerts/deep/b.yaml");
  await here.scan();
  expect(here.queries()).toEqual(["alerts/slow.yml SELECT 3"]);
  expect(here.changes()).toBeGreaterThan(before);

  // One becomes a workflow, and the other way round.
  here.write("alerts/slow.yml", "tasks: {a: {run: echo}}\n");
  here.write("alerts/tell.yml", "query: SELECT 4\n");
  await here.scan();
  expect(here.queries()).toEqual(["alerts/tell.yml SELECT 4"]);
  expect(here.ids()).toEqual(["alerts.slow", "other"]);
  await here.restart();
  expect(here.queries()).toEqual(["alerts/tell.yml SELECT 4"]);
  expect(here.ids()).toEqual(["alerts.slow", "other"]);
});

test("one that becomes invalid, or empty, stays as it was last valid, also after a restart", async () => {
  using directory = temporaryDirectory();
  await using here = await world(directory.path);
  here.write("alerts/a.yml", "query: SELECT 1\n");
  here.write("alerts/b.yml", "query: SELECT 2\n");
  here.write("alerts/never.yml", "query: SELECT 3\nevery: 1\n");
  await here.scan();
  here.write("alerts/a.yml", "query: SELECT 1\nkeys: x\n");
  here.write("alerts/b.yml", "");
  await here.scan();
  const invalid = [
    'alerts/a.yml alerts/a.yml:2:1: error[E010]: unknown key "keys"',
    "alerts/b.yml alerts/b.yml:1:1: error[E006]: the file is empty",
    'alerts/never.yml alerts/never.yml:2:8: error[E043]: "every": "1" has no unit',
  ];
  expect(here.invalid().sort()).toEqual(invalid);
  expect(here.queries()).toEqual(["alerts/a.yml SELECT 1", "alerts/b.yml SELECT 2"]);
  expect(here.book.lines.join("\n")).toContain("Its last valid version stays in use.");
  expect(here.book.lines.join("\n")).toContain("The file is not loaded.");
  await here.restart();
  expect(here.queries()).toEqual(["alerts/a.yml SELECT 1", "alerts/b.yml SELECT 2"]);
  expect(here.invalid().sort()).toEqual(invalid);
  here.write("alerts/a.yml", "query: SELECT 5\n");
  await here.scan();
  expect(here.queries()).toEqual(["alerts/a.yml SELECT 5", "alerts/b.yml SELECT 2"]);
});

test("more than 200 alert files: the first ones are evaluated", async () => {
  using directory = temporaryDirectory();
  await using here = await world(directory.path);
  for (let n = 0; n < 202; n++) here.write(`alerts/f${String(n).padStart(3, "0")}.yml`, "query: SELECT 1\n");
  await here.scan();
  expect(here.queries()).toHaveLength(200);
  expect(here.invalid()).toHaveLength(2);
  expect(here.invalid()[0]).toContain("there are more than 200 alert files");
});
