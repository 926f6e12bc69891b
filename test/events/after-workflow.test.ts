import { expect, test } from "bun:test";
import { cpSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { AfterWorkflowListener } from "../../src/events/declared/after-workflow-listener.ts";
import { listenerDirectory } from "../../src/events/listener-file.ts";
import { ListenerService } from "../../src/events/listener-service.ts";
import { PrincipalClient, RequestUnprocessableError } from "../../src/protocol/client.ts";
import { TestPrincipal, workflowText } from "../principal/support.ts";
import { until } from "../support/until.ts";

/** More than a page of the feed. */
const BURST = 600;

const follower = (status: string) =>
  workflowText({
    top: `params:\n  workflow_instance_id:\non:\n  workflow:\n    id: first\n    status: [${status}]`,
  });

/** A principal whose runs of `first` end by being cancelled: that needs no agent. */
class Chain implements AsyncDisposable {
  readonly cluster = new TestPrincipal({
    workflows: {
      "first.yml": workflowText(),
      "second.yml": follower("CANCELLED"),
      "third.yml": follower("CANCELLED, FAILED"),
      "never.yml": follower("COMPLETED"),
    },
    listeners: false,
  });
  readonly #services: ListenerService[] = [];

  async endRuns(count: number): Promise<string[]> {
    const client = this.cluster.client();
    const ids: string[] = [];
    for (let done = 0; done < count; done += 200) {
      const keys = Array.from({ length: Math.min(200, count - done) }, () => crypto.randomUUID());
      const made = await Promise.all(keys.map((dedupe_key) => client.runTask("first", { dedupe_key })));
      await Promise.all(made.map((run) => client.cancelRun(run.workflow_instance_id)));
      ids.push(...made.map((run) => run.workflow_instance_id));
    }
    await client.close();
    return ids;
  }

  get directory(): string {
    return join(this.cluster.directory, "listeners-data");
  }

  async startListener(): Promise<ListenerService> {
    const { log } = this.cluster.book;
    const service = new ListenerService({
      listener: new AfterWorkflowListener({ log, directory: listenerDirectory(this.directory, "workflow") }),
      client: new PrincipalClient({ host: "127.0.0.1", port: this.cluster.ports.api, timeoutMs: 5000 }),
      log,
      dataDirectory: this.directory,
    });
    this.#services.push(service);
    await service.start();
    return service;
  }

  /** The ends that each workflow ran for, once there are so many in all. */
  async followed(count: number): Promise<Map<string, string[]>> {
    const client = this.cluster.client();
    const runs = await until(`${count} runs that follow others`, async () => {
      const found = (await client.listRuns({ limit: 10_000 })).filter((run) => run.trigger === "workflow");
      return found.length >= count && found;
    });
    const details = await Promise.all(runs.map((run) => client.getRun(run.workflow_instance_id)));
    await client.close();
    const groups = Map.groupBy(details, (run) => run.workflow_id);
    return new Map(
      [...groups].map(([id, of]) => [id, of.map((run) => run.params.workflow_instance_id ?? "").sort()]),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const service of this.#services) await service.stop();
    await this.cluster[Symbol.asyncDispose]();
  }
}

test("a burst while no listener ran: each end is followed once, even if the listener lost its position", async () => {
  await using chain = new Chain();
  await chain.cluster.start();
  const first = await chain.endRuns(1);
  const listener = await chain.startListener();
  expect(await chain.followed(2)).toEqual(
    new Map([
      ["second", first],
      ["third", first],
    ]),
  );
  await listener.stop();
  const cursor = join(listenerDirectory(chain.directory, "workflow"), "cursor");
  cpSync(cursor, `${cursor}.before`);

  const ids = [...first, ...(await chain.endRuns(BURST))].sort();
  // The list outlives the principal.
  await chain.cluster.stop();
  await chain.cluster.start();
  await stoppedMidway(chain);
  const again = await chain.startListener();
  const expected = new Map([
    ["second", ids],
    ["third", ids],
  ]);
  expect(await chain.followed(2 * ids.length)).toEqual(expected);
  await again.stop();

  // Killed before it noted how far it had come.
  writeFileSync(cursor, readFileSync(`${cursor}.before`, "utf8"));
  const repeating = await chain.startListener();
  const [last] = await chain.endRuns(1);
  const runs = await chain.followed(2 * ids.length + 2);
  expect(runs.get("second")).toEqual([...ids, last ?? ""].sort());
  expect(runs.get("third")).toEqual([...ids, last ?? ""].sort());
  expect(repeating.status.fired).toBeGreaterThanOrEqual(2 * BURST);
}, 240_000);

/** A listener that ends in the middle of its work. */
async function stoppedMidway(chain: Chain): Promise<void> {
  const listener = await chain.startListener();
  await listener.signals.until("delivered", () => listener.status.delivered >= 100);
  await listener.stop();
}

test("globs and lists: a workflow follows each run once, and never itself", async () => {
  await using chain = new Chain();
  const { cluster } = chain;
  const follows = (on: string) =>
    workflowText({ top: `params:\n  workflow_instance_id: ""\non:\n  workflow: ${on}` });
  cluster.write("all.yml", follows('{id: "**", status: [CANCELLED]}'));
  cluster.write("both.yml", follows('[{id: first, status: [CANCELLED]}, {id: "f*", status: [CANCELLED]}]'));
  cluster.write("none.yml", follows('[{id: "first.*", status: [CANCELLED]}, {id: "f*", status: [FAILED]}]'));
  for (const name of ["second", "third", "never"]) cluster.write(`${name}.yml`, workflowText());
  await cluster.start();
  const client = cluster.client();
  const { cursor } = await client.call("LSFOLLOWUPS", {});
  await chain.endRuns(1);
  const run = await client.runTask("all", { dedupe_key: crypto.randomUUID() });
  await client.cancelRun(run.workflow_instance_id);
  await chain.endRuns(1);
  const { follow_ups } = await client.call("LSFOLLOWUPS", { cursor });
  expect(follow_ups.map((one) => `${one.workflow_id} after ${one.after_workflow_id}`)).toEqual([
    "both after first",
    "all after first",
    "both after first",
    "all after first",
  ]);
  await client.close();
});

test("a position in another principal's feed is ignored", async () => {
  await using chain = new Chain();
  await chain.cluster.start();
  const client = chain.cluster.client();
  const { cursor: start } = await client.call("LSFOLLOWUPS", {});
  const ids = await chain.endRuns(3);
  const all = await client.call("LSFOLLOWUPS", { cursor: start });
  expect(all.follow_ups.map((one) => one.after_workflow_instance_id).sort()).toEqual([...ids, ...ids].sort());
  const [feed = "", seq = ""] = all.cursor.split(":");
  const page = async (cursor: string) => (await client.call("LSFOLLOWUPS", { cursor })).follow_ups.length;
  expect(await page(all.cursor)).toBe(0);
  expect(await page(`${feed}:${Number(seq) - 2}`)).toBe(2);
  // Of another principal; of a copy of this one that has since been put back; nonsense.
  for (const cursor of [`other:${seq}`, `${feed}:${Number(seq) + 1}`, "nonsense"]) {
    expect(await page(cursor)).toBe(6);
  }
  const waiting = client.call("LSFOLLOWUPS", { cursor: all.cursor, wait_ms: 20_000 });
  const [id] = await chain.endRuns(1);
  expect((await waiting).follow_ups.map((one) => one.after_workflow_instance_id)).toContain(id ?? "");
});

test("triggers of a workflow whose volume is late wait for it, and nothing else waits for them", async () => {
  await using chain = new Chain();
  const { cluster } = chain;
  cluster.write("late/second.yml", follower("CANCELLED"));
  await cluster.start();
  await cluster.stop();
  const volume = join(cluster.directory, "workflows/late");
  renameSync(volume, join(cluster.directory, "away"));
  await cluster.start();
  const client = cluster.client();
  const refusal = await client.runTask("late.second", { dedupe_key: "x" }).catch((error) => error);
  expect(refusal).toBeInstanceOf(RequestUnprocessableError);
  expect(refusal.message).toContain("is not visible now: is a volume not mounted yet?");
  expect((await client.getWorkflow("late.second")).summary.error).toBe(refusal.message);
  expect(Object.keys(await client.listWorkflows())).not.toContain("late.second");

  const listener = await chain.startListener();
  const [id = ""] = await chain.endRuns(1);
  await cluster.book.waitFor(/Triggers of workflow late\.second are buffered on disk .* is not visible now/);
  expect(await chain.followed(2)).toEqual(
    new Map([
      ["second", [id]],
      ["third", [id]],
    ]),
  );
  const others = await chain.endRuns(5);
  await chain.followed(12);
  expect(listener.status).toMatchObject({ buffered: 6, failed: 0, principal_away_since_ms: null });
  expect(cluster.book.count(/Triggers .* buffered on disk/)).toBe(1);

  renameSync(join(cluster.directory, "away"), volume);
  const runs = await chain.followed(18);
  expect(runs.get("late.second")).toEqual([id, ...others].sort());
  expect(cluster.book.count(/The principal accepts triggers of workflow late\.second again/)).toBe(1);
}, 60_000);
