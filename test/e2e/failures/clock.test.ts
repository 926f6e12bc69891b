/** The clock jumps while cdktr runs, and schedules that fire while it does not. */
import { expect, test } from "bun:test";
import { rmSync, writeFileSync } from "node:fs";
import { Cluster, freePorts, startCluster } from "../../support/cdktr.ts";
import { runOver, shellWorkflow, TemporaryDirectory, until } from "../support/fixtures.ts";
import { FakeClock } from "./fake-clock.ts";
import { numbers, numbersOf, PATIENT, trigger, upTo } from "./support.ts";

const HOUR = 3600;

test("an hour forward, then back: no agent is lost, nothing times out, and a repeated hour fires once", async () => {
  using directory = new TemporaryDirectory();
  const clock = await FakeClock.createHalfPast(directory.path("clock"));
  const task = { sh: numbers(20, directory.path("gate")), extra: "    timeout: 10m\n" };
  await using cluster = new Cluster(
    {
      env: PATIENT,
      workflows: {
        "gated.yml": shellWorkflow({ a: task }, "timeout: 15m\n"),
        "silent.yml": shellWorkflow({
          a: { sh: `while [ ! -e ${directory.path("gate")} ]; do sleep 0.05; done` },
        }),
        // Fires at each full hour, and the fake clock passes one with each jump of an hour.
        "hourly.yml": shellWorkflow({ a: { sh: "echo hourly" } }, 'cron: "0 0 * * * *"\n'),
      },
    },
    await freePorts(3),
  );
  const principal = await cluster.startPrincipal([], clock);
  const agent = await cluster.startAgent([], clock);
  const hasPrinted = (id: string) =>
    until("its first line is there", async () => {
      const { rows } = await cluster.client.searchLogs({ workflow_instance_id: id });
      return rows.length === 1;
    });
  const run = await trigger(cluster, "gated");
  await hasPrinted(run);
  const hourly = () => cluster.client.listRuns({ limit: 100, workflow_id: "hourly" });
  const heartbeats = () => cluster.client.registeredAgents().then(([known]) => known);

  clock.set(HOUR);
  const fired = await until("the hour that was skipped fires", async () => {
    const runs = await hourly();
    return runs.length > 0 && runs;
  });
  expect((await runOver(cluster.client, fired[0]?.workflow_instance_id ?? "")).status).toBe("COMPLETED");
  await until("the agent is heard of at the new time", async () => {
    const known = await heartbeats();
    return known !== undefined && known.last_heartbeat_ms > clock.now() - 60_000;
  });
  const asked = performance.now();
  const silent = await trigger(cluster, "silent");
  await until("its task runs", async () => (await cluster.client.getRun(silent)).tasks.length === 1);
  const seen = performance.now();
  const forward = await trigger(cluster, "gated");

  clock.set(0);
  await principal.waitFor(/The clock was set back by 3[56]\d\d s; schedules continue from there/);
  await until("the agent is heard of at the old time", async () => {
    const known = await heartbeats();
    return known !== undefined && known.last_heartbeat_ms < clock.now() + 60_000;
  });
  const back = await trigger(cluster, "gated");
  await hasPrinted(back);
  // The same hour again.
  clock.set(HOUR);
  await principal.waitFor(/hourly: the firing of .* missed(.|\n)*hourly: the firing of .* missed/);
  clock.set(0);

  const least = performance.now() - seen;
  writeFileSync(directory.path("gate"), "");
  for (const id of [run, forward, back]) {
    const over = await runOver(cluster.client, id);
    expect(over).toMatchObject({ status: "COMPLETED", attempt: 1 });
    expect(over.started_at_ms).toBeLessThanOrEqual(over.finished_at_ms ?? 0);
    for (const done of over.tasks) expect(done.started_at_ms).toBeLessThanOrEqual(done.finished_at_ms ?? 0);
    expect(await numbersOf(cluster.client, id, 20)).toEqual(upTo(20));
    // The lines of a task keep their order in time too, except after what was printed before the clock was set back.
    const { rows } = await cluster.client.searchLogs({ workflow_instance_id: id });
    const times = rows.map((row) => row[5]);
    if (id !== forward) expect(times).toEqual([...times].sort((a, b) => a - b));
    expect(rows.filter((row) => row[7].startsWith("line ")).map((row) => row[7])).toEqual(
      upTo(20).map((number) => `line ${number}`),
    );
  }
  // Its end is before its begin by the clock, but not by the time that passed.
  const over = await runOver(cluster.client, silent);
  const most = performance.now() - asked;
  const expectReal = (duration: unknown) => {
    expect(Number(duration)).toBeGreaterThanOrEqual(Math.floor(least));
    expect(Number(duration)).toBeLessThanOrEqual(Math.ceil(most));
  };
  for (const { duration_ms } of [over, ...over.tasks]) expectReal(duration_ms);
  for (const view of ["workflow_runs", "task_runs"]) {
    const sql = `SELECT duration_ms FROM ${view} WHERE workflow_instance_id = '${silent}'`;
    expectReal((await cluster.client.queryDatabase({ sql })).rows[0]?.[0]);
  }
  const shown = await cluster.cdktr(["runs", "show", silent]);
  expect(shown.stdout).toMatch(/Took +[1-9]/);
  const scheduled = (
    await Promise.all((await hourly()).map((one) => cluster.client.getRun(one.workflow_instance_id)))
  ).map((one) => one.scheduled_time_ms);
  expect(new Set(scheduled).size).toBe(scheduled.length);
  expect((await heartbeats())?.status).toBe("UP");
  for (const process of [principal, agent])
    expect(process.stderr).not.toMatch(/lost|was suspended for \d{6,} ms|crashed/);
}, 60_000);

test("firings missed while the principal was down: none, the latest, or all of them run, and it says so", async () => {
  using directory = new TemporaryDirectory();
  const clock = await FakeClock.createHalfPast(directory.path("clock"));
  const hourly = (catchup: string) =>
    shellWorkflow(
      { a: { sh: "true" } },
      `cron: "0 0 * * * *"\n${catchup === "" ? "" : `catchup: ${catchup}\n`}`,
    );
  await using cluster = new Cluster(
    {
      env: PATIENT,
      workflows: {
        "none.yml": hourly("none"),
        "latest.yml": hourly("latest"),
        "all.yml": hourly("all"),
        "unsaid.yml": hourly(""),
      },
    },
    await freePorts(3),
  );
  const first = await cluster.startPrincipal([], clock);
  await first.waitFor(/4 workflows have schedules/);
  const noted = clock.now();
  first.kill("SIGKILL");
  await first.finished;

  clock.set(3 * HOUR);
  const second = await cluster.startPrincipal([], clock);
  const missed: number[] = [];
  const now = clock.now();
  for (let at = now - (now % (HOUR * 1000)); at > noted; at -= HOUR * 1000) missed.unshift(at);
  expect(missed.length).toBe(3);
  const scheduled = async (workflow_id: string) => {
    const runs = await cluster.client.listRuns({ limit: 100, workflow_id });
    const details = await Promise.all(runs.map((run) => cluster.client.getRun(run.workflow_instance_id)));
    return details.map((run) => run.scheduled_time_ms ?? 0).sort((a, b) => a - b);
  };
  const expected = { none: [], latest: missed.slice(-1), all: missed, unsaid: missed.slice(-1) };
  for (const [workflow, times] of Object.entries(expected)) {
    await second.waitFor(new RegExp(`Workflow ${workflow}: ${missed.length} firings, .* missed; catchup is`));
    await until(`${workflow} has its runs`, async () => (await scheduled(workflow)).length >= times.length);
    expect(await scheduled(workflow)).toEqual(times);
  }
  expect(second.stderr).toMatch(/catchup is "none": none of them run/);
  // Once caught up, a further start finds nothing to do.
  second.kill("SIGKILL");
  await second.finished;
  const third = await cluster.startPrincipal([], clock);
  await third.waitFor(/4 workflows have schedules/);
  expect(third.stderr).not.toMatch(/Workflow (latest|all|unsaid): .* missed/);
  for (const [workflow, times] of Object.entries(expected)) expect(await scheduled(workflow)).toEqual(times);
}, 60_000);

test.each([-HOUR, HOUR])(
  "the clock of an agent is off by %d s: times of its runs and lines are right, and --last finds them",
  async (off) => {
    using directory = new TemporaryDirectory();
    const clock = await FakeClock.create(directory.path("clock"));
    clock.set(off);
    const task = { sh: "echo one; while [ ! -e $GATE ]; do sleep 0.02; done; echo two" };
    const workflows = { "w.yml": shellWorkflow({ a: task }, `env:\n  GATE: ${directory.path("gate")}\n`) };
    await using cluster = await startCluster({ env: PATIENT, workflows });
    await cluster.startAgent([], clock);
    const began = Date.now();
    const id = await trigger(cluster, "w");
    await until("the task runs", async () => (await cluster.client.getRun(id)).tasks.length === 1);
    const ran = Date.now();
    // The duration of the run is compared.
    await until("it runs for a second", async () => Date.now() > ran + 1000);
    writeFileSync(directory.path("gate"), "");
    const run = await runOver(cluster.client, id);
    const ended = Date.now();
    const [started, finished] = [run.started_at_ms ?? 0, run.finished_at_ms ?? 0];
    expect(started).toBeGreaterThanOrEqual(began);
    expect(started).toBeLessThanOrEqual(ran);
    expect(finished - started).toBeGreaterThanOrEqual(1000);
    expect(finished).toBeLessThanOrEqual(ended);

    const lines = await cluster.cdktr(["logs", "query", "--workflow", "w", "--last", "10m"]);
    expect(lines.stdout).toMatch(/one\n(.|\n)*two/);
    const expectRightTimes = async (runId: string, from: number, to: number) => {
      const { rows } = await cluster.client.searchLogs({ workflow_instance_id: runId });
      expect(rows.length).toBe(2);
      for (const row of rows) {
        expect(row[5]).toBeGreaterThanOrEqual(from);
        expect(row[5]).toBeLessThanOrEqual(to + 3000);
      }
    };
    await expectRightTimes(id, began, ended);

    // The clock goes wrong the other way while a run is executed: heartbeats tell.
    rmSync(directory.path("gate"));
    const next = await trigger(cluster, "w");
    await until("the task runs", async () => (await cluster.client.getRun(next)).tasks.length === 1);
    await until("its first line is there", async () => {
      return (await cluster.client.searchLogs({ workflow_instance_id: next })).rows.length === 1;
    });
    clock.set(-off);
    await cluster.principal?.waitFor(
      new RegExp(`The clock of agent .* ${off > 0 ? "behind" : "ahead of"} the`),
    );
    writeFileSync(directory.path("gate"), "");
    const over = await runOver(cluster.client, next);
    expect(over.finished_at_ms).toBeLessThanOrEqual(Date.now());
    expect(over.finished_at_ms).toBeGreaterThan(over.started_at_ms ?? Number.NaN);
    await expectRightTimes(next, ended, Date.now());
  },
  60_000,
);
