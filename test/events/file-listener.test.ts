import { expect, test } from "bun:test";
import { cpSync, mkdirSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { FileListener } from "../../src/events/declared/file-listener.ts";
import { listenerDirectory } from "../../src/events/listener-file.ts";
import { ListenerService } from "../../src/events/listener-service.ts";
import { PrincipalClient } from "../../src/protocol/client.ts";
import { TestPrincipal, workflowText } from "../principal/support.ts";
import { until } from "../support/until.ts";

/** Changes without file events are only found after an hour. */
const HEARING = { netMs: 3_600_000 };

/** A principal, and a listener for files beside it that the test starts and stops. */
class Watched implements AsyncDisposable {
  readonly cluster = new TestPrincipal({ workflows: {}, listeners: false });
  #service: ListenerService | undefined;

  /** Writes a workflow whose files are `pattern` in the inbox. */
  declare(name: string, pattern: string, more = ""): void {
    const glob = join(this.inbox, pattern);
    const on = `on:\n  file: {glob: '${glob}', events: [created, changed, deleted], settle: 20ms${more}}`;
    this.cluster.write(`${name}.yml`, workflowText({ top: `params:\n  file:\n  event:\n${on}` }));
  }

  get inbox(): string {
    return join(this.cluster.directory, "inbox");
  }

  get data(): string {
    return listenerDirectory(this.cluster.directory, "file");
  }

  async startListener(watches = 1, options: { netMs?: number } = HEARING): Promise<ListenerService> {
    const { log } = this.cluster.book;
    const before = this.cluster.book.count(/Watching/);
    const service = new ListenerService({
      listener: new FileListener({ log, directory: this.data, ...options }),
      client: new PrincipalClient({ host: "127.0.0.1", port: this.cluster.ports.api, timeoutMs: 5000 }),
      log,
      dataDirectory: this.cluster.directory,
    });
    this.#service = service;
    await service.start();
    await this.cluster.book.waitFor(/Watching/, before + watches);
    return service;
  }

  async stopListener(): Promise<void> {
    await this.#service?.stop();
  }

  write(path: string, text = "x"): void {
    mkdirSync(join(this.inbox, path, ".."), { recursive: true });
    writeFileSync(join(this.inbox, path), text);
  }

  /** `event file` of each run, oldest first, once there are so many. */
  async events(count: number): Promise<string[]> {
    const client = this.cluster.client();
    const runs = await until(`${count} runs`, async () => {
      const found = await client.listRuns({ limit: 10_000 });
      return found.length >= count && found;
    });
    const details = await Promise.all(runs.map((run) => client.getRun(run.workflow_instance_id)));
    await client.close();
    return details.map((run) => `${run.params.event} ${run.params.file}`).reverse();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stopListener();
    await this.cluster[Symbol.asyncDispose]();
  }
}

test("changes made while no listener ran are found once at the next start, even after a kill before they were recorded", async () => {
  await using watched = new Watched();
  watched.declare("inbox", "**/*.csv");
  for (const name of ["kept.csv", "changed.csv", "gone.csv"]) watched.write(name);
  await watched.cluster.start();
  await watched.startListener();
  watched.write("seen.csv");
  expect(await watched.events(1)).toEqual(["created seen.csv"]);
  await watched.stopListener();

  cpSync(watched.data, `${watched.data}.before`, { recursive: true });
  watched.write("deep/new.csv");
  watched.write("changed.csv", "longer");
  rmSync(join(watched.inbox, "gone.csv"));
  await watched.startListener();
  const found = ["changed changed.csv", "created new.csv", "created seen.csv", "deleted gone.csv"];
  expect((await watched.events(4)).toSorted()).toEqual(found);
  await watched.stopListener();

  // As if it had been killed after the triggers and before it noted them.
  rmSync(watched.data, { recursive: true });
  cpSync(`${watched.data}.before`, watched.data, { recursive: true });
  const again = await watched.startListener();
  await again.signals.until("buffered", () => again.status.fired >= 3);
  watched.write("last.csv");
  expect((await watched.events(5)).toSorted()).toEqual([...found, "created last.csv"].toSorted());
});

test("several globs of a workflow are watched, each by itself", async () => {
  await using watched = new Watched();
  const on = ["a/*.csv", "b/*.txt"]
    .map((pattern) => `    - {glob: '${join(watched.inbox, pattern)}', settle: 20ms}`)
    .join("\n");
  watched.cluster.write("both.yml", workflowText({ top: `params:\n  file:\n  event:\non:\n  file:\n${on}` }));
  await watched.cluster.start();
  await watched.startListener(2);
  for (const path of ["a/one.csv", "b/two.txt", "b/three.csv"]) watched.write(path);
  expect((await watched.events(2)).toSorted()).toEqual(["created one.csv", "created two.txt"]);
  await watched.stopListener();
  watched.write("b/four.txt");
  await watched.startListener(2);
  expect((await watched.events(3)).at(-1)).toBe("created four.txt");
  await watched.stopListener();

  // In another order, with one more, and then alone: what happened meanwhile is found.
  const declared = (patterns: readonly string[]) => {
    const globs = patterns.map((pattern) => `    - {glob: '${join(watched.inbox, pattern)}', settle: 20ms}`);
    const text = `params:\n  file:\n  event:\non:\n  file:\n${globs.join("\n")}`;
    watched.cluster.write("both.yml", workflowText({ top: text }));
  };
  const changed = () => watched.cluster.book.count(/Workflow both changed/);
  const redeclare = async (patterns: readonly string[]) => {
    const before = changed();
    declared(patterns);
    await watched.cluster.book.waitFor(/Workflow both changed/, before + 1);
  };
  await redeclare(["c/*", "b/*.txt", "a/*.csv"]);
  watched.write("a/five.csv");
  await watched.startListener(3);
  expect((await watched.events(4)).at(-1)).toBe("created five.csv");
  await watched.stopListener();
  await redeclare(["b/*.txt"]);
  watched.write("b/six.txt");
  await watched.startListener(1);
  expect((await watched.events(5)).at(-1)).toBe("created six.txt");
});

test("with catchup none, and for a new glob, existing files count as seen", async () => {
  await using watched = new Watched();
  watched.declare("none", "*.csv", ", catchup: none");
  watched.write("a.csv");
  watched.write("b.txt");
  await watched.cluster.start();
  await watched.startListener();
  await watched.stopListener();
  watched.write("a.csv", "other");
  watched.write("missed.csv");
  watched.declare("texts", "*.txt");
  await watched.cluster.book.waitFor(/Workflow texts loaded/);
  await watched.startListener(2);
  watched.write("heard.csv");
  watched.write("heard.txt");
  expect((await watched.events(2)).toSorted()).toEqual(["created heard.csv", "created heard.txt"]);
});

test("a volume that is away, at the start or later, deletes and creates nothing", async () => {
  await using watched = new Watched();
  // The glob's directory is below the mount point.
  watched.declare("inbox", "nas/in/*.csv");
  for (const name of ["a.csv", "b.csv"]) watched.write(`nas/in/${name}`);
  await watched.cluster.start();
  await watched.startListener(1, { netMs: 100 });
  watched.write("nas/in/c.csv");
  expect(await watched.events(1)).toEqual(["created c.csv"]);
  const mounted = join(watched.inbox, "nas");
  const elsewhere = join(watched.cluster.directory, "elsewhere");
  const { book } = watched.cluster;

  renameSync(mounted, elsewhere);
  await book.waitFor(/3 files of workflow inbox .* are not visible: .*nas\/in is missing/);
  renameSync(elsewhere, mounted);
  await book.waitFor(/No file of workflow inbox .* is hidden any more/);

  // The mount point remains, with another directory than that of the volume.
  await watched.stopListener();
  renameSync(mounted, elsewhere);
  mkdirSync(join(mounted, "in"), { recursive: true });
  await watched.startListener(1, { netMs: 100 });
  await book.waitFor(/3 files of workflow inbox .* are not visible/, 2);
  rmSync(mounted, { recursive: true });
  renameSync(elsewhere, mounted);
  await book.waitFor(/No file of workflow inbox .* is hidden any more/, 2);

  // Deleted from a directory that is there: all of them at once, too.
  for (const name of ["a.csv", "b.csv", "c.csv"]) rmSync(join(mounted, "in", name));
  const found = ["created c.csv", "deleted a.csv", "deleted b.csv", "deleted c.csv"];
  expect((await watched.events(4)).toSorted()).toEqual(found);
});

test("directories that come, move and go are noticed at once, and a burst too", async () => {
  await using watched = new Watched();
  watched.declare("inbox", "**/*.csv");
  await watched.cluster.start();
  await watched.startListener();
  watched.write("a/b/one.csv");
  await watched.events(1);
  mkdirSync(join(watched.cluster.directory, "elsewhere"));
  writeFileSync(join(watched.cluster.directory, "elsewhere/two.csv"), "");
  writeFileSync(join(watched.cluster.directory, "elsewhere/.hidden.csv"), "");
  renameSync(join(watched.cluster.directory, "elsewhere"), join(watched.inbox, "moved"));
  await watched.events(2);
  rmSync(join(watched.inbox, "moved"), { recursive: true });
  expect(await watched.events(3)).toEqual(["created one.csv", "created two.csv", "deleted two.csv"]);
  for (let i = 0; i < 1000; i++) watched.write(`burst-${i}.csv`);
  const events = await watched.events(1003);
  expect(new Set(events).size).toBe(1003);
});

test("10,000 files cost next to nothing while nothing happens", async () => {
  await using watched = new Watched();
  watched.declare("inbox", "*.csv");
  for (let i = 0; i < 10_000; i++) watched.write(`file-${i}.csv`);
  await watched.cluster.start();
  const service = await watched.startListener(1, {});
  // What it uses is measured over a while, after what the start leaves to do.
  await Bun.sleep(500);
  const [before, began] = [process.cpuUsage(), performance.now()];
  await Bun.sleep(2000);
  const { user, system } = process.cpuUsage(before);
  expect((user + system) / 1000 / (performance.now() - began)).toBeLessThan(0.1);
  // A change among them is noticed at once.
  watched.write("new.csv");
  expect(await watched.events(1)).toEqual(["created new.csv"]);
  expect(service.status.fired).toBe(1);
});
