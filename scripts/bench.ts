/**
 * `npm run bench [-- archive | members] [-- --json] [-- --quick | --long]`: what cdktr costs, beside what the same work costs without it, measured
 * in the same run on the same machine. `--quick` takes few samples, to see that the measurement itself works. With `archive`
 * only reads of archived history are measured; with `--long` they are from 3 million runs and 100 million lines, which takes an hour. With
 * `members` only several principals over PostgreSQL are, beside a single one.
 */
import { closeSync, fsyncSync, mkdtempSync, openSync, rmSync, writeFileSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Request } from "../src/zmq/index.ts";
import { archived } from "./bench/archive.ts";
import { CONCURRENCY, cpuMs, type Fleet, residentMb, startFleet } from "./bench/fleet.ts";
import { type Measure, markdown, median, quantile, timed } from "./bench/measure.ts";
import { firings, manySchedules } from "./bench/schedules.ts";
import { SignalPipe } from "./bench/signal-pipe.ts";
import { binaryIsFresh, buildBinary } from "./support/binary.ts";
import { BINARY, BUN, ROOT } from "./support/paths.ts";

const json = process.argv.includes("--json");
const quick = process.argv.includes("--quick");
const long = process.argv.includes("--long");
const onlyArchive = process.argv.includes("archive");
const onlyMembers = process.argv.includes("members");

const SAMPLES = quick ? 20 : 300;
const PAUSED_SAMPLES = quick ? 4 : 60;
/** Pauses between triggers as people make them, ms. */
const PAUSES = { from: 50, to: 550 };
const CHAIN = 40;
const PARALLEL = 100;
const CHAINS = quick ? 2 : 7;
const RUNS = quick ? 50 : 1000;
const LINES = quick ? 20_000 : 500_000;
const IDLE_MS = quick ? 1000 : 10_000;
const STARTS = quick ? 5 : 31;
const SCHEDULED_FILES = quick ? 2000 : 100_000;
const FIRINGS = quick ? 200 : 1000;
const ROUNDS = quick ? 2 : 6;
const ARCHIVED = quick
  ? { days: 3, runs: 100, lines: 5 }
  : long
    ? { days: 730, runs: 4110, lines: 33 }
    : { days: 365, runs: 400, lines: 33 };

const measures: Measure[] = [];

function say(text: string): void {
  console.error(text);
}

function record(...found: Measure[]): void {
  for (const measure of found) {
    measures.push(measure);
    say(
      `  ${measure.name}: ${measure.cdktr.toFixed(2)} ${measure.unit} (baseline ${measure.baseline?.toFixed(2) ?? "–"})`,
    );
  }
}

const task = (id: string, cmd: string, args: readonly string[], depends: readonly string[] = []) =>
  `  ${id}:\n    name: ${id}\n    depends: ${JSON.stringify(depends)}\n    config: !Subprocess\n      cmd: ${cmd}\n      args: ${JSON.stringify(args)}\n`;

const workflow = (...tasks: string[]) => `name: bench\ntasks:\n${tasks.join("")}`;

/** In a session of its own, as a task: on a busy machine that alone costs milliseconds, because Linux schedules each session as a group. */
async function spawnAndWait(command: string[]): Promise<void> {
  const child = Bun.spawn(command, { stdin: "ignore", stdout: "pipe", stderr: "pipe", detached: true });
  await child.exited;
}

let keys = 0;
async function trigger(fleet: Fleet, id: string): Promise<string> {
  const { workflow_instance_id } = await fleet.client.runTask(id, { dedupe_key: `bench ${++keys}` });
  return workflow_instance_id;
}

async function runToEnd(fleet: Fleet, id: string): Promise<void> {
  const runId = await trigger(fleet, id);
  for (;;) {
    const { status } = await fleet.client.waitRun(runId, 10_000);
    if (status === "COMPLETED") return;
    if (status !== "PENDING" && status !== "RUNNING") throw new Error(`a run of ${id} is ${status}`);
  }
}

async function latency(fleet: Fleet, pipe: SignalPipe): Promise<void> {
  say(`latency from trigger to the start of the task, ${SAMPLES} times`);
  const echo = Bun.spawn([BUN, join(ROOT, "scripts/bench/echo-server.ts")], {
    stdout: "pipe",
    stderr: "inherit",
  });
  const { value } = await echo.stdout.getReader().read();
  const socket = new Request();
  socket.connect(new TextDecoder().decode(value).trim());
  const ours: number[] = [];
  const raw: number[] = [];
  for (let i = -5; i < SAMPLES; i++) {
    const signalled = pipe.next();
    const started = performance.now();
    const runId = await trigger(fleet, "signal");
    await signalled;
    const took = performance.now() - started;
    // The next trigger meets an agent at rest.
    while ((await fleet.client.waitRun(runId, 10_000)).status !== "COMPLETED");

    const spawned = pipe.next();
    const begun = performance.now();
    await socket.send("PING");
    await socket.receive();
    const child = Bun.spawn(["sh", "-c", pipe.command], { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
    await spawned;
    const floor = performance.now() - begun;
    await child.exited;
    // The first ones warm up both sides.
    if (i >= 0) {
      ours.push(took);
      raw.push(floor);
    }
  }
  socket.close();
  echo.kill();
  const against = "a raw ZeroMQ round trip, then a spawn";
  record(
    { name: "trigger to task start, p50", unit: "ms", cdktr: median(ours), against, baseline: median(raw) },
    {
      name: "trigger to task start, p99",
      unit: "ms",
      cdktr: quantile(ours, 0.99),
      against,
      baseline: quantile(raw, 0.99),
    },
  );
}

/** As {@link latency}, on an idle system: processes sleep and caches are cold. */
async function latencyAfterPauses(fleet: Fleet, pipe: SignalPipe): Promise<void> {
  say(`latency from trigger to the start of the task after a pause, ${PAUSED_SAMPLES} times`);
  const echo = Bun.spawn([BUN, join(ROOT, "scripts/bench/echo-server.ts")], {
    stdout: "pipe",
    stderr: "inherit",
  });
  const { value } = await echo.stdout.getReader().read();
  const socket = new Request();
  socket.connect(new TextDecoder().decode(value).trim());
  const file = openSync(join(fleet.directory, "synced"), "w");
  const ours: number[] = [];
  const raw: number[] = [];
  const pauseNo = (i: number) => Bun.sleep(PAUSES.from + ((i * 97) % (PAUSES.to - PAUSES.from)));
  for (let i = 0; i < PAUSED_SAMPLES; i++) {
    await pauseNo(i);
    const signalled = pipe.next();
    const started = performance.now();
    const runId = await trigger(fleet, "signal");
    await signalled;
    ours.push(performance.now() - started);
    while ((await fleet.client.waitRun(runId, 10_000)).status !== "COMPLETED");

    await pauseNo(i);
    const spawned = pipe.next();
    const begun = performance.now();
    await socket.send("PING");
    await socket.receive();
    writeSync(file, "a run\n");
    fsyncSync(file);
    const child = Bun.spawn(["sh", "-c", pipe.command], { stdin: "ignore", stdout: "pipe", stderr: "pipe" });
    await spawned;
    raw.push(performance.now() - begun);
    await child.exited;
  }
  closeSync(file);
  socket.close();
  echo.kill();
  const against = "after the same pause, a raw ZeroMQ round trip, an fsync, then a spawn";
  for (const [name, q] of [
    ["p50", 0.5],
    ["p99", 0.99],
  ] as const) {
    record({
      name: `trigger to task start after a pause, ${name}`,
      unit: "ms",
      cdktr: quantile(ours, q),
      against,
      baseline: quantile(raw, q),
    });
  }
}

/** The first chain of a principal and an agent that have just started, beside later ones. */
async function firstChain(workflows: Readonly<Record<string, string>>): Promise<void> {
  say(`the first chain of ${CHAIN} tasks after a start`);
  const fresh = await startFleet(workflows);
  try {
    const first = await timed(() => runToEnd(fresh, "chain"));
    const later: number[] = [];
    for (let i = 0; i < CHAINS; i++) later.push(await timed(() => runToEnd(fresh, "chain")));
    record({
      name: `first chain of ${CHAIN} tasks after a start`,
      unit: "ms",
      cdktr: first,
      against: "later chains of the same processes",
      baseline: median(later),
    });
  } finally {
    await fresh.stop();
  }
}

async function parallel(fleet: Fleet): Promise<void> {
  say(`${PARALLEL} parallel tasks, ${CHAINS} times`);
  const ours: number[] = [];
  const raw: number[] = [];
  for (let i = -1; i < CHAINS; i++) {
    const took = await timed(() => runToEnd(fleet, "parallel"));
    const floor = await spawnsAtOnce(PARALLEL);
    if (i < 0) continue;
    ours.push(took);
    raw.push(floor);
  }
  record({
    name: `${PARALLEL} parallel tasks`,
    unit: "ms",
    cdktr: median(ours),
    against: `${PARALLEL} spawns in sessions of their own, ${CONCURRENCY} at once`,
    baseline: median(raw),
  });
}

/** How long this many spawns take, {@link CONCURRENCY} at once, ms. */
function spawnsAtOnce(count: number): Promise<number> {
  let left = count;
  return timed(() =>
    Promise.all(
      Array.from({ length: CONCURRENCY }, async () => {
        while (left-- > 0) await spawnAndWait(["true"]);
      }),
    ),
  );
}

async function chain(fleet: Fleet): Promise<void> {
  say(`a chain of ${CHAIN} tasks, ${CHAINS} times`);
  const ours: number[] = [];
  const raw: number[] = [];
  for (let i = -1; i < CHAINS; i++) {
    const took = await timed(() => runToEnd(fleet, "chain"));
    const floor = await timed(async () => {
      for (let n = 0; n < CHAIN; n++) await spawnAndWait(["true"]);
    });
    if (i < 0) continue;
    ours.push(took);
    raw.push(floor);
  }
  record({
    name: `chain of ${CHAIN} sequential tasks`,
    unit: "ms",
    cdktr: median(ours),
    against: `${CHAIN} spawns in sessions of their own, one after the other`,
    baseline: median(raw),
  });
}

async function manyRuns(fleet: Fleet): Promise<void> {
  say(`${RUNS} runs of one task`);
  const used = () => ({ principal: cpuMs(fleet.principalPid), agent: cpuMs(fleet.agentPid) });
  const before = used();
  const ours = await timed(async () => {
    await Promise.all(Array.from({ length: RUNS }, () => trigger(fleet, "one")));
    for (;;) {
      const { runs } = await fleet.client.info();
      if (runs.pending + runs.running === 0) return;
      await Bun.sleep(10);
    }
  });
  const after = used();
  const raw = await spawnsAtOnce(RUNS);
  record(
    {
      name: `${RUNS.toLocaleString("en")} one-task runs`,
      unit: "runs/s",
      cdktr: (RUNS / ours) * 1000,
      against: `${RUNS.toLocaleString("en")} spawns in sessions of their own, ${CONCURRENCY} at once`,
      baseline: (RUNS / raw) * 1000,
    },
    ...(["principal", "agent"] as const).map((who) => ({
      name: `a one-task run, CPU of the ${who}`,
      unit: "ms" as const,
      cdktr: (after[who] - before[who]) / RUNS,
      against: null,
      baseline: null,
    })),
  );
}

async function logLines(fleet: Fleet): Promise<void> {
  say(`${LINES.toLocaleString("en")} log lines into DuckDB`);
  const ours = await timed(async () => {
    await runToEnd(fleet, "lines");
    for (;;) {
      const { rows } = await fleet.client.queryDatabase({
        sql: "SELECT count(*) FROM logstore WHERE workflow_id = 'lines'",
      });
      const count = Number(rows[0]?.[0]);
      if (count === LINES) return;
      if (count > LINES) throw new Error(`${count} lines are in DuckDB, ${LINES} were printed`);
      await Bun.sleep(20);
    }
  });
  const raw = await rawAppender(fleet.directory);
  record({
    name: "log lines, from the task's print to DuckDB",
    unit: "lines/s",
    cdktr: (LINES / ours) * 1000,
    against: "DuckDB's row appender alone, in transactions of 5,000",
    baseline: (LINES / raw) * 1000,
  });
}

async function rawAppender(directory: string): Promise<number> {
  const { DuckDBInstance } = await import("@duckdb/node-api");
  const instance = await DuckDBInstance.create(join(directory, "baseline.db"));
  const connection = await instance.connect();
  await connection.run(
    "CREATE TABLE logstore(workflow_id VARCHAR, workflow_name VARCHAR, workflow_instance_id VARCHAR, task_name VARCHAR, task_instance_id VARCHAR, timestamp_ms BIGINT, level VARCHAR, payload VARCHAR)",
  );
  const run = crypto.randomUUID();
  const taskRun = crypto.randomUUID();
  const took = await timed(async () => {
    for (let first = 0; first < LINES; first += 5000) {
      await connection.run("BEGIN");
      const appender = await connection.createAppender("logstore");
      for (let i = first; i < Math.min(LINES, first + 5000); i++) {
        appender.appendVarchar("lines");
        appender.appendVarchar("bench");
        appender.appendVarchar(run);
        appender.appendVarchar("lines");
        appender.appendVarchar(taskRun);
        appender.appendBigInt(BigInt(Date.now()));
        appender.appendVarchar("INFO");
        appender.appendVarchar(`line ${i} of a task that prints as fast as it can`);
        appender.endRow();
      }
      appender.closeSync();
      await connection.run("COMMIT");
    }
  });
  connection.closeSync();
  instance.closeSync();
  return took;
}

async function idle(fleet: Fleet): Promise<void> {
  say(`idle for ${IDLE_MS / 1000} s`);
  const pids = { principal: fleet.principalPid, history: fleet.historyPid, agent: fleet.agentPid };
  const before = {
    principal: cpuMs(pids.principal),
    history: cpuMs(pids.history),
    agent: cpuMs(pids.agent),
  };
  const started = performance.now();
  await Bun.sleep(IDLE_MS);
  const passed = performance.now() - started;
  const share = (pid: number, from: number) => (100 * (cpuMs(pid) - from)) / passed;
  record(
    ...(["principal", "history", "agent"] as const).map((who) => {
      const name = `idle ${who}, CPU`;
      return {
        name,
        unit: "% of a core" as const,
        cdktr: share(pids[who], before[who]),
        against: null,
        baseline: null,
      };
    }),
  );
}

/** An executable that Bun makes of an empty file: the floor of start-up time and memory. */
async function emptyExecutable(directory: string): Promise<string> {
  const source = join(directory, "empty.ts");
  const outfile = join(directory, "empty");
  writeFileSync(source, "if (process.argv[2]) setInterval(() => {}, 1 << 30);\n");
  const built = await Bun.build({ entrypoints: [source], target: "bun", compile: { outfile } });
  if (!built.success) throw new Error(built.logs.map(String).join("\n"));
  return outfile;
}

async function memory(fleet: Fleet, empty: string, name: string): Promise<void> {
  const child = Bun.spawn([empty, "stay"]);
  await Bun.sleep(300);
  const baseline = residentMb(child.pid);
  child.kill();
  await child.exited;
  const against = "an empty Bun executable that waits";
  record(
    {
      name: `principal, memory ${name}`,
      unit: "MB",
      cdktr: residentMb(fleet.principalPid),
      against,
      baseline,
    },
    { name: `history, memory ${name}`, unit: "MB", cdktr: residentMb(fleet.historyPid), against, baseline },
    { name: `agent, memory ${name}`, unit: "MB", cdktr: residentMb(fleet.agentPid), against, baseline },
  );
}

async function startUp(empty: string): Promise<void> {
  say(`start-up, ${STARTS} times`);
  const times = { empty: [] as number[], version: [] as number[], help: [] as number[] };
  for (let i = 0; i < STARTS; i++) {
    times.empty.push(await timed(() => spawnAndWait([empty])));
    times.version.push(await timed(() => spawnAndWait([BINARY, "--version"])));
    times.help.push(await timed(() => spawnAndWait([BINARY, "--help"])));
  }
  const against = "an empty Bun executable";
  const baseline = median(times.empty);
  record(
    { name: "cdktr --version", unit: "ms", cdktr: median(times.version), against, baseline },
    { name: "cdktr --help", unit: "ms", cdktr: median(times.help), against, baseline },
  );
}

async function archive(): Promise<void> {
  const { days, runs, lines } = ARCHIVED;
  say(`${days} days of ${runs} runs with ${lines} lines each in the archive`);
  record(...(await archived(join(scratch, "archive"), ARCHIVED, quick ? 2 : 7)));
}

if (!binaryIsFresh()) {
  say("$ npm run build");
  const built = await buildBinary("capture");
  say(built.output.trim());
  if (built.code !== 0) process.exit(1);
}
const scratch = mkdtempSync(join(tmpdir(), "cdktr-bench-"));
const pipe = new SignalPipe(join(scratch, "signal"));
let fleet: Fleet | undefined;
const cleanUp = async () => {
  await fleet?.stop();
  rmSync(scratch, { recursive: true, force: true });
};
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => void cleanUp().then(() => process.exit(130)));
}
try {
  if (onlyArchive) await archive();
  else if (onlyMembers) record(...(await (await import("./bench/members.ts")).members(pipe, quick, say)));
  else await everything();
} finally {
  await cleanUp();
}

async function everything(): Promise<void> {
  const chained = Array.from({ length: CHAIN }, (_, i) =>
    task(`t${i}`, "true", [], i === 0 ? [] : [`t${i - 1}`]),
  );
  const printing = `BEGIN { for (i = 0; i < ${LINES}; i++) print "line " i " of a task that prints as fast as it can" }`;
  const workflows = {
    signal: workflow(task("signal", "sh", ["-c", pipe.command])),
    one: workflow(task("one", "true", [])),
    chain: workflow(...chained),
    parallel: workflow(...Array.from({ length: PARALLEL }, (_, i) => task(`t${i}`, "true", []))),
    lines: workflow(task("lines", "awk", [printing])),
  };
  fleet = await startFleet(workflows);
  const empty = await emptyExecutable(scratch);
  await idle(fleet);
  await memory(fleet, empty, "at first");
  await latency(fleet, pipe);
  await latencyAfterPauses(fleet, pipe);
  await chain(fleet);
  await parallel(fleet);
  await manyRuns(fleet);
  await logLines(fleet);
  await memory(fleet, empty, "after all this");
  await firstChain(workflows);
  await startUp(empty);
  await fleet.stop();
  fleet = undefined;
  say(`${FIRINGS} firings in one second, ${ROUNDS} times`);
  record(...(await firings(FIRINGS, ROUNDS)));
  say(`${SCHEDULED_FILES} files with schedules`);
  record(...(await manySchedules(SCHEDULED_FILES, IDLE_MS)));
  await archive();
}

const { cpus, totalmem } = await import("node:os");
const machine = `${cpus().length} × ${cpus()[0]?.model.trim()}, ${Math.round(totalmem() / 2 ** 30)} GiB, Bun ${Bun.version}`;
console.log(json ? JSON.stringify({ machine, measures }, null, 2) : `${markdown(measures)}\n\n${machine}`);
process.exit(0);
