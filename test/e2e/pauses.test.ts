/** Paused workflows: what is held, what is missed and follows catchup, and that all of it outlives a principal that is killed. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { RunSummary } from "../../src/contract/messages.ts";
import { type Cluster, freePorts, startCluster } from "../support/cdktr.ts";
import { PATIENT } from "./failures/support.ts";
import { gate, runOver, shellWorkflow, until } from "./support/fixtures.ts";

/** Many commands: on a busy machine each takes seconds. */
const GUARD_MS = 240_000;

let cluster: Cluster;
let hooks = 0;
const path = (name: string) => join(cluster.directory, name);

beforeAll(async () => {
  hooks = (await freePorts(1))[0] ?? 0;
  cluster = await startCluster({
    agents: 1,
    env: { ...PATIENT, CDKTR_WEBHOOK_PORT: String(hooks) },
    workflows: {
      "etl/daily.yml": shellWorkflow(
        { a: { sh: "echo $CDKTR_PARAM_N" } },
        'params: {n: {default: "0"}}\non: {webhook: {path: /daily, secret: none}}\ncatchup: all\n',
      ),
      "calls.yml": "tasks: {child: {config: !Workflow {workflow: etl.daily}}}\n",
      "ticks.yml": shellWorkflow({ a: { sh: "true" } }, 'cron: "* * * * * *"\n'),
      "fails.yml": shellWorkflow({ a: { sh: "exit 1" } }, "auto_pause: 2\n"),
    },
  });
  cluster.writeWorkflow(
    "gated.yml",
    shellWorkflow({ a: { sh: gate(path("open")) }, b: { sh: "true", depends: ["a"] } }),
  );
  await until("they are known", async () => "gated" in (await cluster.client.listWorkflows()));
  await cluster.principal?.waitFor(/Webhooks are served at .*\/daily/);
}, GUARD_MS);
afterAll(() => cluster?.stop());

const cdktr = (...args: string[]) => cluster.cdktr(args);
const runsOf = (workflow_id: string): Promise<RunSummary[]> =>
  cluster.client.listRuns({ workflow_id, limit: 1000 });

test(
  "a paused workflow holds its runs, says so everywhere, and goes on after a principal that was killed",
  async () => {
    const begun = (await cdktr("run", "gated")).stdout.trim();
    await until("it runs", async () => (await cluster.client.getRun(begun)).status === "RUNNING");
    const paused = await cdktr("workflow", "pause", "etl.daily", "gated", "--reason", "database migration");
    expect([paused.code, paused.stderr]).toEqual([
      0,
      "etl.daily is paused.\ngated is paused. 1 run goes on.\n",
    ]);
    const waiting = cluster.spawn(["run", "etl.daily", "--wait", "-P", "n=1"]);
    await waiting.waitFor(
      /note: Workflow etl\.daily is paused since .*: database migration\. This run waits until it is resumed: cdktr workflow resume etl\.daily/,
    );
    const [held] = await runsOf("etl.daily");
    expect(held).toMatchObject({ status: "PENDING", hold: "pause" });
    const why = await cdktr("runs", "why", held?.workflow_instance_id ?? "");
    expect(why.stdout).toMatch(/workflow etl\.daily is paused since .*: database migration/);
    expect(why.stdout).toMatch(/cdktr workflow resume etl\.daily/);
    const parent = (await cdktr("run", "calls")).stdout.trim();
    await until("its child is held", async () => (await runsOf("etl.daily")).length === 2);
    for (const n of ["2", "3"]) {
      const reply = await fetch(`http://127.0.0.1:${hooks}/daily`, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ n }),
      });
      expect([reply.status, await reply.json()]).toEqual([
        202,
        expect.objectContaining({ workflow_id: "etl.daily", buffered: false, missed: "paused" }),
      ]);
    }
    const list = await cdktr("workflow", "list");
    expect(list.stdout).toMatch(/etl\.daily.*paused/);
    expect(list.stderr).toMatch(/etl\.daily: paused since .*: database migration/);
    expect((await cdktr("workflow", "show", "gated")).stdout).toMatch(
      /^Paused +since .*: database migration$/m,
    );

    cluster.principal?.kill("SIGKILL");
    await cluster.principal?.finished;
    writeFileSync(path("open"), "");
    await cluster.startPrincipal();
    // What has begun goes on.
    expect(await runOver(cluster.client, begun)).toMatchObject({ status: "COMPLETED", tasks_done: 2 });
    const resumed = await cdktr("workflow", "resume", "etl.daily", "gated");
    expect([resumed.code, resumed.stderr]).toEqual([
      0,
      "etl.daily goes on: 2 missed events are runs now, 2 held runs go on.\ngated goes on.\n",
    ]);
    expect((await waiting.finished).code).toBe(0);
    expect(await runOver(cluster.client, parent)).toMatchObject({ status: "COMPLETED" });
    await until("all are over", async () =>
      (await runsOf("etl.daily")).every(({ status }) => status === "COMPLETED"),
    );
    const all = await runsOf("etl.daily");
    expect(all.map(({ trigger }) => trigger).sort()).toEqual([
      "cli",
      "listener:webhook",
      "listener:webhook",
      "workflow",
    ]);
    expect((await cdktr("workflow", "resume", "gated")).stderr).toBe("gated is not paused.\n");
  },
  GUARD_MS,
);

test(
  "firings that a pause makes a schedule miss follow its catchup",
  async () => {
    await until("it fires", async () => (await runsOf("ticks")).length > 0);
    const { stdout } = await cdktr("workflow", "pause", "ticks", "--json");
    const [{ paused }] = JSON.parse(stdout);
    expect(JSON.parse(stdout)).toMatchObject([{ workflow_id: "ticks", was_paused: false }]);
    // What is tested is that firings come due meanwhile.
    await until("firings are missed", () => Date.now() > paused.at_ms + 2200);
    const during = (await runsOf("ticks")).filter(({ created_at_ms }) => created_at_ms > paused.at_ms);
    expect(during).toEqual([]);
    const before = Date.now();
    expect((await cdktr("workflow", "resume", "ticks")).stderr).toMatch(
      /^ticks goes on: 1 of \d+ missed firings runs \(catchup: latest\)\.\n$/,
    );
    await until("it fires again", async () =>
      (await runsOf("ticks")).some((run) => run.created_at_ms > before + 100),
    );
    await cdktr("workflow", "pause", "ticks");
    const ids = (await runsOf("ticks")).map((run) => run.workflow_instance_id);
    const times = (await Promise.all(ids.map((id) => cluster.client.getRun(id)))).map(
      (run) => run.scheduled_time_ms ?? 0,
    );
    expect(new Set(times).size).toBe(times.length);
    // The latest one only.
    const missed = times.filter((at) => at > paused.at_ms && at <= before);
    expect(missed.length).toBeLessThanOrEqual(1);
  },
  GUARD_MS,
);

test(
  "a workflow that keeps failing is paused",
  async () => {
    for (let n = 0; n < 2; n++) expect((await cdktr("run", "fails", "--wait")).code).toBe(1);
    const list = await cdktr("workflow", "list");
    expect(list.stderr).toMatch(/fails: paused since \S+ \S+ after 2 failures in a row/);
    await cluster.principal?.waitFor(/Workflow fails is paused since .* after 2 failures in a row/);
    const third = await cdktr("run", "fails", "--json");
    expect(third.stderr).toMatch(/note: Workflow fails is paused/);
    const { workflow_instance_id: id } = JSON.parse(third.stdout);
    expect(await cluster.client.getRun(id)).toMatchObject({ status: "PENDING", hold: "pause" });
    expect((await cdktr("runs", "cancel", id)).code).toBe(0);
    expect((await cdktr("workflow", "resume", "fails")).stderr).toBe("fails goes on.\n");
  },
  GUARD_MS,
);

test.each([
  [["pause", "etl.dayly"], 4, 'There is no workflow "etl.dayly": did you mean "etl.daily"?'],
  [["resume", "etl.dayly"], 4, 'There is no workflow "etl.dayly": did you mean "etl.daily"?'],
  [["pause", "etl.daily", "--until", "2020-01-01"], 2, "--until 2020-01-01 is in the past."],
  [["pause", "etl.daily", "--until", "06:00", "--for", "2h"], 2, "--until and --for exclude each other."],
  [["pause", "etl.daily", "--for", "soon"], 2, "--for soon: expected a duration."],
])("%j is refused", async (args, status, message) => {
  const { code, stderr } = await cdktr("workflow", ...args);
  expect([code, stderr]).toEqual([status, expect.stringContaining(message)]);
});
