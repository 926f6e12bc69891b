/** Pools and calendars of the workflow directory in a principal: the last valid ones count, also after a restart. */
import { describe, expect, test } from "bun:test";
import { mkdirSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../src/clock.ts";
import { FileHelper } from "../../src/host/file-helper/file-helper.ts";
import { LongPolls } from "../../src/principal/long-polls.ts";
import { WorkflowDirectory } from "../../src/principal/workflows/workflow-directory.ts";
import { SqliteOperationalStore } from "../../src/storage/operational/sqlite/store.ts";
import { readDay, textOfDay } from "../../src/workflow/calendar.ts";
import { LogBook, temporaryDirectory } from "./support.ts";

/** A workflow directory whose time stands still, unless a test moves it. */
async function world(path: string) {
  const book = new LogBook();
  const root = join(path, "flows");
  mkdirSync(join(root, "sub"), { recursive: true });
  const time = { nowMs: Date.UTC(2026, 10, 27, 12) };
  const poolChanges: number[] = [];
  let store = new SqliteOperationalStore({ directory: join(path, "data"), log: book.log });
  let workflows: WorkflowDirectory;
  const start = async () => {
    store = new SqliteOperationalStore({ directory: join(path, "data"), log: book.log });
    await store.start();
    workflows = new WorkflowDirectory({
      root,
      files: new FileHelper(),
      store,
      clock: { ...systemClock, now: () => time.nowMs },
      log: book.log,
      refreshMs: 3_600_000,
      settleMs: 0,
      polls: new LongPolls(),
      zone: "UTC",
      poolsChanged: () => poolChanges.push(1),
    });
    await workflows.start();
  };
  const stop = async () => {
    await workflows.stop();
    await store.stop();
  };
  await start();
  return {
    root,
    book,
    time,
    poolChanges,
    /** At once: a scan that a file event causes never sees half of it. */
    write: (name: string, text: string) => {
      writeFileSync(join(path, "written"), text);
      renameSync(join(path, "written"), join(root, name));
    },
    scan: () => workflows.scan(),
    restart: async () => {
      await stop();
      await start();
    },
    sizes: async () =>
      Object.fromEntries((await store.read((tx) => tx.listPools())).map(({ name, size }) => [name, size])),
    setPool: (name: string, size: number | null) =>
      store.transact((tx) => tx.setPool(name, size, "ops", time.nowMs)),
    calendars: () => workflows.calendars,
    channels: () => workflows.channels,
    declared: async (id: string) => (await workflows.declared()).find((workflow) => workflow.id === id),
    /** The days of a calendar in December; null if it cannot be used. */
    december: (name: string, year = 2026) => {
      const calendar = workflows.calendars.get(name);
      if (calendar === undefined) return null;
      const first = readDay(`${year}-12-01`) ?? 0;
      const days = Array.from({ length: 31 }, (_, n) => first + n).filter((day) => calendar.has(day));
      return days.map((day) => Number(textOfDay(day).slice(8)));
    },
    invalid: () => workflows.invalidFiles.map(({ path, error }) => [path, error.split("\n")[0]]),
    problems: async (id: string) => (await workflows.details(id))?.summary.trigger_problems,
    next: async (id: string) =>
      (await workflows.details(id))?.next_firings_ms?.map((at) => new Date(at).toISOString().slice(5, 16)),
    revision: () => workflows.revision,
    [Symbol.asyncDispose]: stop,
  };
}

const ics = (...events: readonly string[]): string =>
  `BEGIN:VCALENDAR\n${events.map((event) => `BEGIN:VEVENT\n${event}\nEND:VEVENT\n`).join("")}END:VCALENDAR\n`;
const on = (day: string): string => `DTSTART;VALUE=DATE:202612${day}`;

describe("pools", () => {
  test("have the sizes of the file; an invalid file changes nothing, also after a restart", async () => {
    using directory = temporaryDirectory();
    await using here = await world(directory.path);
    expect(await here.sizes()).toEqual({});
    expect(here.poolChanges).toHaveLength(0);
    here.write("_cdktr.yml", "pools: {warehouse: 4, mail: 1}\n");
    await here.scan();
    expect(await here.sizes()).toEqual({ warehouse: 4, mail: 1 });
    expect(here.poolChanges).toHaveLength(1);
    await here.scan();
    expect(here.poolChanges).toHaveLength(1);

    here.write("_cdktr.yml", "pools: {warehouse: many}\n");
    await here.scan();
    expect(await here.sizes()).toEqual({ warehouse: 4, mail: 1 });
    await here.restart();
    expect(await here.sizes()).toEqual({ warehouse: 4, mail: 1 });
    expect(here.invalid()).toEqual([["_cdktr.yml", expect.stringContaining("error[E094]")]]);

    // What a command has set wins, and stays.
    await here.setPool("warehouse", 2);
    here.write("_cdktr.yml", "pools: {warehouse: 7}\n");
    await here.scan();
    expect(await here.sizes()).toEqual({ warehouse: 2 });
    await here.setPool("warehouse", null);
    expect(await here.sizes()).toEqual({ warehouse: 7 });
    rmSync(join(here.root, "_cdktr.yml"));
    here.write("a.yml", "tasks: {a: {run: ls}}\n");
    await here.scan();
    await here.scan();
    expect(await here.sizes()).toEqual({});
  });
});

test("channels: the last valid ones count, also after a restart", async () => {
  using temporary = temporaryDirectory();
  await using here = await world(temporary.path);
  expect(here.channels()).toEqual(new Map());
  here.write("_cdktr.yml", "channels: {ops: {mail: ops@example.org}, page: {command: [page]}}\n");
  await here.scan();
  const before = here.channels();
  expect(Object.fromEntries(before)).toEqual({
    ops: { mail: { to: ["ops@example.org"], smtp: { host: "localhost" } } },
    page: { command: ["page"] },
  });
  await here.scan();
  expect(here.channels()).toBe(before);

  here.write("_cdktr.yml", "channels: {ops: {mail: nobody@}}\n");
  await here.scan();
  expect(here.channels()).toBe(before);
  await here.restart();
  expect(here.channels()).toEqual(before);
  expect(here.invalid()).toEqual([["_cdktr.yml", expect.stringContaining("error[E115]")]]);

  here.write("_cdktr.yml", "channels: {ops: {mail: ops@example.net}}\n");
  await here.scan();
  await here.restart();
  expect([...here.channels().keys()]).toEqual(["ops"]);
});

describe("calendars", () => {
  test("have the days of their items and files; the last valid ones count, also after a restart", async () => {
    using directory = temporaryDirectory();
    await using here = await world(directory.path);
    here.write("sub/holidays.ics", ics(on("24"), on("25")));
    here.write("_cdktr.yml", "calendars: {c: {include: [THU, FRI], ics: sub/holidays.ics}}\n");
    await here.scan();
    expect(here.december("c")).toEqual([3, 4, 10, 11, 17, 18, 31]);
    const [before, revision] = [here.calendars(), here.revision()];
    await here.scan();
    expect([here.calendars() === before, here.revision()]).toEqual([true, revision]);

    // A file that changes changes the calendar.
    here.write("sub/holidays.ics", ics(on("31"), on("03")));
    await here.scan();
    expect(here.december("c")).toEqual([4, 10, 11, 17, 18, 24, 25]);
    expect(here.revision()).toBeGreaterThan(revision);

    // One that is damaged, gone, or a link that leads out does not.
    here.write("sub/holidays.ics", `${ics(on("31"))}oops\n`);
    await here.scan();
    expect(here.december("c")).toEqual([4, 10, 11, 17, 18, 24, 25]);
    expect(here.invalid()).toEqual([
      ["sub/holidays.ics", "sub/holidays.ics:6: error[E045]: this is no line of a calendar"],
    ]);
    expect(here.book.count(/days that were read of it last stay in use/)).toBe(1);
    await here.restart();
    expect(here.december("c")).toEqual([4, 10, 11, 17, 18, 24, 25]);
    rmSync(join(here.root, "sub/holidays.ics"));
    await here.scan();
    expect(here.invalid()).toEqual([
      [
        "sub/holidays.ics",
        "sub/holidays.ics: error[E045]: there is no such file, which a calendar in _cdktr.yml names",
      ],
    ]);
    writeFileSync(join(directory.path, "outside.ics"), ics(on("18")));
    symlinkSync(join(directory.path, "outside.ics"), join(here.root, "sub/holidays.ics"));
    await here.scan();
    expect(here.invalid()).toEqual([
      [
        "sub/holidays.ics",
        "sub/holidays.ics: error[E045]: cannot be read: a link leads out of the workflow directory",
      ],
    ]);
    expect(here.december("c")).toEqual([4, 10, 11, 17, 18, 24, 25]);

    // Another file is read even if the settings were invalid in between.
    here.write("_cdktr.yml", "calendars: {c: {include: [NEVER]}}\n");
    await here.scan();
    expect(here.december("c")).toEqual([4, 10, 11, 17, 18, 24, 25]);
    here.write("other.ics", ics(on("04")));
    here.write(
      "_cdktr.yml",
      "calendars: {c: {include: FRI, ics: other.ics}, d: {ics: {file: other.ics, as: include}}}\n",
    );
    await here.scan();
    expect(here.december("c")).toEqual([11, 18, 25]);
    expect(here.december("d")).toEqual([4]);
    expect(here.invalid()).toEqual([]);
  });

  test("follow the rules of their files further each month", async () => {
    using directory = temporaryDirectory();
    await using here = await world(directory.path);
    here.write("yearly.ics", ics("DTSTART;VALUE=DATE:20201225\nRRULE:FREQ=YEARLY"));
    here.write("_cdktr.yml", "calendars: {c: {ics: {file: yearly.ics, as: include}}}\n");
    await here.scan();
    expect([here.december("c", 2035), here.december("c", 2040)]).toEqual([[25], []]);
    here.time.nowMs = Date.UTC(2031, 0, 1);
    await here.scan();
    expect(here.december("c", 2040)).toEqual([25]);
  });

  test("that do not exist stop the entries that name them, and say so, until they do", async () => {
    using directory = temporaryDirectory();
    await using here = await world(directory.path);
    here.write("a.yml", 'cron: [{cron: "0 6 * * *", calendar: workday}]\ntasks: {a: {run: ls}}\n');
    here.write("_cdktr.yml", "calendars: {workdays: {include: MON-FRI}}\n");
    await here.scan();
    expect(await here.next("a")).toEqual([]);
    expect(await here.problems("a")).toEqual(['there is no calendar "workday"']);
    expect(here.book.count(/a\.yml:1:28: warning\[W021\]: there is no calendar "workday"/)).toBe(1);
    here.write("b.yml", "cron: 0 6 * * *\ntasks: {a: {run: ls}}\n");
    await here.scan();
    // The scheduler looks at what is another object.
    const [a, b] = [await here.declared("a"), await here.declared("b")];
    expect([a?.calendars, b?.calendars]).toEqual([here.calendars(), undefined]);
    expect(await here.declared("a")).toBe(a as never);
    here.write("_cdktr.yml", "calendars: {workday: {include: MON-FRI, exclude: 12-01}}\n");
    await here.scan();
    expect((await here.declared("a"))?.calendars?.has("workday")).toBe(true);
    expect(await here.declared("b")).toBe(b as never);
    expect(await here.problems("a")).toEqual([]);
    expect(await here.next("a")).toEqual([
      "11-30T06:00",
      "12-02T06:00",
      "12-03T06:00",
      "12-04T06:00",
      "12-07T06:00",
    ]);
  });

  test("whose files were never valid cannot be used", async () => {
    using directory = temporaryDirectory();
    await using here = await world(directory.path);
    here.write("_cdktr.yml", "calendars: {c: {ics: gone.ics}, d: {include: FRI}}\n");
    await here.scan();
    expect([here.december("c"), here.december("d")]).toEqual([null, [4, 11, 18, 25]]);
    here.write("gone.ics", ics(on("04")));
    await here.scan();
    expect(here.december("c")).toHaveLength(30);

    // A file that could not be read is read again, although it has not changed since.
    const elsewhere = join(directory.path, "elsewhere");
    mkdirSync(elsewhere);
    writeFileSync(join(elsewhere, "new.ics"), ics(on("05"), on("06")));
    symlinkSync(elsewhere, join(here.root, "link"));
    here.write("_cdktr.yml", "calendars: {c: {ics: link/new.ics}}\n");
    await here.scan();
    expect([here.december("c"), here.invalid()]).toEqual([
      null,
      [
        [
          "link/new.ics",
          "link/new.ics: error[E045]: cannot be read: a link leads out of the workflow directory",
        ],
      ],
    ]);
    renameSync(elsewhere, join(here.root, "place"));
    rmSync(join(here.root, "link"));
    symlinkSync("place", join(here.root, "link"));
    await here.scan();
    expect([here.december("c")?.length, here.invalid()]).toEqual([29, []]);
  });
});
