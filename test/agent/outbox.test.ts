import { heapStats } from "bun:jsc";
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import {
  closeSync,
  mkdtempSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type LogFrame, type NewReport, Outbox } from "../../src/agent/outbox.ts";
import { OutboxLockedError, OutboxUnavailableError } from "../../src/agent/outbox-file.ts";
import { decodeLogBatch } from "../../src/contract/log-line.ts";
import type { TaskReport } from "../../src/contract/messages.ts";
import { turn } from "../../src/timer.ts";

const SOURCE = join(import.meta.dir, "../../src/agent/outbox.ts");

let directory: string;
let opened: Outbox[];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "cdktr-outbox-"));
  opened = [];
});
afterEach(() => {
  for (const outbox of opened) outbox.close();
  rmSync(directory, { recursive: true, force: true });
});

function open(limitBytes?: number): Outbox {
  const outbox = Outbox.open({ directory, agentId: "host", limitBytes });
  opened.push(outbox);
  return outbox;
}

const report = (status: "RUNNING" | "COMPLETED"): NewReport => ({
  kind: "run",
  workflow_id: "w",
  workflow_instance_id: "r",
  slice: 0,
  attempt: 1,
  status,
  timestamp_ms: 1,
  error: null,
});

const taskReport = (of: Partial<Omit<TaskReport, "kind" | "seq">> = {}): NewReport => ({
  kind: "task",
  workflow_id: "w",
  workflow_instance_id: "r",
  slice: 0,
  attempt: 1,
  task_id: "t",
  task_instance_id: "i",
  task_attempt: 1,
  status: "COMPLETED",
  timestamp_ms: 1,
  exit_code: 0,
  signal: null,
  error: null,
  cpu_ms: null,
  max_rss_kb: null,
  outputs: null,
  ...of,
});

/** A report of a task that has published so much. */
const published = (bytes: number): NewReport =>
  taskReport({ outputs: bytes === 0 ? null : { a: "é".repeat(bytes / 2) } });

const add = (outbox: Outbox, ...lines: string[]) => outbox.addLines(lines.join("\n"), lines.length);

function lines(outbox: Outbox, after = 0): string[] {
  outbox.flush();
  const found: string[] = [];
  let last = after;
  for (let frames = outbox.frames(last); frames.length > 0; frames = outbox.frames(last)) {
    for (const { frame, last: end } of frames) {
      found.push(...decodeLogBatch(new TextDecoder().decode(frame)).lines);
      last = end;
    }
  }
  return found;
}

describe("the report that a task run has begun", () => {
  const told = (outbox: Outbox) =>
    outbox
      .reports(0, 100)
      .map((r) => r.kind === "task" && [r.seq, r.task_instance_id, r.status, r.began_at_ms]);
  const begin = (id: string) => taskReport({ task_instance_id: id, status: "RUNNING", timestamp_ms: 5 });
  const end = (id: string, of: Partial<TaskReport> = {}) =>
    taskReport({ task_instance_id: id, timestamp_ms: 9, ...of });

  test("is part of that of the end if that follows at once; otherwise it comes before what follows", () => {
    const outbox = open();
    outbox.joinsReports = true;
    outbox.addReport(begin("short"));
    outbox.addReport(begin("long"));
    outbox.addReport(begin("again"));
    expect(told(outbox)).toEqual([]);
    outbox.addReport(end("short"));
    outbox.addReport(end("again", { status: "WAITING" }));
    outbox.addReport({ ...begin("again"), task_attempt: 2 } as NewReport);
    outbox.addReport(end("again", { task_attempt: 2, status: "FAILED" }));
    outbox.addReport(end("unbegun", { status: "SKIPPED" }));
    outbox.flush();
    outbox.addReport(end("long"));
    expect(told(outbox)).toEqual([
      [1, "short", "COMPLETED", 5],
      [2, "again", "RUNNING", undefined],
      [3, "again", "WAITING", undefined],
      [4, "again", "RUNNING", undefined],
      [5, "again", "FAILED", undefined],
      [6, "unbegun", "SKIPPED", undefined],
      [7, "long", "RUNNING", undefined],
      [8, "long", "COMPLETED", undefined],
    ]);
  });

  test("comes by itself, however many others begin and end meanwhile; an outbox that closes tells it", async () => {
    const outbox = open();
    outbox.joinsReports = true;
    const isTold = Promise.withResolvers<void>();
    outbox.attach({ lines: () => {}, reports: () => told(outbox).length === 31 && isTold.resolve() });
    for (let n = 0; n < 30; n++) {
      outbox.addReport(begin(`short ${n}`));
      if (n === 20) outbox.addReport(begin("long"));
      outbox.addReport(end(`short ${n}`));
    }
    await isTold.promise;
    expect(told(outbox).at(-1)).toEqual([31, "long", "RUNNING", undefined]);
    outbox.addReport(begin("last"));
    outbox.close();
    expect(told(open()).at(-1)).toEqual([32, "last", "RUNNING", undefined]);
  });

  test("is told as ever to a principal that knows no such reports, also if it comes in between", () => {
    const outbox = open();
    outbox.addReport(begin("old"));
    outbox.addReport(end("old"));
    outbox.joinsReports = true;
    outbox.addReport(begin("new"));
    outbox.joinsReports = false;
    outbox.addReport(end("new"));
    expect(told(outbox)).toEqual([
      [1, "old", "RUNNING", undefined],
      [2, "old", "COMPLETED", undefined],
      [3, "new", "RUNNING", undefined],
      [4, "new", "COMPLETED", undefined],
    ]);
  });
});

describe("numbers", () => {
  test("reports and lines are numbered from 1, and a report of a run knows the last line before it", () => {
    const outbox = open();
    expect([outbox.lastReportSeq, outbox.lastLogSeq, outbox.firstLogSeq]).toEqual([0, 0, 1]);
    expect(outbox.addReport(report("RUNNING"))).toBe(1);
    add(outbox, "a", "b");
    expect(outbox.addReport(report("COMPLETED"))).toBe(2);
    expect(outbox.reports(0, 10).map((r) => r.kind === "run" && [r.seq, r.status, r.log_seq])).toEqual([
      [1, "RUNNING", 0],
      [2, "COMPLETED", 2],
    ]);
    expect(outbox.reports(1, 10).map((r) => r.seq)).toEqual([2]);
    expect(lines(outbox)).toEqual(["a", "b"]);
  });

  test("reports that are sent together publish no more than fits into a request", () => {
    const outbox = open();
    for (let n = 0; n < 40; n++) outbox.addReport(published(n % 2 === 0 ? 250_000 : 0));
    const batches: number[] = [];
    for (
      let after = 0, batch = outbox.reports(0, 500);
      batch.length > 0;
      batch = outbox.reports(after, 500)
    ) {
      expect(Buffer.byteLength(JSON.stringify(batch))).toBeLessThan(5 * 1024 * 1024);
      batches.push(batch.length);
      after = batch.at(-1)?.seq ?? 0;
    }
    expect(batches).toEqual([32, 8]);
    expect(outbox.reports(0, 3).map(({ seq }) => seq)).toEqual([1, 2, 3]);
  });

  test("they continue after a restart, even if everything was acknowledged", () => {
    const outbox = open();
    outbox.addReport(report("RUNNING"));
    add(outbox, "a", "b", "c");
    const { streamId } = outbox;
    outbox.close();
    const again = open();
    expect(again.streamId).toBe(streamId);
    expect(again.reports(0, 10)).toHaveLength(1);
    expect(lines(again)).toEqual(["a", "b", "c"]);
    again.forgetReports(1);
    again.forgetLines(3);
    again.close();
    const third = open();
    expect([third.pendingReports, third.pendingLines, third.firstLogSeq]).toEqual([0, 0, 4]);
    expect(third.addReport(report("RUNNING"))).toBe(2);
    add(third, "d");
    expect(third.lastLogSeq).toBe(4);
  });

  test("frames that are acknowledged in part stay whole", () => {
    const outbox = open();
    add(outbox, "a", "b");
    outbox.flush();
    add(outbox, "c", "d");
    outbox.flush();
    outbox.forgetLines(1);
    expect([outbox.firstLogSeq, lines(outbox)]).toEqual([1, ["a", "b", "c", "d"]]);
    outbox.forgetLines(3);
    expect([outbox.firstLogSeq, lines(outbox)]).toEqual([3, ["c", "d"]]);
    expect(lines(outbox, 3)).toEqual(["c", "d"]);
  });

  test("where the principal's numbers are ahead, as after a power failure, they lead on", () => {
    const outbox = open();
    add(outbox, "a");
    outbox.catchUp(7, 9);
    add(outbox, "b");
    expect(outbox.addReport(report("RUNNING"))).toBe(8);
    outbox.flush();
    expect(outbox.frames(1).map((frame) => [frame.first, frame.last])).toEqual([[10, 10]]);
    outbox.catchUp(0, 0);
    outbox.close();
    expect(open().lastLogSeq).toBe(10);
  });
});

describe("readers", () => {
  test("are notified of each frame once, in order, and of reports, without delay", async () => {
    const outbox = open();
    const frames: LogFrame[] = [];
    const heard = Promise.withResolvers<void>();
    outbox.attach({ lines: (frame) => frames.push(frame), reports: () => heard.resolve() });
    for (let i = 0; i < 100; i++) {
      add(outbox, `line ${i}`);
      if (i % 10 === 0) await new Promise<void>((resolve) => setImmediate(resolve));
    }
    outbox.addReport(report("RUNNING"));
    await heard.promise;
    expect(frames.flatMap((frame) => decodeLogBatch(new TextDecoder().decode(frame.frame)).lines)).toEqual(
      Array.from({ length: 100 }, (_, i) => `line ${i}`),
    );
    expect(frames.map((frame) => frame.first)).toEqual(frames.map((_, i) => (frames[i - 1]?.last ?? 0) + 1));
    expect(frames.length).toBeLessThan(100);
  });

  test("reports of tasks wait for others; news of runs, and ends for which other agents wait, are urgent", async () => {
    const outbox = open();
    let told = Promise.withResolvers<[isUrgent: boolean, lastSeq: number | undefined]>();
    const heard = async () => {
      const news = await told.promise;
      told = Promise.withResolvers();
      return news;
    };
    outbox.attach({
      lines: () => {},
      reports: (isUrgent) => told.resolve([isUrgent, outbox.reports(0, 10).at(-1)?.seq]),
    });
    outbox.addReport(taskReport({ status: "RUNNING" }));
    // One that is not urgent is not written in the same turn.
    await turn();
    outbox.addReport(taskReport());
    outbox.addReport(report("COMPLETED"));
    expect(await heard()).toEqual([true, 3]);
    outbox.addReport(taskReport({ status: "RUNNING" }));
    expect(await heard()).toEqual([false, 4]);
    outbox.addReport(taskReport({ slice: 1, status: "RUNNING" }));
    expect(await heard()).toEqual([false, 5]);
    outbox.addReport(taskReport({ slice: 1 }));
    expect(await heard()).toEqual([true, 6]);
  });

  test("data is on disk before readers are notified", async () => {
    const outbox = open();
    let kept = -1;
    const told = Promise.withResolvers<void>();
    outbox.attach({
      lines: (frame) => {
        kept = outbox.frames(0).at(-1)?.last ?? -1;
        expect(kept).toBe(frame.last);
        told.resolve();
      },
      reports: () => {},
    });
    add(outbox, "x");
    await told.promise;
    expect(kept).toBe(1);
  });
});

describe("room", () => {
  test("ends at the limit and comes back when lines are acknowledged", async () => {
    const outbox = open(10_000);
    expect(outbox.room()).toBeUndefined();
    add(outbox, "x".repeat(6000));
    outbox.flush();
    add(outbox, "y".repeat(6000));
    const room = outbox.room();
    expect(room).toBeDefined();
    let come = false;
    void room?.then(() => {
      come = true;
    });
    outbox.flush();
    await Promise.resolve();
    expect(come).toBe(false);
    outbox.forgetLines(1);
    await room;
    expect(outbox.room()).toBeUndefined();
    expect(lines(outbox)).toEqual(["y".repeat(6000)]);
  });

  test("reports count, and tasks do not start while they have much of a full outbox", async () => {
    const outbox = open(100_000);
    const order: string[] = [];
    add(outbox, "x".repeat(90_000));
    outbox.addReport(published(20_000));
    outbox.flush();
    // Log lines wait; what tasks that start now may publish still has room.
    void outbox.room()?.then(() => order.push("lines"));
    expect(outbox.roomForTasks()).toBeUndefined();
    outbox.addReport(published(20_000));
    outbox.flush();
    void outbox.roomForTasks()?.then(() => order.push("tasks"));
    expect(outbox.roomForTasks()).toBeDefined();
    outbox.forgetReports(1);
    await Promise.resolve();
    expect([order, outbox.roomForTasks()]).toEqual([["tasks"], undefined]);
    expect(outbox.room()).toBeDefined();
    outbox.forgetReports(2);
    outbox.forgetLines(1);
    await Promise.resolve();
    expect(order).toEqual(["tasks", "lines"]);
  });

  test("reports that wait are on disk, not in memory, and are delivered from there, also after a restart", () => {
    const outbox = open();
    for (let n = 0; n < 20; n++) outbox.addReport(published(250_000 + 2 * n));
    outbox.flush();
    Bun.gc(true);
    const before = heapStats().heapSize;
    for (let n = 20; n < 200; n++) {
      outbox.addReport(published(250_000 + 2 * n));
      outbox.flush();
    }
    Bun.gc(true);
    // They are 45 MB.
    expect(heapStats().heapSize - before).toBeLessThan(10_000_000);
    const lengths = (from: Outbox) => {
      const found: number[] = [];
      for (let after = 0, batch = from.reports(0, 500); batch.length > 0; batch = from.reports(after, 500)) {
        for (const one of batch) {
          if (one.kind === "task") found.push(String(one.outputs?.a).length * 2);
          after = one.seq;
        }
      }
      return found;
    };
    const all = Array.from({ length: 200 }, (_, n) => 250_000 + 2 * n);
    expect(lengths(outbox)).toEqual(all);
    outbox.forgetReports(50);
    outbox.close();
    expect(lengths(open())).toEqual(all.slice(50));
  });

  test("data left by an earlier process counts", () => {
    const outbox = open();
    add(outbox, "x".repeat(6000));
    outbox.close();
    expect(open(5000).room()).toBeDefined();
  });

  test("a file that was large gives its space back", () => {
    const outbox = open();
    const size = () => statSync(join(directory, "outbox.db")).size;
    for (let i = 0; i < 80; i++) {
      add(outbox, "x".repeat(300_000));
      outbox.flush();
    }
    outbox.forgetLines(80);
    outbox.close();
    expect(size()).toBeLessThan(4 * 1024 * 1024);
  });
});

describe("another installation", () => {
  test("what waits for one that was left is kept for 30 days on which the agent was elsewhere, then dropped", () => {
    let now = Date.UTC(2026, 0, 1);
    const outbox = Outbox.open({ directory, agentId: "host", now: () => now });
    opened.push(outbox);
    outbox.turnTo("one");
    add(outbox, "a", "b");
    outbox.addReport(report("COMPLETED"));
    outbox.turnTo("two");
    const day = 86_400_000;
    // A clock that is wrong once, and several registrations on one day.
    for (const ms of [0, 3650 * day, 1, 2]) {
      now = Date.UTC(2026, 0, 1) + ms;
      outbox.registered("session");
    }
    for (let n = 1; n < 28; n++) {
      now = Date.UTC(2026, 0, 1) + n * day;
      outbox.registered("session");
    }
    outbox.turnTo("one");
    expect([outbox.pendingReports, outbox.pendingLines]).toEqual([1, 2]);
    outbox.turnTo("two");
    for (let n = 100; n < 131; n++) {
      now = Date.UTC(2026, 0, 1) + n * day;
      outbox.registered("session");
    }
    outbox.turnTo("one");
    expect([outbox.pendingReports, outbox.pendingLines]).toEqual([0, 0]);
  });
});

describe("one process at a time", () => {
  test("a second one gets an error that names the owner and the remedy", () => {
    open();
    expect(() => open()).toThrow(OutboxLockedError);
    expect(() => open()).toThrow(`is already running on this host (pid ${process.pid})`);
  });

  test("also when it is another process; its end lets go, however it ends, and loses nothing that was told", async () => {
    const script = `
      import { Outbox } from ${JSON.stringify(SOURCE)};
      const outbox = Outbox.open({ directory: ${JSON.stringify(directory)}, agentId: "host" });
      let n = 0;
      outbox.attach({ lines: (frame) => process.stdout.write(frame.last + "\\n"), reports() {} });
      setInterval(() => { for (let i = 0; i < 50; i++) outbox.addLines("line " + ++n, 1); }, 1);
    `;
    const child = Bun.spawn([process.execPath, "-e", script], { stdout: "pipe", stderr: "inherit" });
    let told = "";
    for await (const chunk of child.stdout) {
      told += new TextDecoder().decode(chunk);
      if (told.split("\n").length < 50) continue;
      expect(() => open()).toThrow(OutboxLockedError);
      child.kill("SIGKILL");
      break;
    }
    await child.exited;
    const last = Number(told.trimEnd().split("\n").at(-2));
    expect(last).toBeGreaterThan(0);
    const found = lines(open());
    expect(found.length).toBeGreaterThanOrEqual(last);
    expect(found).toEqual(found.map((_, i) => `line ${i + 1}`));
  });

  test("a directory that cannot be used is an error that says which", () => {
    const path = join(directory, "file");
    writeFileSync(path, "");
    expect(() => Outbox.open({ directory: join(path, "x"), agentId: "host" })).toThrow(
      OutboxUnavailableError,
    );
    expect(() => Outbox.open({ directory: join(path, "x"), agentId: "host" })).toThrow(path);
  });
});

describe("trouble with the disk", () => {
  test("a report that can no longer be read is passed over: those after it are delivered", () => {
    const outbox = open();
    // Too many to be kept in memory as well.
    for (let n = 1; n <= 8; n++) outbox.addReport(published(1_000_000));
    outbox.addReport(taskReport({ task_id: "damaged", outputs: { a: "x".repeat(1_000_000) } }));
    outbox.addReport(taskReport({ task_id: "last" }));
    outbox.flush();
    for (const name of ["outbox.db", "outbox.db-wal"]) {
      const bytes = readFileSync(join(directory, name));
      const file = openSync(join(directory, name), "r+");
      for (let at = bytes.indexOf('"damaged"'); at !== -1; at = bytes.indexOf('"damaged"', at + 1))
        writeSync(file, "damage", at);
      closeSync(file);
    }
    const read: number[] = [];
    for (
      let after = 0, batch = outbox.reports(0, 500);
      batch.length > 0;
      batch = outbox.reports(after, 500)
    ) {
      read.push(...batch.map(({ seq }) => seq));
      after = batch.at(-1)?.seq ?? 0;
    }
    expect(read).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 10]);
    expect([outbox.pendingReports, outbox.lastReportSeq]).toEqual([9, 10]);
    outbox.forgetReports(10);
    expect(outbox.pendingReports).toBe(0);
  });

  test("a damaged file is moved aside, and a new stream begins", () => {
    const outbox = open();
    const { streamId } = outbox;
    add(outbox, "lost");
    outbox.close();
    writeFileSync(
      join(directory, "outbox.db"),
      "this is no database, this is no database, this is no database",
    );
    const again = open();
    expect(again.streamId).not.toBe(streamId);
    expect(again.lastLogSeq).toBe(0);
    add(again, "works");
    expect(lines(again)).toEqual(["works"]);
    expect(readdirSync(directory).some((name) => name.startsWith("outbox.db.broken-"))).toBe(true);
  });

  test("a full disk: everything stays in memory and is delivered from there; it is written when there is space", async () => {
    // A file system of its own, small; possible where the test may make one.
    const mount = join(directory, "small");
    const script = `
      import { mkdirSync, rmSync, writeFileSync } from "node:fs";
      import { Outbox } from ${JSON.stringify(SOURCE)};
      const directory = ${JSON.stringify(mount)};
      const outbox = Outbox.open({ directory: directory + "/data", agentId: "host" });
      const frames = [];
      outbox.attach({ lines: (frame) => frames.push(frame.last), reports() {} });
      try { writeFileSync(directory + "/ballast", Buffer.alloc(12 << 20)); } catch {}
      for (let i = 0; i < 40; i++) outbox.addLines("x".repeat(30_000), 1), outbox.flush();
      outbox.addReport({ kind: "run", workflow_id: "w", workflow_instance_id: "r", slice: 0, attempt: 1, status: "FAILED", timestamp_ms: 1, error: null });
      outbox.flush();
      const full = { failed: outbox.failure !== undefined, frames: frames.length, reports: outbox.reports(0, 9).length };
      const seen = new Set();
      for (let after = 0, found; (found = outbox.frames(after)).length > 0; ) for (const f of found) { seen.add(f.last); after = f.last; }
      rmSync(directory + "/ballast");
      // It tries by itself, and does not say when.
      while (outbox.failure !== undefined) await Bun.sleep(20);
      outbox.close();
      const again = Outbox.open({ directory: directory + "/data", agentId: "host" });
      console.log(JSON.stringify({ ...full, seen: seen.size, afterwards: [again.pendingReports, again.pendingLines] }));
    `;
    const child = Bun.spawn(
      [
        "unshare",
        "--user",
        "--map-root-user",
        "--mount",
        "sh",
        "-c",
        'mkdir -p "$1" && mount -t tmpfs -o size=6m none "$1" || exit 77; exec "$2" -e "$3"',
        "sh",
        mount,
        process.execPath,
        script,
      ],
      { stdout: "pipe", stderr: "pipe" },
    );
    const [status, out, err] = await Promise.all([
      child.exited,
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
    ]);
    if (status === 77 || /unshare/.test(err)) return;
    if (out === "") throw new Error(err);
    expect(err).toContain("cannot write its outbox");
    expect(err).toContain("can write its outbox again");
    expect(JSON.parse(out)).toEqual({ failed: true, frames: 40, reports: 1, seen: 40, afterwards: [1, 40] });
  });
});
