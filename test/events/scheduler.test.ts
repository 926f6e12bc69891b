import { Database } from "bun:sqlite";
import { describe, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { type Clock, systemClock } from "../../src/clock.ts";
import type { RunSummary } from "../../src/contract/messages.ts";
import { EventListener } from "../../src/events/event-listener.ts";
import { ListenerService } from "../../src/events/listener-service.ts";
import { Scheduler } from "../../src/events/scheduler.ts";
import { PrincipalClient } from "../../src/protocol/client.ts";
import { failure, LogBook, lastingPorts, TestPrincipal, workflowText } from "../principal/support.ts";
import { until } from "../support/until.ts";

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const START = Date.parse("2025-03-03T12:00:30Z");

/** A wall clock that stands, and is moved by hand. */
class HandClock implements Clock {
  time: number;
  constructor(time = START) {
    this.time = time;
  }
  now(): number {
    return this.time;
  }
  readonly monotonic = systemClock.monotonic;
  readonly sinceBoot = systemClock.sinceBoot;
  readonly after = systemClock.after;
}

/** A clock that is set back between two readings of whoever it has woken. */
class FickleClock extends HandClock {
  /** By how much, next time, ms. */
  back = 0;
  #hasWoken = false;
  override now(): number {
    const now = this.time;
    if (this.#hasWoken) {
      this.time -= this.back;
      this.back = 0;
      this.#hasWoken = false;
    }
    return now;
  }
  override readonly after: Clock["after"] = (ms, ring) =>
    systemClock.after(ms, () => {
      this.#hasWoken = true;
      ring();
    });
}

const cron = (expression: string, more = "") =>
  workflowText({ top: `cron: "${expression}"\ntimezone: UTC${more}` });

/** A principal and a scheduler beside it, on the same clock. The scheduler is stopped and started by the test. */
class Scheduled implements AsyncDisposable {
  readonly clock = new HandClock();
  readonly cluster: TestPrincipal;
  readonly book = new LogBook();
  #scheduler: ListenerService | undefined;

  constructor(workflows: Record<string, string>) {
    this.cluster = new TestPrincipal({ workflows, clock: this.clock });
  }

  async start(): Promise<this> {
    await this.cluster.start(await lastingPorts());
    return this;
  }

  async startScheduler(): Promise<void> {
    this.#scheduler = this.scheduler("scheduler", this.cluster.ports.api);
    await this.#scheduler.start();
  }

  /** One whose buffer is in a directory of its own. */
  scheduler(directory: string, port: number, timeoutMs = 5000, clock: Clock = this.clock): ListenerService {
    return new ListenerService({
      listener: new Scheduler({ log: this.book.log, clock, pollMs: 10 }),
      client: new PrincipalClient({ host: "127.0.0.1", port, timeoutMs }),
      log: this.book.log,
      dataDirectory: join(this.cluster.directory, directory),
      clock: this.clock,
    });
  }

  async stopScheduler(): Promise<void> {
    await this.#scheduler?.stop();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stopScheduler();
    await this.cluster[Symbol.asyncDispose]();
  }

  /** The runs, oldest first, once there are so many. */
  async runs(count: number): Promise<RunSummary[]> {
    const client = this.cluster.client();
    return until(`${count} runs`, async () => {
      const runs = await client.listRuns({ limit: 1000 });
      return runs.length >= count && runs.reverse();
    });
  }

  /** The scheduled times of the runs, oldest first. */
  async times(count: number): Promise<string[]> {
    const client = this.cluster.client();
    const times: string[] = [];
    for (const run of await this.runs(count)) {
      const { scheduled_time_ms } = await client.getRun(run.workflow_instance_id);
      times.push(new Date(scheduled_time_ms ?? 0).toISOString().slice(11, 19));
    }
    return times;
  }
}

describe("the scheduler", () => {
  test("runs each firing once, with its time and cause, and moves the cursor", async () => {
    await using scheduled = await new Scheduled({
      "a.yml": cron("0 * * * * *"),
      "none.yml": workflowText(),
    }).start();
    await scheduled.startScheduler();
    await scheduled.book.waitFor(/1 workflow has a schedule/);
    for (let minute = 1; minute <= 3; minute++) {
      scheduled.clock.time = START + minute * MINUTE;
      await scheduled.runs(minute);
    }
    expect(await scheduled.times(3)).toEqual(["12:01:00", "12:02:00", "12:03:00"]);
    expect((await scheduled.runs(3)).map((run) => run.trigger)).toEqual(["cron", "cron", "cron"]);
    const { a } = await scheduled.cluster.client().listWorkflows();
    expect(a?.schedule_cursor_ms).toBe(Date.parse("2025-03-03T12:03:00Z"));
  });

  test("fires no second time what another scheduler fired", async () => {
    await using scheduled = await new Scheduled({ "a.yml": cron("0 * * * * *") }).start();
    await scheduled.startScheduler();
    const other = scheduled.scheduler("other", scheduled.cluster.ports.api);
    await other.start();
    await scheduled.book.waitFor(/1 workflow has a schedule/, 2);
    for (const count of [1, 2]) {
      scheduled.clock.time += MINUTE;
      await scheduled.runs(count);
      await scheduled.book.waitFor(new RegExp(`next at .*12:0${count + 1}:00`), 2);
    }
    await other.stop();
    await scheduled.stopScheduler();
    expect(await scheduled.times(2)).toEqual(["12:01:00", "12:02:00"]);
  });

  test("idles without schedules, and notices new, changed and removed files", async () => {
    await using scheduled = await new Scheduled({ "a.yml": workflowText() }).start();
    const { cluster, clock, book } = scheduled;
    await scheduled.startScheduler();
    cluster.write("b.yml", cron("0 0 * * * *"));
    await book.waitFor(/1 workflow has a schedule/);
    cluster.write("c.yml", cron("0 30 * * * *"));
    await book.waitFor(/2 workflows have schedules/);
    clock.time = Date.parse("2025-03-03T12:31:00Z");
    expect(await scheduled.times(1)).toEqual(["12:30:00"]);
    // Another schedule counts from when it was first seen: what it would have fired before is not made up for.
    cluster.write("b.yml", cron("0 15 * * * *"));
    await book.waitFor(/Workflow b fires next at .*13:15:00/);
    clock.time = Date.parse("2025-03-03T13:20:00Z");
    expect(await scheduled.times(2)).toEqual(["12:30:00", "13:15:00"]);
    for (const name of ["b.yml", "c.yml"]) rmSync(join(cluster.directory, "workflows", name));
    await book.waitFor(/No workflow has a schedule/);
    clock.time += 24 * HOUR;
    cluster.write("d.yml", cron("0 0 * * * *"));
    await book.waitFor(/Workflow d fires next/);
    expect(await scheduled.runs(2)).toHaveLength(2);
  });

  test("does not fire before the start time", async () => {
    await using scheduled = await new Scheduled({
      "a.yml": cron("0 * * * * *", "\nstart_time: 2025-03-03T12:10:00Z"),
    }).start();
    await scheduled.startScheduler();
    await scheduled.book.waitFor(/1 workflow has a schedule/);
    scheduled.clock.time = Date.parse("2025-03-03T12:10:30Z");
    await scheduled.runs(1);
    scheduled.clock.time = Date.parse("2025-03-03T12:11:30Z");
    expect(await scheduled.times(2)).toEqual(["12:10:00", "12:11:00"]);
  });
});

test("entries drop their own earlier firings only, and what fires twice at once is one run", async () => {
  const list =
    'timezone: UTC\nparams: {full: {type: bool, default: false}}\ncron:\n  - "0 * * * *"\n  - {cron: "30 12 * * *", params: {full: true}}\n  - "0 14 * * *"\n';
  const clock = new HandClock();
  await using cluster = await new TestPrincipal({
    workflows: { "a.yml": workflowText({ top: list }) },
    scheduler: true,
    clock,
    config: { CDKTR_SCHEDULER_START_POLL_FREQUENCY_MS: 10 },
  }).start();
  await cluster.book.waitFor(/1 workflow has a schedule/);
  const client = cluster.client();
  const count = async (status?: "SKIPPED") => (await client.listRuns({ status })).length;
  for (const [time, runs] of [
    ["12:31:00", 1],
    ["13:01:00", 2],
    // Two entries fire at 14:00.
    ["14:01:00", 3],
  ] as const) {
    clock.time = Date.parse(`2025-03-03T${time}Z`);
    await until(`${runs} runs`, async () => (await count()) === runs);
  }
  await until("the earlier one is dropped", async () => (await count("SKIPPED")) === 1);
  const runs = await Promise.all(
    (await client.listRuns({})).map((run) => client.getRun(run.workflow_instance_id)),
  );
  expect(
    runs
      .reverse()
      .map(({ status, params, scheduled_time_ms }) => [
        new Date(scheduled_time_ms ?? 0).toISOString().slice(11, 16),
        status,
        params?.full,
      ]),
  ).toEqual([
    ["12:30", "PENDING", "true"],
    ["13:00", "SKIPPED", "false"],
    ["14:00", "PENDING", "false"],
  ]);
});

describe("firings that were missed while no scheduler ran", () => {
  for (const [catchup, times] of [
    ["none", []],
    ["latest", ["15:00:00"]],
    ["all", ["13:00:00", "14:00:00", "15:00:00"]],
  ] as const) {
    test(`with catchup ${catchup}: ${times.length} of 3 run, and it is logged`, async () => {
      await using scheduled = await new Scheduled({
        "a.yml": cron("0 0 * * * *", `\ncatchup: ${catchup}`),
      }).start();
      // Seen at 12:00:30 for the first time; the principal comes back three hours later.
      await scheduled.cluster.stop();
      scheduled.clock.time += 3 * HOUR;
      await scheduled.cluster.start();
      await scheduled.startScheduler();
      await scheduled.book.waitFor(/3 firings, .* missed; catchup is/);
      expect(await scheduled.times(times.length)).toEqual([...times]);
      // A second start finds nothing missed but what was not wanted.
      await scheduled.stopScheduler();
      await scheduled.startScheduler();
      await scheduled.book.waitFor(/1 workflow has a schedule/, 2);
      scheduled.clock.time += HOUR;
      expect((await scheduled.times(times.length + 1)).at(-1)).toBe("16:00:00");
    });
  }
});

describe("a clock that is set", () => {
  test("an hour forward: what was jumped over follows catchup", async () => {
    await using scheduled = await new Scheduled({
      "all.yml": cron("0 */20 * * * *", "\ncatchup: all"),
      "latest.yml": cron("0 */20 * * * *"),
    }).start();
    await scheduled.startScheduler();
    await scheduled.book.waitFor(/2 workflows have schedules/);
    scheduled.clock.time += HOUR + 5 * MINUTE;
    const runs = await scheduled.runs(4);
    const count = (id: string) => runs.filter((run) => run.workflow_id === id).length;
    expect([count("all"), count("latest")]).toEqual([3, 1]);
  });

  test("an hour back: nothing runs twice, and schedules continue from there", async () => {
    await using scheduled = await new Scheduled({ "a.yml": cron("0 */10 * * * *") }).start();
    await scheduled.startScheduler();
    await scheduled.book.waitFor(/1 workflow has a schedule/);
    scheduled.clock.time = Date.parse("2025-03-03T12:10:30Z");
    await scheduled.runs(1);
    scheduled.clock.time -= HOUR;
    await scheduled.book.waitFor(/set back by 3600 s/);
    scheduled.clock.time = Date.parse("2025-03-03T11:20:10Z");
    await scheduled.runs(2);
    // 12:10 comes a second time: it is a run already.
    scheduled.clock.time = Date.parse("2025-03-03T12:10:05Z");
    await scheduled.book.waitFor(/fires next at .*12:20:00/, 2);
    scheduled.clock.time = Date.parse("2025-03-03T12:20:05Z");
    expect(await scheduled.times(3)).toEqual(["12:10:00", "11:20:00", "12:20:00"]);
  });
});

test("a clock that is set back at the very moment at which the scheduler looks at it is noticed too", async () => {
  await using scheduled = await new Scheduled({ "a.yml": cron("0 */10 * * * *") }).start();
  const clock = new FickleClock();
  const scheduler = scheduled.scheduler("other", scheduled.cluster.ports.api, 5000, clock);
  await scheduler.start();
  await scheduled.book.waitFor(/Workflow a fires next at .*12:10:00/);
  clock.back = HOUR;
  await scheduled.book.waitFor(/The clock was set back by 3600 s/);
  await scheduled.book.waitFor(/Workflow a fires next at .*11:10:00/);
  await scheduler.stop();
});

describe("a principal that is away when it fires", () => {
  test("gets the firing when it is back", async () => {
    await using scheduled = await new Scheduled({ "a.yml": cron("0 0 * * * *") }).start();
    const { cluster, clock } = scheduled;
    const port = cluster.ports.api;
    const scheduler = scheduled.scheduler("other", port, 200);
    await scheduler.start();
    await scheduled.book.waitFor(/1 workflow has a schedule/);
    await cluster.stop();
    clock.time += HOUR;
    await scheduled.book.waitFor(/Triggers are buffered on disk/);
    await cluster.start({ CDKTR_PRINCIPAL_PORT: port });
    expect(await scheduled.times(1)).toEqual(["13:00:00"]);
    await scheduler.stop();
  });

  test("firings that waited long for it follow catchup, as missed ones do", async () => {
    await using scheduled = await new Scheduled({
      "all.yml": cron("0 0 * * * *", "\ncatchup: all"),
      "latest.yml": cron("0 0 * * * *"),
      "none.yml": cron("0 0 * * * *", "\ncatchup: none"),
    }).start();
    const { cluster, clock, book } = scheduled;
    const port = cluster.ports.api;
    const scheduler = scheduled.scheduler("other", port, 200);
    await scheduler.start();
    await book.waitFor(/3 workflows have schedules/);
    await cluster.stop();
    for (let hour = 1; hour <= 3; hour++) {
      clock.time = START - (START % HOUR) + hour * HOUR;
      await book.waitFor(/fires next at/, 3 * (hour + 1));
    }
    // Half an hour after the last one.
    clock.time += HOUR / 2;
    await book.waitFor(/was dropped: it is too late/, 5);
    await cluster.start({ CDKTR_PRINCIPAL_PORT: port });
    // A run may be there before the scheduler has the reply to its trigger.
    await until("every trigger is settled", () => scheduler.status.buffered === 0);
    const runs = await scheduled.runs(4);
    const count = (id: string) => runs.filter((run) => run.workflow_id === id).length;
    expect([count("all"), count("latest"), count("none")]).toEqual([3, 1, 0]);
    expect(scheduler.status).toMatchObject({ fired: 9, delivered: 4, dropped: 5, buffered: 0 });
    await scheduler.stop();
  });

  test("and a full disk: the firing is caught up when the principal is back", async () => {
    await using scheduled = await new Scheduled({ "a.yml": cron("0 0 * * * *") }).start();
    const { cluster, clock, book } = scheduled;
    const port = cluster.ports.api;
    const scheduler = scheduled.scheduler("other", port, 200);
    await scheduler.start();
    await book.waitFor(/1 workflow has a schedule/);
    // As a disk that is full: every insert fails.
    const file = join(cluster.directory, "other/listeners/scheduler/triggers.db");
    using db = new Database(file);
    db.run("CREATE TRIGGER full BEFORE INSERT ON triggers BEGIN SELECT RAISE(FAIL, 'disk I/O error'); END");
    clock.time += HOUR;
    // Straight to the principal; again when the clock has moved on, if the reply took too long.
    await until("it is delivered", () => {
      clock.time += 50;
      return scheduler.status.delivered === 1;
    });
    expect(await scheduled.times(1)).toEqual(["13:00:00"]);
    await book.waitFor(/cannot be written to disk: disk I\/O error/);
    await cluster.stop();
    const told = book.count(/a cannot be triggered now/);
    clock.time += HOUR;
    await book.waitFor(/a cannot be triggered now/, told + 1);
    expect(scheduler.status).toMatchObject({ buffered: 0, delivered: 1 });
    db.run("DROP TRIGGER full");
    clock.time += 5000;
    await book.waitFor(/Triggers are buffered on disk/);
    await cluster.start({ CDKTR_PRINCIPAL_PORT: port });
    expect(await scheduled.times(2)).toEqual(["13:00:00", "14:00:00"]);
    await scheduler.stop();
  });

  test("a workflow that needs parameters is refused: the principal says so with the workflow", async () => {
    await using scheduled = await new Scheduled({
      "a.yml": cron("0 * * * * *", "\nparams:\n  day: {}"),
    }).start();
    await scheduled.startScheduler();
    await scheduled.book.waitFor(/1 workflow has a schedule/);
    scheduled.clock.time += MINUTE;
    const refused = await until("the firing is refused", async () => {
      return (await scheduled.cluster.client().listWorkflows()).a?.refused ?? undefined;
    });
    expect(refused).toMatchObject({ trigger: "cron", message: expect.stringContaining('parameter "day"') });
    scheduled.clock.time += MINUTE;
    scheduled.cluster.write("b.yml", cron("0 * * * * *"));
    await scheduled.book.waitFor(/2 workflows have schedules/);
    scheduled.clock.time += MINUTE;
    await scheduled.runs(1);
    expect((await scheduled.cluster.client().listWorkflows()).a?.refused).toEqual(refused);
  });
});

test("a real clock and a real second", async () => {
  await using cluster = await new TestPrincipal({
    workflows: { "a.yml": cron("* * * * * *") },
    scheduler: true,
  }).start();
  const client = cluster.client();
  const runs = await until("three runs", async () => {
    const found = await client.listRuns({});
    return found.length >= 3 && found;
  });
  for (const { workflow_instance_id: id, created_at_ms } of runs) {
    const { scheduled_time_ms } = await client.getRun(id);
    expect(scheduled_time_ms).toBe(Math.floor((scheduled_time_ms ?? 0) / 1000) * 1000);
    expect(created_at_ms).toBeGreaterThanOrEqual(scheduled_time_ms ?? 0);
  }
  expect(new Set(runs.map((run) => run.workflow_instance_id)).size).toBe(runs.length);
});

describe("a custom event listener", () => {
  class Doorbell extends EventListener {
    override readonly name = "doorbell";
    readonly made: (string | null)[] = [];
    async startListening(): Promise<void> {
      for (const ring of ["1", "2", "2"]) {
        const run = await this.runWorkflow("hello", { dedupeKey: `ring-${ring}` });
        this.made.push(run.workflow_instance_id);
      }
    }
  }

  test("makes runs for its events, each once", async () => {
    await using cluster = await new TestPrincipal().start();
    const doorbell = new Doorbell(cluster.client());
    await doorbell.startListening();
    expect(new Set(doorbell.made).size).toBe(2);
    const runs = await cluster.client().listRuns({});
    expect(runs.map((run) => run.trigger)).toEqual(["listener:doorbell", "listener:doorbell"]);
    expect((await failure(doorbell.runWorkflow("helo"))).message).toContain("did you mean");
  });
});
