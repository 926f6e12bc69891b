import { Database } from "bun:sqlite";
import { describe, expect, spyOn, test } from "bun:test";
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../src/clock.ts";
import type { WorkflowSummary } from "../../src/contract/messages.ts";
import { FileHelper, PathSilentError } from "../../src/host/file-helper/file-helper.ts";
import { listTree } from "../../src/host/file-helper/tree.ts";
import { LongPolls } from "../../src/principal/long-polls.ts";
import { WorkflowDirectory } from "../../src/principal/workflows/workflow-directory.ts";
import { WorkflowFiles } from "../../src/principal/workflows/workflow-files.ts";
import type { PrincipalClient } from "../../src/protocol/client.ts";
import { startServices, stopServices } from "../../src/service.ts";
import { SqliteOperationalStore } from "../../src/storage/operational/sqlite/store.ts";
import { parseWorkflow } from "../../src/workflow/parse.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { LogBook, required, TestPrincipal, temporaryDirectory, workflowText } from "./support.ts";

/** The workflows as soon as they are as the test wants them; told of changes by the principal, so no file event may be missed. */
async function until(
  client: PrincipalClient,
  wanted: (workflows: Record<string, WorkflowSummary>) => boolean,
): Promise<Record<string, WorkflowSummary>> {
  let revision = await client.watchWorkflows({ wait_ms: 0 });
  for (;;) {
    const workflows = await client.listWorkflows();
    if (wanted(workflows)) return workflows;
    revision = await client.watchWorkflows({ revision, wait_ms: 60_000 });
  }
}

/** A directory of workflows and a store, for services that are started one after the other. `aheadMs`: how old new files are, ms. */
function directoryWorld(path: string, { aheadMs = 60_000, settleMs = 0 } = {}) {
  const book = new LogBook();
  const root = join(path, "flows");
  mkdirSync(root);
  const store = new SqliteOperationalStore({ directory: join(path, "data"), log: book.log });
  /** Starts a service, and counts the files that it reads. */
  const start = async (reader: string) => {
    const files = new FileHelper();
    let read: string[] = [];
    const ask = files.ask.bind(files);
    files.ask = (verb, request) => {
      if (verb === "read" && "paths" in request) read.push(...request.paths);
      return ask(verb, request);
    };
    const workflows = new WorkflowDirectory({
      root,
      files,
      store,
      clock: { ...systemClock, now: () => Date.now() + aheadMs },
      log: book.log,
      refreshMs: 3_600_000,
      settleMs,
      polls: new LongPolls(),
      zone: "UTC",
      reader,
    });
    await workflows.start();
    return {
      workflows,
      /** Names of the files that were read since the last call. */
      read: () => {
        const names = read.map((file) => file.slice(root.length + 1)).sort();
        read = [];
        return names;
      },
    };
  };
  return { root, store, book, start };
}

const BROKEN = "name: Broken\ntasks:\n  only:\n    nam: typo\n";

describe("workflow files", () => {
  test("are loaded with ids from their paths; hidden and other files are not", async () => {
    await using cluster = await new TestPrincipal({
      workflows: {
        "a.yml": workflowText(),
        "etl/daily.yaml": workflowText(),
        "etl/deep/er.yml": workflowText(),
        ".hidden.yml": workflowText(),
        ".git/x.yml": workflowText(),
        "readme.md": "no workflow",
      },
    }).start();
    const workflows = await cluster.client().listWorkflows();
    expect(Object.keys(workflows)).toEqual(["a", "etl.daily", "etl.deep.er"]);
    expect(workflows["etl.daily"]?.path).toBe("etl/daily.yaml");
    const details = await cluster.client().getWorkflow("a");
    expect(details.source).toBe(workflowText());
    expect(details.definition.tasks).toHaveLength(1);
  });

  test("that appear, change, move and disappear are noticed at once", async () => {
    await using cluster = await new TestPrincipal({ workflows: { "a.yml": workflowText() } }).start();
    const client = cluster.client();
    const path = (name: string) => join(cluster.directory, "workflows", name);

    cluster.write("b.yml", workflowText());
    await until(client, (all) => all.b !== undefined);
    cluster.write("new/deep/c.yml", workflowText());
    await until(client, (all) => all["new.deep.c"] !== undefined);
    cluster.write("b.yml", workflowText({ name: "Changed" }));
    await until(client, (all) => all.b?.name === "Changed");
    // As editors save: a new file takes the place of the old one.
    writeFileSync(path(".b.yml.swp"), workflowText({ name: "Replaced" }));
    renameSync(path(".b.yml.swp"), path("b.yml"));
    await until(client, (all) => all.b?.name === "Replaced");
    renameSync(path("new"), path("old"));
    await until(client, (all) => all["old.deep.c"] !== undefined && all["new.deep.c"] === undefined);
    rmSync(path("b.yml"));
    const left = await until(client, (all) => all.b === undefined);
    expect(Object.keys(left)).toEqual(["a", "old.deep.c"]);
  });

  test("may be links, and directories may be links in circles", async () => {
    await using cluster = new TestPrincipal({ workflows: { "real/a.yml": workflowText() } });
    const root = join(cluster.directory, "workflows");
    symlinkSync(join(root, "real", "a.yml"), join(root, "linked.yml"));
    symlinkSync(root, join(root, "real", "circle"));
    symlinkSync(join(root, "nowhere.yml"), join(root, "dangling.yml"));
    await cluster.start();
    expect(Object.keys(await cluster.client().listWorkflows())).toEqual(["linked", "real.a"]);
    expect((await cluster.client().info()).invalid_workflow_files).toEqual([
      { path: "dangling.yml", error: expect.stringContaining("it is a broken link") },
    ]);
  });

  test("with the same id: the first one counts, the other is reported", async () => {
    await using cluster = await new TestPrincipal({
      workflows: { "a.yaml": workflowText({ name: "First" }), "a.yml": workflowText({ name: "Second" }) },
    }).start();
    const client = cluster.client();
    expect((await client.listWorkflows()).a?.name).toBe("First");
    const { invalid_workflow_files: invalid } = await client.info();
    expect(invalid.map((file) => file.path)).toEqual(["a.yml"]);
    expect(invalid[0]?.error).toContain("a.yaml");
  });
});

describe("an invalid file", () => {
  test("is left out and reported once; the others load", async () => {
    await using cluster = await new TestPrincipal({
      workflows: { "good.yml": workflowText(), "bad.yml": BROKEN },
    }).start();
    const client = cluster.client();
    expect(Object.keys(await client.listWorkflows())).toEqual(["good"]);
    const [invalid] = (await client.info()).invalid_workflow_files;
    expect(invalid?.path).toBe("bad.yml");
    expect(invalid?.error).toContain("bad.yml:4:5");
    cluster.write("good.yml", workflowText({ name: "Other" }));
    await until(client, (all) => all.good?.name === "Other");
    expect(cluster.book.count(/bad\.yml:4:5/)).toBe(1);
    cluster.write("bad.yml", workflowText());
    await until(client, (all) => all.bad !== undefined);
    expect(cluster.book.count(/bad\.yml is valid again/)).toBe(1);
    expect((await client.info()).invalid_workflow_files).toEqual([]);
  });

  test("that was valid keeps its last valid version and says so, over a restart too", async () => {
    await using cluster = await new TestPrincipal().start();
    let client = cluster.client();
    cluster.write("hello.yml", BROKEN);
    const kept = await until(client, (all) => all.hello?.error != null);
    expect(kept.hello).toMatchObject({ name: "A workflow", tasks: 1 });
    expect(kept.hello?.error).toContain("hello.yml:4:5");
    expect(cluster.book.count(/last valid version of hello stays in use/)).toBe(1);
    await cluster.stop();
    await cluster.start();
    client = cluster.client();
    expect((await client.listWorkflows()).hello).toMatchObject({ name: "A workflow" });
    expect((await client.getWorkflow("hello")).source).toBe(workflowText());
    const agent = await cluster.agent();
    await client.runTask("hello", { dedupe_key: "x" });
    expect(required(await agent.fetch()).workflow.name).toBe("A workflow");
    cluster.write("hello.yml", workflowText({ name: "Mended" }));
    expect((await until(client, (all) => all.hello?.error === null)).hello?.name).toBe("Mended");
  });

  test("that is only half written is not an error until it stays that way", async () => {
    using directory = temporaryDirectory();
    const book = new LogBook();
    let time = 0;
    const store = new SqliteOperationalStore({ directory: join(directory.path, "data"), log: book.log });
    const workflows = new WorkflowDirectory({
      root: directory.path,
      files: new FileHelper(),
      store,
      clock: { ...systemClock, monotonic: () => time },
      log: book.log,
      refreshMs: 3_600_000,
      settleMs: 300,
      polls: new LongPolls(),
      zone: "UTC",
    });
    await startServices([store, workflows]);
    const whole = workflowText({ name: "Slowly written" });
    const write = async (text: string) => {
      writeFileSync(join(directory.path, "slow.yml"), text);
      await workflows.scan();
    };
    for (const end of [whole.length - 30, whole.length - 20, whole.length - 3]) {
      await write(whole.slice(0, end));
      time += 299;
      await workflows.scan();
      expect(workflows.invalidFiles).toEqual([]);
    }
    await write(whole);
    expect(workflows.get("slow")?.definition.name).toBe("Slowly written");
    expect(book.count(/warn/)).toBe(0);

    await write(whole.slice(0, -20));
    time += 300;
    for (let i = 0; i < 3; i++) await workflows.scan();
    expect(workflows.invalidFiles.map((file) => file.path)).toEqual(["slow.yml"]);
    expect(book.count(/warn/)).toBe(1);
    expect(workflows.get("slow")?.definition.name).toBe("Slowly written");

    rmSync(join(directory.path, "slow.yml"));
    await workflows.scan();
    expect(workflows.get("slow")).toBeDefined();
    time += 300;
    await workflows.scan();
    expect(workflows.get("slow")).toBeUndefined();
    await stopServices([store, workflows]);
  });
});

describe("the workflow directory", () => {
  test("may come later, and be replaced by another", async () => {
    await using cluster = new TestPrincipal({ workflows: {} });
    await cluster.start();
    const client = cluster.client();
    const root = join(cluster.directory, "workflows");
    expect(await client.listWorkflows()).toEqual({});
    expect(cluster.book.count(/workflow directory .* does not exist/)).toBe(1);
    mkdirSync(root);
    cluster.write("a.yml", workflowText());
    await until(client, (all) => all.a !== undefined);

    const other = join(cluster.directory, "other");
    mkdirSync(other);
    writeFileSync(join(other, "b.yml"), workflowText());
    renameSync(root, join(cluster.directory, "away"));
    renameSync(other, root);
    await until(client, (all) => all.b !== undefined && all.a === undefined);
    cluster.write("c.yml", workflowText());
    await until(client, (all) => all.c !== undefined);
  });

  test("that is missing keeps its workflows in use", async () => {
    await using cluster = await new TestPrincipal().start();
    const client = cluster.client();
    renameSync(join(cluster.directory, "workflows"), join(cluster.directory, "away"));
    await cluster.book.waitFor(/does not exist.*stay in use/);
    expect(Object.keys(await client.listWorkflows())).toEqual(["hello"]);
    expect((await client.info()).invalid_workflow_files).toHaveLength(1);
    renameSync(join(cluster.directory, "away"), join(cluster.directory, "workflows"));
    cluster.write("more.yml", workflowText());
    await until(client, (all) => all.more !== undefined && all.hello !== undefined);
    expect((await client.info()).invalid_workflow_files).toEqual([]);
  });

  test("whose files all disappear at once may have been unmounted: they stay in use; a single missing file counts as deleted", async () => {
    await using cluster = await new TestPrincipal({
      workflows: { "a.yml": workflowText(), "b.yml": workflowText(), "c.yml": workflowText() },
    }).start();
    const client = cluster.client();
    const root = join(cluster.directory, "workflows");
    rmSync(join(root, "c.yml"));
    await until(client, (all) => all.c === undefined);
    for (const name of ["a.yml", "b.yml"]) renameSync(join(root, name), join(cluster.directory, name));
    await cluster.book.waitFor(/The files of 2 workflows disappeared at the same time: a, b/);
    expect(Object.keys(await client.listWorkflows())).toEqual(["a", "b"]);
    renameSync(join(cluster.directory, "b.yml"), join(root, "b.yml"));
    await until(client, (all) => all.a === undefined && all.b !== undefined);
  });

  test("that is empty at the start keeps the schedules of what it held, for when that comes back", async () => {
    await using cluster = await new TestPrincipal({
      workflows: { "a.yml": workflowText({ top: 'cron: "0 0 3 * * *"' }), "b.yml": workflowText() },
    }).start();
    const root = join(cluster.directory, "workflows");
    const cursor = async () => (await cluster.client().listWorkflows()).a?.schedule_cursor_ms;
    const before = await cursor();
    expect(before).toBeNumber();
    await cluster.stop();
    renameSync(root, join(cluster.directory, "away"));
    mkdirSync(root);
    await cluster.start();
    expect(await cluster.client().listWorkflows()).toEqual({});
    expect(cluster.book.count(/2 workflows that were in .* are not there: a, b/)).toBe(1);
    rmSync(root, { recursive: true });
    renameSync(join(cluster.directory, "away"), root);
    await until(cluster.client(), (all) => all.a !== undefined);
    expect(await cursor()).toBe(before);
  });

  test("tells what it cannot look at from what is not there", async () => {
    using directory = temporaryDirectory();
    writeFileSync(join(directory.path, "a.yml"), "");
    symlinkSync("circle", join(directory.path, "circle"));
    symlinkSync("nowhere", join(directory.path, "dangling"));
    symlinkSync("nowhere.yml", join(directory.path, "dangling.yml"));
    writeFileSync(join(directory.path, "upper.YML"), "");
    writeFileSync(Buffer.from(`${directory.path}/caf\xe9.yml`, "latin1"), "");
    const { files, unreadable } = listTree(directory.path, { endings: [".yml"] });
    expect([...files.keys()]).toEqual(["a.yml"]);
    expect([...unreadable].filter(([path]) => path !== "circle")).toEqual([
      ["caf\ufffd.yml", "its name is not UTF-8"],
      ["dangling.yml", "it is a broken link"],
      ["upper.YML", "its name must end in .yml"],
    ]);
    expect(unreadable.has("circle")).toBe(true);
  });

  test("with more files than can be read at the start: the last versions are in use at once, the rest follows, and one that is needed is read first", async () => {
    using directory = temporaryDirectory();
    const book = new LogBook();
    const root = join(directory.path, "flows");
    mkdirSync(root);
    const write = (name: string, title: string) =>
      writeFileSync(join(root, `${name}.yml`), workflowText({ name: title }));
    for (let n = 0; n < 250; n++) write(`w${n}`, "First");
    const store = new SqliteOperationalStore({ directory: join(directory.path, "data"), log: book.log });
    const options = {
      root,
      store,
      clock: systemClock,
      log: book.log,
      refreshMs: 3_600_000,
      polls: new LongPolls(),
      startMs: 0,
      settleMs: 0,
      zone: "UTC",
    };
    writeFileSync(join(root, "broken.yml"), "tasks: {}\n");
    const before = new WorkflowDirectory({ ...options, files: new FileHelper() });
    await startServices([store, before]);
    const [, read, rest] =
      /(\d+) of 251 workflow files are read\. The other (\d+) follow/.exec(book.lines.join("\n")) ?? [];
    expect(Number(read)).toBeGreaterThan(0);
    expect(Number(rest)).toBeGreaterThan(0);
    expect(Number(read) + Number(rest)).toBe(251);
    const unread = Array.from({ length: 250 }, (_, n) => `w${n}`).find((id) => before.get(id) === undefined);
    await before.load(required(unread));
    expect(before.get(required(unread))?.definition.name).toBe("First");
    await before.scan();
    expect(before.size).toBe(250);
    expect(book.count(/All workflow files are read: 250 workflows/)).toBe(1);
    expect(book.count(/Workflow w\d+ loaded/)).toBe(0);
    expect(before.invalidFiles).toHaveLength(1);
    await before.stop();

    write("w7", "Second");
    write("new", "New");
    const after = new WorkflowDirectory({ ...options, files: new FileHelper() });
    await after.start();
    expect(after.get("new")?.definition.name).toBe("New");
    expect(after.size).toBe(251);
    expect(after.get("w7")?.definition.name).toBe("First");
    const { revision } = after;
    await after.load("w7");
    expect(after.get("w7")?.definition.name).toBe("Second");
    expect((await after.details("w7"))?.source).toBe(workflowText({ name: "Second" }));
    await after.scan();
    expect(after.get("w7")?.definition.name).toBe("Second");
    expect(after.revision).toBeGreaterThan(revision);
    expect((await after.details("w200"))?.source).toBe(workflowText({ name: "First" }));
    await stopServices([store, after]);
  });

  test("keeps the positions of schedules whose files are not read yet, also if their versions were not saved", async () => {
    using directory = temporaryDirectory();
    const root = join(directory.path, "flows");
    mkdirSync(root);
    for (let n = 0; n < 250; n++)
      writeFileSync(join(root, `w${n}.yml`), workflowText({ top: 'cron: "0 0 3 * * *"' }));
    const { log } = new LogBook();
    const store = new SqliteOperationalStore({ directory: join(directory.path, "data"), log });
    const options = {
      root,
      store,
      log,
      refreshMs: 3_600_000,
      polls: new LongPolls(),
      settleMs: 0,
      zone: "UTC",
    };
    const clock = new ManualClock();
    const before = new WorkflowDirectory({ ...options, clock, files: new FileHelper() });
    await startServices([store, before]);
    const cursors = () =>
      store.read(async (tx) =>
        Object.fromEntries((await tx.listScheduleCursors()).map((one) => [one.workflow_id, one.cursor_ms])),
      );
    const known = await cursors();
    expect(Object.keys(known)).toHaveLength(250);
    await stopServices([store, before]);
    const state = new Database(join(directory.path, "data", "state.db"));
    state.run("DELETE FROM workflow_files");
    state.close();

    clock.advance(60_000);
    const after = new WorkflowDirectory({ ...options, clock, startMs: 0, files: new FileHelper() });
    await startServices([store, after]);
    expect(after.size).toBeLessThan(250);
    expect(await cursors()).toEqual(known);
    await after.scan();
    expect(after.size).toBe(250);
    expect(await cursors()).toEqual(known);
    await stopServices([store, after]);
  });

  test("counts files that do not respond as not read, if it has no time to look at them again", async () => {
    using directory = temporaryDirectory();
    const root = join(directory.path, "flows");
    mkdirSync(root);
    const paths = Array.from({ length: 250 }, (_, n) => `w${n}.yml`);
    for (const path of paths) writeFileSync(join(root, path), workflowText());
    const disk = new WorkflowFiles(root, new FileHelper(), new LogBook().log, () => {});
    const ask = spyOn(FileHelper.prototype, "ask");
    let isSilent = true;
    ask.mockImplementation(async (kind, request) => {
      const { paths: asked } = request as { paths?: readonly string[] };
      if (kind === "digest" && isSilent) {
        isSilent = false;
        throw new PathSilentError(join(root, asked?.[0] ?? ""), Promise.resolve());
      }
      return (asked ?? []).map(() => ({ kind: "invalid", error: "" }));
    });
    try {
      const parsed: string[] = [];
      const take = async (found: ReadonlyMap<string, unknown>) => void parsed.push(...found.keys());
      const count = await disk.parseMany(
        paths,
        () => undefined,
        take,
        () => true,
      );
      expect(count).toBe(parsed.length);
    } finally {
      ask.mockRestore();
      disk.close();
    }
  });

  test("reads only files that have changed, also after a restart of the same executable", async () => {
    using directory = temporaryDirectory();
    const { root, store, book, start } = directoryWorld(directory.path);
    for (let n = 0; n < 5; n++) writeFileSync(join(root, `w${n}.yml`), workflowText({ name: "First" }));
    writeFileSync(join(root, "warned.yml"), workflowText({ top: "timezone: UTC" }));
    writeFileSync(join(root, "bad.yml"), BROKEN);
    await store.start();

    const first = await start("this build");
    expect(first.read()).toHaveLength(7);
    await first.workflows.scan();
    expect(first.read()).toEqual([]);
    // The same content, at another time.
    writeFileSync(join(root, "w1.yml"), workflowText({ name: "First" }));
    await first.workflows.scan();
    expect(first.read()).toEqual(["w1.yml"]);
    await first.workflows.stop();

    writeFileSync(join(root, "w2.yml"), workflowText({ name: "Second" }));
    renameSync(join(root, "w3.yml"), join(root, "moved.yml"));
    const second = await start("this build");
    expect(second.read()).toEqual(["bad.yml", "moved.yml", "w2.yml"]);
    const names = Object.entries(await second.workflows.summaries()).map(([id, { name }]) => `${id} ${name}`);
    expect(names).toEqual([
      "moved First",
      "w0 First",
      "w1 First",
      "w2 Second",
      "w4 First",
      "warned A workflow",
    ]);
    expect(second.workflows.get("w0")?.definition.tasks).toHaveLength(1);
    expect((await second.workflows.details("w0"))?.source).toBe(workflowText({ name: "First" }));
    expect(second.workflows.invalidFiles.map(({ path }) => path)).toEqual(["bad.yml"]);
    // Warnings are told at each start.
    expect(book.count(/warned\.yml.*"timezone" has no effect/s)).toBe(2);
    await second.workflows.stop();

    // What another build made of a file is not what this one would.
    const other = await start("another build");
    expect(other.read()).toHaveLength(7);
    await stopServices([store, other.workflows]);
  });

  test("reads a file again after a restart if it was read right after it had changed: some disks have coarse time stamps", async () => {
    using directory = temporaryDirectory();
    const { root, store, start } = directoryWorld(directory.path, { aheadMs: 0 });
    writeFileSync(join(root, "a.yml"), workflowText());
    await store.start();
    const first = await start("this build");
    expect(first.read()).toEqual(["a.yml"]);
    await first.workflows.scan();
    expect(first.read()).toEqual([]);
    await first.workflows.stop();
    const second = await start("this build");
    expect(second.read()).toEqual(["a.yml"]);
    await stopServices([store, second.workflows]);
  });

  test("a workflow whose file comes back is awaited until it is in use, also while it is being written to the state", async () => {
    using directory = temporaryDirectory();
    const { root, store, start } = directoryWorld(directory.path);
    const file = join(root, "late.yml");
    writeFileSync(file, workflowText());
    writeFileSync(join(root, "other.yml"), workflowText());
    await store.start();
    const first = await start("this build");
    await first.workflows.stop();
    rmSync(file);
    const { workflows } = await start("this build");
    const isKnown = () => workflows.get("late") !== undefined || workflows.isAwaited("late");
    expect(workflows.isAwaited("late")).toBe(true);
    const known: boolean[] = [];
    const transact = store.transact.bind(store);
    using _ = spyOn(store, "transact").mockImplementation((work) => {
      known.push(isKnown());
      return transact(work);
    });
    writeFileSync(file, workflowText({ name: "Changed" }));
    while (workflows.get("late") === undefined) await workflows.scan();
    expect(known).toContain(true);
    expect(known).not.toContain(false);
    expect(workflows.isAwaited("late")).toBe(false);
    await stopServices([store, workflows]);
  });

  test("keeps the version of an invalid file that an older cdktr has stored", async () => {
    using directory = temporaryDirectory();
    const { root, store, start } = directoryWorld(directory.path);
    writeFileSync(join(root, "a.yml"), BROKEN);
    const source = workflowText({ name: "Of an older one" });
    const parsed = parseWorkflow(source, { path: "a.yml", id: "a" });
    await store.start();
    await store.stop();
    {
      using database = new Database(store.path);
      database.run(
        "INSERT INTO workflow_versions (workflow_id, path, definition, source) VALUES (?, ?, ?, ?)",
        ["a", "a.yml", JSON.stringify(parsed.ok ? parsed.definition : null), source],
      );
    }
    await store.start();
    for (const build of ["this build", "this build", "another build"]) {
      const { workflows } = await start(build);
      expect((await workflows.details("a"))?.source).toBe(source);
      expect((await workflows.details("a"))?.summary).toMatchObject({ name: "Of an older one", tasks: 1 });
      await workflows.stop();
    }
    await store.stop();
  });

  test("is scanned periodically, in case an event is missed", async () => {
    await using cluster = await new TestPrincipal({
      workflows: { "linked/placeholder.md": "" },
      config: { CDKTR_WORKFLOW_DIR_REFRESH_FREQUENCY_S: 1 },
    }).start();
    // Behind a link to elsewhere, where no event is heard of.
    const outside = join(cluster.directory, "outside");
    mkdirSync(outside);
    symlinkSync(outside, join(cluster.directory, "workflows", "elsewhere"));
    const client = cluster.client();
    cluster.write("b.yml", workflowText());
    await until(client, (all) => all.b !== undefined);
    writeFileSync(join(outside, "a.yml"), workflowText());
    await until(client, (all) => all["elsewhere.a"] !== undefined);
  });
});

describe("settings of directories", () => {
  /** The time limit of the only task of a workflow, ms. */
  const timeoutOf = (workflows: WorkflowDirectory, id: string) =>
    workflows.get(id)?.definition.tasks[0]?.timeout_ms;
  const defaults = (timeout: string) => `defaults: {timeout: ${timeout}}\n`;

  test("are no workflows; their defaults apply below them, and a change of them is a change of these workflows only", async () => {
    using directory = temporaryDirectory();
    const { root, store, book, start } = directoryWorld(directory.path);
    const write = (path: string, text: string) => writeFileSync(join(root, path), text);
    for (const name of ["etl", "other"]) mkdirSync(join(root, name));
    write("top.yml", workflowText());
    write("etl/a.yml", workflowText());
    write("etl/b.yml", workflowText());
    write("other/c.yml", workflowText());
    write("etl/_cdktr.yml", defaults("1m"));
    await store.start();
    const first = await start("this build");
    const of = (id: string) => timeoutOf(first.workflows, id);
    expect([...first.workflows.ids()].sort()).toEqual(["etl.a", "etl.b", "other.c", "top"]);
    expect([of("etl.a"), of("etl.b"), of("other.c"), of("top")]).toEqual([60_000, 60_000, null, null]);
    const hash = first.workflows.get("etl.a")?.hash;
    first.read();

    write("etl/_cdktr.yml", `${defaults("2m")}# changed\n`);
    await first.workflows.scan();
    expect(first.read()).toEqual(["etl/_cdktr.yml", "etl/a.yml", "etl/b.yml"]);
    expect([of("etl.a"), of("other.c")]).toEqual([120_000, null]);
    expect(first.workflows.get("etl.a")?.hash).not.toBe(hash);
    expect(book.count(/Workflow etl\.a changed/)).toBe(1);

    // The nearest counts.
    write("_cdktr.yml", "defaults: {timeout: 5m, env: {A: root}}\n");
    await first.workflows.scan();
    expect([of("etl.a"), of("other.c"), of("top")]).toEqual([120_000, 300_000, 300_000]);
    expect(first.workflows.get("etl.b")?.definition.env).toEqual({ A: "root" });
    // Nothing has changed: nothing is read.
    first.read();
    await first.workflows.scan();
    expect(first.read()).toEqual([]);
    await first.workflows.stop();

    // After a restart only the settings are read again.
    const second = await start("this build");
    expect(second.read()).toEqual(["_cdktr.yml", "etl/_cdktr.yml"]);
    expect(timeoutOf(second.workflows, "etl.a")).toBe(120_000);
    rmSync(join(root, "etl/_cdktr.yml"));
    await second.workflows.scan();
    expect(timeoutOf(second.workflows, "etl.a")).toBe(300_000);
    // Changed while nobody looked.
    await second.workflows.stop();
    write("_cdktr.yml", defaults("7m"));
    const third = await start("this build");
    expect(timeoutOf(third.workflows, "etl.a")).toBe(420_000);
    expect(timeoutOf(third.workflows, "top")).toBe(420_000);
    await stopServices([store, third.workflows]);
  });

  test("that become invalid stay as they were, and are told; over a restart the workflows stay", async () => {
    using directory = temporaryDirectory();
    const { root, store, book, start } = directoryWorld(directory.path);
    const write = (path: string, text: string) => writeFileSync(join(root, path), text);
    write("a.yml", workflowText());
    write("_cdktr.yml", defaults("1m"));
    await store.start();
    const first = await start("this build");
    write("_cdktr.yml", "defaults: {timeout: soon}\n");
    write("new.yml", workflowText());
    await first.workflows.scan();
    expect([timeoutOf(first.workflows, "a"), timeoutOf(first.workflows, "new")]).toEqual([60_000, 60_000]);
    expect(first.workflows.invalidFiles).toEqual([
      { path: "_cdktr.yml", error: expect.stringContaining("_cdktr.yml:1:21: error[E043]") },
    ]);
    expect(book.count(/last valid settings of the directory stay in use/)).toBe(1);
    await first.workflows.stop();

    // What they were is not known any more.
    write("unknown.yml", workflowText());
    const second = await start("this build");
    expect(timeoutOf(second.workflows, "a")).toBe(60_000);
    expect(second.workflows.get("unknown")).toBeUndefined();
    // The workflow is not to blame.
    expect(second.workflows.invalidFiles).toEqual([
      { path: "_cdktr.yml", error: expect.stringContaining("error[E043]"), waiting: ["unknown"] },
    ]);
    expect(book.count(/1 workflow below it waits for it and is not loaded: unknown\./)).toBe(1);
    write("_cdktr.yml", defaults("3m"));
    await second.workflows.scan();
    expect(second.workflows.invalidFiles).toEqual([]);
    expect([timeoutOf(second.workflows, "a"), timeoutOf(second.workflows, "unknown")]).toEqual([
      180_000, 180_000,
    ]);
    write("_cdktr.yaml", defaults("4m"));
    await second.workflows.scan();
    expect(timeoutOf(second.workflows, "a")).toBe(180_000);
    expect(second.workflows.invalidFiles).toMatchObject([{ path: "_cdktr.yaml" }]);
    await stopServices([store, second.workflows]);
  });

  test("reach the processes that parse many files", async () => {
    using directory = temporaryDirectory();
    const { root, store, start } = directoryWorld(directory.path);
    mkdirSync(join(root, "many"));
    for (let n = 0; n < 150; n++) writeFileSync(join(root, `many/w${n}.yml`), workflowText());
    writeFileSync(join(root, "top.yml"), workflowText());
    writeFileSync(join(root, "many/_cdktr.yml"), defaults("1m"));
    await store.start();
    const { workflows } = await start("this build");
    expect(workflows.size).toBe(151);
    for (const id of ["many.w0", "many.w77", "many.w149"]) expect(timeoutOf(workflows, id)).toBe(60_000);
    expect(timeoutOf(workflows, "top")).toBeNull();
    await stopServices([store, workflows]);
  });

  test("that are gone for a moment stay in use: editors write in several steps", async () => {
    using directory = temporaryDirectory();
    const { root, store, start } = directoryWorld(directory.path, { settleMs: 3_600_000 });
    writeFileSync(join(root, "a.yml"), workflowText());
    writeFileSync(join(root, "_cdktr.yml"), defaults("1m"));
    await store.start();
    const { workflows } = await start("this build");
    rmSync(join(root, "_cdktr.yml"));
    await workflows.scan();
    expect(timeoutOf(workflows, "a")).toBe(60_000);
    writeFileSync(join(root, "_cdktr.yml"), "");
    await workflows.scan();
    expect(timeoutOf(workflows, "a")).toBe(60_000);
    expect(workflows.invalidFiles).toEqual([]);
    writeFileSync(join(root, "_cdktr.yml"), defaults("2m"));
    await workflows.scan();
    expect(timeoutOf(workflows, "a")).toBe(120_000);
    await stopServices([store, workflows]);
  });
});
