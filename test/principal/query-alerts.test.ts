/** Evaluations of alert files, with the real store and the real alerts; only the clock and the history are the test's. */
import { describe, expect, test } from "bun:test";
import { HistoryUnavailableError } from "../../src/contract/history.ts";
import type { QueryResult } from "../../src/contract/messages.ts";
import { InvalidInputError } from "../../src/errors.ts";
import { EventHub } from "../../src/event-hub.ts";
import { QueryAlerts } from "../../src/principal/alert-queries/query-alerts.ts";
import { Alerts } from "../../src/principal/alerts/alerts.ts";
import type { PrincipalEvents } from "../../src/principal/principal-events.ts";
import type { OperationalStore } from "../../src/storage/operational/store.ts";
import { type AlertQuery, parseAlert } from "../../src/workflow/alert-file.ts";
import { silent, TestStores } from "../storage/operational-support.ts";
import { ManualClock } from "../support/manual-clock.ts";

const MINUTE = 60_000;
const FILE = "alerts/slow.yml";

/** What the history answers: rows of one column, or an error. */
type Answer = readonly string[] | Error | { readonly warning: string };

function resultOf(answer: Answer): QueryResult {
  if (answer instanceof Error) throw answer;
  const rows = "warning" in answer ? [] : answer.map((key) => [key, `run of ${key}`]);
  const columns = ["workflow_id", "note"].map((name) => ({ name, type: "VARCHAR" }));
  return { columns, rows, truncated: false, warning: "warning" in answer ? answer.warning : null };
}

/** The principal's part of it, which may be started again on the same state. */
class World implements AsyncDisposable {
  readonly stores = new TestStores();
  readonly clock = new ManualClock();
  readonly files = new Map<string, AlertQuery>();
  readonly answers = new Map<string, Answer>();
  /** Statements that were evaluated. */
  readonly evaluated: string[] = [];
  #alertFiles: ReadonlyMap<string, AlertQuery> = new Map();
  #events: PrincipalEvents = new EventHub();
  #queries: QueryAlerts | undefined;
  #store: OperationalStore | undefined;

  get store(): OperationalStore {
    if (this.#store === undefined) throw new Error("not started");
    return this.#store;
  }

  get queries(): QueryAlerts {
    if (this.#queries === undefined) throw new Error("not started");
    return this.#queries;
  }

  /** Writes an alert file. Its query is what {@link answers} has an answer for. */
  write(text: string, path = FILE): void {
    const result = parseAlert(`query: ${path}\n${text}`, path);
    if (!result.ok) throw new Error(JSON.stringify(result.diagnostics));
    this.files.set(path, result.alert);
  }

  /** Starts, or starts again, and waits for what is due. */
  async start(): Promise<void> {
    await this.#queries?.stop();
    this.#store =
      this.#store === undefined ? await this.stores.open("data", this.clock) : await this.stores.reopen();
    const { store, clock } = this;
    this.#events = new EventHub();
    const events = this.#events;
    const definitions = { of: async () => null };
    const alerts = new Alerts({ log: silent, store, clock, events, definitions });
    alerts.follow({
      groupMsOf: () => 0,
      // A workflow with rules of its own, which cannot name queries.
      notifyOf: () => [{ on: ["failed"], to: ["own"], after_failures: 1 }],
      notify: [{ on: ["query"], to: ["root"], after_failures: 1 }],
    });
    await alerts.start();
    this.#alertFiles = new Map(this.files);
    const world = this;
    this.#queries = new QueryAlerts({
      store,
      clock,
      events,
      alerts,
      log: silent,
      history: {
        async evaluate({ sql }) {
          world.evaluated.push(sql);
          return resultOf(world.answers.get(sql) ?? []);
        },
      },
      workflows: {
        channels: new Map([["root", {}]]),
        get alertFiles() {
          return world.#alertFiles;
        },
      },
    });
    const idle = this.#queries.signals.next("idle");
    await this.#queries.start();
    await idle;
  }

  /** What was written is in use now. Waits for what is due. */
  async load(): Promise<void> {
    this.#alertFiles = new Map(this.files);
    const idle = this.queries.signals.next("idle");
    this.#events.emit("alert files changed");
    await idle;
  }

  /** Lets time go by, one look after the other. */
  async advance(ms: number): Promise<void> {
    for (let left = ms; left > 0; left -= MINUTE) {
      const idle = this.queries.signals.next("idle");
      this.clock.advance(Math.min(left, MINUTE));
      await idle;
    }
  }

  /** The alerts, oldest first: `+` open, `-` over. */
  async alerts(): Promise<string[]> {
    const all = await this.store.read((tx) => tx.listAlerts({ which: "all", limit: 100 }));
    return all.reverse().map(({ key, resolved_at_ms }) => `${resolved_at_ms === null ? "+" : "-"} ${key}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#queries?.stop();
    await this.stores[Symbol.asyncDispose]();
  }
}

describe("a row of a query", () => {
  test("is raised once and resolved once, also across restarts", async () => {
    await using world = new World();
    world.write("every: 1m\nseverity: critical\nto: [ops]\nsummary: ${{ row.note }}");
    world.answers.set(FILE, ["a", "b"]);
    await world.start();
    expect(await world.alerts()).toEqual([`+ query ${FILE} a`, `+ query ${FILE} b`]);
    const [alert] = await world.store.read((tx) => tx.listAlerts({ which: "all", limit: 1 }));
    expect(alert).toMatchObject({ kind: "query", workflow_id: "b", subject: "run of b" });
    expect(JSON.parse(alert?.facts ?? "")).toEqual({
      file: FILE,
      name: FILE,
      severity: "critical",
      key: "b",
      row: { workflow_id: "b", note: "run of b" },
    });
    expect(await world.queries.list()).toMatchObject([
      { raised: 2, error: null, problem: 'there is no channel "ops": nobody is told' },
    ]);
    await world.advance(3 * MINUTE);
    await world.start();
    expect(await world.alerts()).toHaveLength(2);
    world.answers.set(FILE, ["b", "c"]);
    await world.advance(MINUTE);
    await world.start();
    await world.advance(MINUTE);
    expect(await world.alerts()).toEqual([`- query ${FILE} a`, `+ query ${FILE} b`, `+ query ${FILE} c`]);
    // It is another alert when it comes back.
    world.answers.set(FILE, ["a"]);
    await world.advance(MINUTE);
    expect((await world.alerts()).filter((each) => each.endsWith(" a"))).toEqual([
      `- query ${FILE} a`,
      `+ query ${FILE} a`,
    ]);
    const told = await world.store.read((tx) => tx.countDeliveries());
    expect(told.map(({ channel, pending }) => `${channel} ${pending}`).sort()).toEqual(["ops 7", "root 7"]);
  });

  test("is about a workflow only if it has an id of one: terminals show it, and people paste it", async () => {
    await using world = new World();
    world.write("every: 1m");
    world.answers.set(FILE, ["etl.daily-2", "$(reboot)", "\x1b]0;title\x07", "a b"]);
    await world.start();
    const all = await world.store.read((tx) => tx.listAlerts({ which: "all", limit: 10 }));
    expect(all.map(({ workflow_id }) => workflow_id).reverse()).toEqual(["etl.daily-2", null, null, null]);
  });

  test("counts when it has been there for long enough, also across restarts", async () => {
    await using world = new World();
    world.write("every: 1m\nfor: 3m");
    world.answers.set(FILE, ["a"]);
    await world.start();
    await world.advance(2 * MINUTE);
    world.answers.set(FILE, ["a", "b"]);
    await world.start();
    expect(await world.alerts()).toEqual([]);
    await world.advance(MINUTE);
    expect(await world.alerts()).toEqual([`+ query ${FILE} a`]);
    expect(await world.queries.list()).toMatchObject([{ rows: 2, raised: 1, pending: 1 }]);
    world.answers.set(FILE, ["a"]);
    await world.advance(MINUTE);
    world.answers.set(FILE, ["a", "b"]);
    await world.advance(3 * MINUTE);
    expect(await world.alerts()).toEqual([`+ query ${FILE} a`]);
    await world.advance(MINUTE);
    expect(await world.alerts()).toHaveLength(2);
  });
});

describe("evaluations", () => {
  test("are at the interval of each file; those that were missed are made once", async () => {
    await using world = new World();
    world.write("every: 1m", "alerts/a.yml");
    world.write("every: 5m", "alerts/b.yml");
    await world.start();
    expect(world.evaluated).toEqual(["alerts/a.yml", "alerts/b.yml"]);
    await world.advance(5 * MINUTE);
    expect(world.evaluated.filter((sql) => sql === "alerts/b.yml")).toHaveLength(2);
    expect(world.evaluated.filter((sql) => sql === "alerts/a.yml")).toHaveLength(6);
    // A restart is no reason.
    await world.start();
    expect(world.evaluated).toHaveLength(8);
    world.clock.advance(24 * 60 * MINUTE);
    await world.start();
    expect(world.evaluated.length).toBeLessThanOrEqual(12);
  });

  test("follow a file that changes, and end with it", async () => {
    await using world = new World();
    world.answers.set(FILE, ["a"]);
    await world.start();
    world.write("every: 1h");
    await world.load();
    expect(await world.alerts()).toEqual([`+ query ${FILE} a`]);
    world.answers.set(FILE, ["b"]);
    world.write("every: 1h\ntimeout: 5s");
    await world.load();
    expect(await world.alerts()).toEqual([`- query ${FILE} a`, `+ query ${FILE} b`]);
    world.files.clear();
    await world.load();
    expect(await world.alerts()).toEqual([`- query ${FILE} a`, `- query ${FILE} b`]);
    expect(await world.store.read((tx) => tx.listQueryAlerts())).toEqual([]);
    // Gone while the principal was down.
    world.write("every: 1h");
    await world.load();
    world.files.clear();
    await world.start();
    expect((await world.alerts()).filter((each) => each.startsWith("+"))).toEqual([]);
  });

  test("that fail change nothing, and are an alert of their own from the third on", async () => {
    await using world = new World();
    world.write("every: 1m");
    world.answers.set(FILE, ["a"]);
    await world.start();
    world.answers.set(FILE, new InvalidInputError("no such table:\nx"));
    await world.advance(2 * MINUTE);
    expect(await world.alerts()).toEqual([`+ query ${FILE} a`]);
    expect(await world.queries.list()).toMatchObject([{ error: "no such table:\nx", raised: 1, rows: 1 }]);
    // Failures count on after a restart.
    await world.start();
    await world.advance(2 * MINUTE);
    expect(await world.alerts()).toEqual([`+ query ${FILE} a`, `+ query ${FILE}`]);
    const [alert] = await world.store.read((tx) => tx.listAlerts({ which: "all", limit: 1 }));
    expect(alert?.subject).toBe(`${FILE} cannot be evaluated: no such table: x`);
    world.answers.set(FILE, ["a"]);
    await world.advance(MINUTE);
    expect(await world.alerts()).toEqual([`+ query ${FILE} a`, `- query ${FILE}`]);
  });

  test("need a history that is there and complete; without one nothing is resolved", async () => {
    await using world = new World();
    world.write("every: 1m");
    world.answers.set(FILE, ["a"]);
    await world.start();
    for (const answer of [new HistoryUnavailableError("away"), { warning: "lines are not shown" }]) {
      world.answers.set(FILE, answer);
      await world.advance(5 * MINUTE);
      expect(await world.alerts()).toEqual([`+ query ${FILE} a`]);
      expect(await world.queries.list()).toMatchObject([{ raised: 1 }]);
    }
    world.answers.set(FILE, []);
    await world.advance(MINUTE);
    expect(await world.alerts()).toEqual([`- query ${FILE} a`]);
    expect(await world.queries.list()).toMatchObject([{ error: null, raised: 0 }]);
  });

  test("whose commit fails at any statement change nothing, and are made again", async () => {
    for (let statement = 1; ; statement++) {
      await using world = new World();
      world.write("every: 1m\nto: [ops]");
      world.answers.set(FILE, ["a"]);
      await world.start();
      world.answers.set(FILE, ["b"]);
      world.stores.failStatement(statement);
      await world.advance(MINUTE);
      world.stores.failStatement(null);
      const hasFailed = (await world.queries.list())[0]?.error !== null;
      if (hasFailed) expect(await world.alerts()).toEqual([`+ query ${FILE} a`]);
      await world.advance(MINUTE);
      expect(await world.alerts()).toEqual([`- query ${FILE} a`, `+ query ${FILE} b`]);
      if (!hasFailed) {
        expect(statement).toBeGreaterThan(8);
        return;
      }
    }
  });
});
