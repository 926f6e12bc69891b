import { afterEach, describe, expect, setDefaultTimeout, test } from "bun:test";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { PrincipalFeed } from "../../src/tui/feeds/principal-feed.ts";
import { initialState } from "../../src/tui/initial-state.ts";
import { openPage, openRun } from "../../src/tui/navigation.ts";
import type { State } from "../../src/tui/state.ts";
import type { Store } from "../../src/tui/store.ts";
import { lastingPorts, required, TestPrincipal, workflowText } from "../principal/support.ts";

setDefaultTimeout(30_000);

const HOUR = 3_600_000;

/** The state of a screen without the screen; what is waited for is looked at after each change. */
class TestStore implements Store {
  readonly state: State = initialState([{ name: "test", host: "127.0.0.1", port: 0 }], 120, 40, Date.now());
  updates = 0;
  readonly #waiting = new Set<() => void>();

  update(change: (state: State) => void): void {
    change(this.state);
    this.updates++;
    for (const look of this.#waiting) look();
  }

  /** What `look` gives, as soon as it gives something. */
  until<T>(look: (state: State) => T | undefined | false | null): Promise<T> {
    return new Promise((resolve) => {
      const again = () => {
        const found = look(this.state);
        if (found === undefined || found === false || found === null) return;
        this.#waiting.delete(again);
        resolve(found);
      };
      this.#waiting.add(again);
      again();
    });
  }
}

let cluster: TestPrincipal;
const feeds: PrincipalFeed[] = [];

afterEach(async () => {
  for (const feed of feeds.splice(0)) await feed.stop();
  await cluster[Symbol.asyncDispose]();
});

/** A feed of the principal that runs; it reads again after a change at the latest when it is told to. */
function feedOf(options: { intervalMs?: number; timeoutMs?: number } = {}) {
  const store = new TestStore();
  let regained = 0;
  const feed = new PrincipalFeed({
    client: cluster.client(),
    store,
    intervalMs: options.intervalMs ?? HOUR,
    timeoutMs: options.timeoutMs ?? 10_000,
    regained: () => {
      regained++;
      // For those who wait.
      store.update(() => {});
    },
  });
  feeds.push(feed);
  return { store, feed, regained: () => regained };
}

const trigger = async (id = "hello") =>
  (await cluster.client().runTask(id, { dedupe_key: crypto.randomUUID() })).workflow_instance_id;

const statusOf = (state: State, run: string) =>
  state.data.runs?.find((known) => known.workflow_instance_id === run)?.status;

describe("a principal that answers", () => {
  test("is read completely at the start", async () => {
    cluster = await new TestPrincipal({
      workflows: {
        "b.yml": workflowText(),
        "etl/a.yml": workflowText({ name: "A" }),
        "c.yml": workflowText(),
      },
    }).start();
    const older = await trigger("b");
    const newer = await trigger("etl.a");
    await cluster.agent("agent-7");
    const { store, feed, regained } = feedOf();
    await feed.start();
    const state = await store.until((now) => now.data.agents !== null && now.data.workflows !== null && now);
    expect(state.connection).toMatchObject({ status: "connected", error: null });
    expect(state.connection.latencyMs).toBeGreaterThan(0);
    expect(state.data.info?.principal_id).toBe(required(await cluster.client().info()).principal_id);
    expect(state.data.workflows?.map(({ id }) => id)).toEqual(["b", "c", "etl.a"]);
    expect(state.data.runs?.map((run) => run.workflow_instance_id)).toEqual([newer, older]);
    expect(state.data.agents?.map((agent) => agent.agent_id)).toEqual(["agent-7"]);
    expect(state.data.events.length).toBeGreaterThan(0);
    expect(regained()).toBe(0);
  });

  test("is polled on request, and new events are added", async () => {
    cluster = await new TestPrincipal().start();
    const { store, feed } = feedOf();
    await feed.start();
    await store.until(({ data }) => data.agents);
    const run = await trigger();
    feed.refresh();
    await store.until((state) => statusOf(state, run) === "PENDING");
    const events = store.state.data.events.length;
    const agent = await cluster.agent();
    await agent.execute(required(await agent.fetch()));
    feed.refresh();
    await store.until((state) => statusOf(state, run) === "COMPLETED" && state.data.agents?.length === 1);
    const { data } = await store.until((state) => state.data.events.length > events && state);
    const numbers = data.events.map(({ seq }) => seq);
    expect(numbers).toEqual([...new Set(numbers)].sort((a, b) => a - b));
  });

  test("is polled periodically", async () => {
    cluster = await new TestPrincipal().start();
    const { store, feed } = feedOf({ intervalMs: 1 });
    await feed.start();
    await store.until(({ data }) => data.agents);
    const run = await trigger();
    await store.until((state) => statusOf(state, run) === "PENDING");
  });

  test("an open run that newer ones have pushed out of the list is followed to its end", async () => {
    cluster = await new TestPrincipal().start();
    const first = await trigger();
    const { store, feed } = feedOf();
    await feed.start();
    await store.until((state) => state.data.agents !== null && statusOf(state, first) === "PENDING");
    const agent = await cluster.agent();
    const run = required(await agent.fetch());
    expect(run.workflow_instance_id).toBe(first);
    // More than the newest that every reading asks for.
    for (let i = 0; i < 101; i++) await trigger();
    await agent.send(agent.runReport(run, "RUNNING"));
    feed.refresh();
    await store.until((state) => statusOf(state, first) === "RUNNING");
    await agent.send(agent.taskReport(run, "only", "RUNNING"), agent.taskReport(run, "only", "COMPLETED"));
    await agent.send(agent.runReport(run, "COMPLETED"));
    feed.refresh();
    await store.until((state) => statusOf(state, first) === "COMPLETED");
  });

  test("a workflow that comes or goes is noticed without being asked for", async () => {
    cluster = await new TestPrincipal().start();
    const { store, feed } = feedOf();
    const ids = (state: State) => state.data.workflows?.map(({ id }) => id).join();
    await feed.start();
    await store.until((state) => ids(state) === "hello");
    cluster.write("added.yml", workflowText());
    await store.until((state) => ids(state) === "added,hello");
    rmSync(join(cluster.directory, "workflows", "hello.yml"));
    await store.until((state) => ids(state) === "added");
  });
});

test("firings are those that the principal says, also after one has passed", async () => {
  cluster = await new TestPrincipal({
    workflows: { "tick.yml": workflowText({ top: 'cron: "* * * * * *"' }) },
  }).start();
  const { store, feed } = feedOf({ intervalMs: 10 });
  openPage(store.state, { kind: "workflow", id: "tick", pane: "overview" });
  await feed.start();
  const shown = ({ data }: State) => {
    const details = data.workflowDetails.get("tick");
    const summary = data.workflows?.[0]?.next_firing_ms;
    return details?.next_firings_ms?.[0] !== undefined && summary != null && { details, summary };
  };
  const first = await store.until(shown);
  const later = await store.until((state) => {
    const now = shown(state);
    return now !== false && now.summary > first.summary && now;
  });
  expect(later.summary % 1000).toBe(0);
  await store.until(({ data }) => {
    const [next] = data.workflowDetails.get("tick")?.next_firings_ms ?? [];
    return next !== undefined && next > (first.details.next_firings_ms?.[0] ?? Number.NaN);
  });
  // A definition that is the same stays the same object.
  expect(store.state.data.workflowDetails.get("tick")?.definition).toBe(first.details.definition);
});

describe("an open page", () => {
  test("has the details of its run, until that is over, and of its workflow", async () => {
    cluster = await new TestPrincipal({
      workflows: { "two.yml": workflowText({ tasks: ["a", "b"] }) },
    }).start();
    const run = await trigger("two");
    const { store, feed } = feedOf();
    openRun(store.state, run);
    await feed.start();
    const details = await store.until(({ data }) => data.runDetails.get(run));
    expect(details.status).toBe("PENDING");
    const agent = await cluster.agent();
    await agent.execute(required(await agent.fetch()));
    feed.refresh();
    const over = await store.until(({ data }) => {
      const known = data.runDetails.get(run);
      return known?.status === "COMPLETED" && known;
    });
    expect(over.tasks.map(({ task_id, status }) => [task_id, status])).toEqual([
      ["a", "COMPLETED"],
      ["b", "COMPLETED"],
    ]);
    // A definition that is the same stays the same object.
    if (details.definition !== null) expect(over.definition).toBe(details.definition);
    await feed.readRun(run);
    expect(store.state.data.runDetails.get(run)).toBe(over);

    openPage(store.state, { kind: "workflow", id: "two", pane: "overview" });
    feed.refresh();
    const { source } = await store.until(({ data }) => data.workflowDetails.get("two"));
    expect(source).toContain("Task b");
  });

  test("says what cannot be read, for as long as that is so", async () => {
    cluster = await new TestPrincipal().start();
    const { store, feed } = feedOf();
    openPage(store.state, { kind: "workflow", id: "late", pane: "overview" });
    await feed.start();
    const why = await store.until(({ data }) => data.detailErrors.get("workflow late"));
    expect(why).toContain('There is no workflow "late"');
    expect(store.state.connection.status).toBe("connected");
    cluster.write("late.yml", workflowText());
    await store.until(
      ({ data }) => data.workflowDetails.has("late") && !data.detailErrors.has("workflow late"),
    );
  });
});

describe("a principal that stops", () => {
  /** Starts one that has the same ports when it is started again. */
  async function startWithPorts(): Promise<number> {
    cluster = await new TestPrincipal({ config: await lastingPorts() }).start();
    return cluster.ports.api;
  }

  test("is lost with its data kept, and regained when it answers again", async () => {
    const port = await startWithPorts();
    const run = await trigger();
    const { store, feed, regained } = feedOf({ intervalMs: 1, timeoutMs: 300 });
    await feed.start();
    await store.until(({ data }) => data.agents);
    const { since } = store.state.connection;

    await required(cluster.principal).stop();
    const lost = await store.until(({ connection }) => connection.status === "lost" && { ...connection });
    expect(lost.error).toContain(`127.0.0.1:${port}`);
    expect(lost.since).toBeGreaterThan(since);
    expect(statusOf(store.state, run)).toBe("PENDING");
    // It is lost once, however often it does not answer.
    const { updates } = store;
    await store.until(() => store.updates > updates);
    expect(store.state.connection.since).toBe(lost.since);
    expect(regained()).toBe(0);

    await cluster.start();
    await store.until(() => regained() > 0);
    expect(store.state.connection).toMatchObject({ status: "connected", error: null });
    expect(statusOf(store.state, run)).toBe("PENDING");
  });

  test("and is replaced by another one: its events replace those of the former one", async () => {
    await startWithPorts();
    await cluster.agent("before-1");
    await cluster.agent("before-2");
    const { store, feed, regained } = feedOf();
    await feed.start();
    await store.until(({ data }) => data.events.length >= 2 && data.agents);
    const before = required(store.state.data.info).principal_id;
    await required(cluster.principal).stop();
    await cluster.start();
    await cluster.agent("after");
    const there = await cluster.client().call("LSEVENTS", { after: 0, limit: 500 });
    expect(there.length).toBeGreaterThan(0);
    feed.refresh();
    await store.until(() => regained() > 0);
    expect(required(store.state.data.info).principal_id).not.toBe(before);
    expect(store.state.data.events).toEqual(there);
  });
});

test("a stopped one aborts its open request, and neither polls nor reports any more", async () => {
  cluster = await new TestPrincipal().start();
  const { store, feed } = feedOf();
  await feed.start();
  await store.until(({ data }) => data.agents !== null && data.workflows !== null);
  // It waits for changes of the workflows, which it would do for 20 s.
  const stopped = performance.now();
  await feed.stop();
  expect(performance.now() - stopped).toBeLessThan(10_000);
  const { updates } = store;
  feed.refresh();
  cluster.write("added.yml", workflowText());
  // Another one hears of it.
  const witness = feedOf();
  await witness.feed.start();
  await witness.store.until(({ data }) => data.workflows?.some(({ id }) => id === "added"));
  expect(store.updates).toBe(updates);
});
