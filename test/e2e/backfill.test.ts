/** A backfill as an operator has it: dry run, progress, a principal that is killed meanwhile, a second one over the same days. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Cluster, startCluster } from "../support/cdktr.ts";
import { PATIENT } from "./failures/support.ts";
import { until } from "./support/fixtures.ts";

let cluster: Cluster;
let gate: string;

const WORKFLOW = (gate: string) => `priority: 6
cron: "0 2 * * *"
timezone: Europe/London
params:
  day: {type: date, default: '\${{ date(run.scheduled_time, "%Y-%m-%d", "Europe/London") }}'}
  gate: ${JSON.stringify(gate)}
  bad: "2025-03-31"
tasks:
  load:
    run: |
      while [ ! -e "$CDKTR_PARAM_GATE" ]; do sleep 0.05; done
      [ "$CDKTR_PARAM_DAY" != "$CDKTR_PARAM_BAD" ]
`;

beforeAll(async () => {
  cluster = await startCluster({ agents: 1, env: PATIENT, workflows: {} });
  gate = join(cluster.directory, "gate");
  cluster.writeWorkflow("etl.yml", WORKFLOW(gate));
  cluster.writeWorkflow("plain.yml", 'tasks: {a: {run: "true"}}\n');
  await until("they are known", async () => {
    const known = await cluster.client.listWorkflows();
    return "etl" in known && "plain" in known;
  });
}, 180_000);
afterAll(() => cluster?.stop());

const DAYS = ["--from", "2025-03-29", "--to", "2025-04-01"];

async function stateOf(id: string) {
  return (await cluster.client.call("GETBACKFILL", { backfill_id: id, limit: 0 })).backfill;
}

async function over(id: string) {
  await until("it is over", async () => (await stateOf(id)).finished_at_ms !== null);
  return stateOf(id);
}

test("each firing runs once, whatever happens to the principal", async () => {
  const dry = await cluster.cdktr(["backfill", "etl", ...DAYS, "--dry-run"]);
  expect([dry.code, dry.stdout, dry.stderr]).toEqual([
    0,
    `2025-03-29T02:00:00+00:00  runs
2025-03-30T02:00:00+01:00  runs
2025-03-31T02:00:00+01:00  runs
2025-04-01T02:00:00+01:00  runs
`,
    "4 firings: 4 would run.\n",
  ]);
  const created = await cluster.cdktr([
    "backfill",
    "etl",
    ...DAYS,
    "--max-active",
    "2",
    "-P",
    "bad=2025-03-31",
  ]);
  expect(created.code).toBe(0);
  const id = created.stdout.trim();
  expect(created.stderr).toBe(
    `4 firings of etl from 2025-03-29 to 2025-04-01, at most 2 runs at once. How far it is: cdktr backfills show ${id.slice(0, 8)}\n`,
  );
  await until("two runs are under way", async () => (await stateOf(id)).active === 2);
  const list = await cluster.cdktr(["backfills", "list"]);
  expect(list.stdout).toMatch(new RegExp(`^${id} +etl +ACTIVE +2025-03-29 to 2025-04-01 +0/4 +0 +2 `, "m"));
  cluster.principal?.kill("SIGKILL");
  await cluster.principal?.finished;
  await cluster.startPrincipal();
  const paused = await cluster.cdktr(["backfills", "pause", id.slice(0, 8)]);
  expect([paused.code, paused.stderr]).toEqual([0, `Backfill ${id} of etl is paused: 2 runs go on.\n`]);
  writeFileSync(gate, "");
  await until("they are over", async () => (await stateOf(id)).active === 0);
  const resumed = await cluster.cdktr(["backfills", "resume", id]);
  expect(resumed.stderr).toBe(`Backfill ${id} of etl goes on: 2 firings are left.\n`);
  expect(await over(id)).toMatchObject({ state: "DONE", by_status: { COMPLETED: 3, FAILED: 1 }, present: 0 });
  const show = await cluster.cdktr(["backfills", "show", id]);
  expect(show.stdout).toContain("  Firings     4 of 4 are done: 3 COMPLETED, 1 FAILED\n");
  expect(show.stdout).toContain(
    "  Again       what failed: cdktr backfill etl --from 2025-03-29 --to 2025-04-01 --reprocess failed with the same parameters\n",
  );
  expect(show.stdout).toMatch(/^ {2}2025-03-31T02:00:00\+01:00 {2}FAILED +\S+$/m);
  // A second one over more days finds them, and makes again what failed.
  const again = await cluster.client.call("CREATEBACKFILL", {
    workflow_id: "etl",
    from: "2025-03-28",
    to: "2025-04-01",
    reverse: true,
    reprocess: "failed",
    params: { bad: "never" },
    dedupe_key: "again",
  });
  const second = await over(again.backfill.backfill_id);
  expect(second).toMatchObject({ state: "DONE", present: 3, by_status: { COMPLETED: 2 } });
  const none = await cluster.cdktr(["backfill", "etl", ...DAYS, "--dry-run", "--json"]);
  expect(JSON.parse(none.stdout)).toMatchObject({ total: 4, runs: 0, present: 4 });
  await until("the history has them", async () => {
    const sql = `SELECT strftime(epoch_ms(scheduled_time_ms), '%m-%d'), list(status::VARCHAR ORDER BY created_at_ms)::VARCHAR, bool_and(backfill_id IS NOT NULL)
      FROM workflow_runs WHERE workflow_id = 'etl' AND trigger = 'backfill' GROUP BY ALL ORDER BY 1`;
    const { rows } = await cluster.client.queryDatabase({ sql });
    return Bun.deepEquals(rows, [
      ["03-28", "[COMPLETED]", true],
      ["03-29", "[COMPLETED]", true],
      ["03-30", "[COMPLETED]", true],
      ["03-31", "[FAILED, COMPLETED]", true],
      ["04-01", "[COMPLETED]", true],
    ]);
  });
  const runs = await cluster.client.listRuns({ limit: 20 });
  expect(new Set(runs.map((run) => run.backfill_id))).toEqual(new Set([id, second.backfill_id]));
  // Three less than that of the workflow.
  expect(runs.map((run) => run.priority)).toEqual(runs.map(() => 3));
}, 180_000);

test("it waits while its workflow is paused", async () => {
  writeFileSync(gate, "");
  expect((await cluster.cdktr(["workflow", "pause", "etl", "--reason", "migration"])).code).toBe(0);
  const args = ["backfill", "etl", "--from", "2024-01-01", "--to", "2024-01-02"];
  const id = (await cluster.cdktr(args)).stdout.trim();
  await until("it says so", async () => (await stateOf(id)).note !== null);
  expect(await stateOf(id)).toMatchObject({
    state: "ACTIVE",
    active: 0,
    note: expect.stringMatching(/^Workflow etl is paused since .*: migration\.$/),
  });
  expect((await cluster.cdktr(["workflow", "resume", "etl"])).code).toBe(0);
  expect(await over(id)).toMatchObject({ state: "DONE", note: null, by_status: { COMPLETED: 2 } });
}, 180_000);

test("a cancelled one ends its runs; what cannot be backfilled is refused", async () => {
  const id = (
    await cluster.cdktr([
      "backfill",
      "etl",
      "--from",
      "2025-01-01",
      "--to",
      "2025-02-01",
      "-P",
      `gate=${gate}.never`,
    ])
  ).stdout.trim();
  await until("it runs", async () => (await stateOf(id)).active === 3);
  const cancelled = await cluster.cdktr(["backfills", "cancel", id]);
  expect(cancelled.stderr).toBe(`Backfill ${id} of etl is cancelled: 3 runs are being cancelled.\n`);
  expect(await over(id)).toMatchObject({ state: "CANCELLED", by_status: { CANCELLED: 3 } });
  const refused: [args: string[], code: number, stderr: string][] = [
    [
      ["backfill", "plain", "--from", "2025-01-01"],
      4,
      "error: Workflow plain has no schedule: there is nothing to backfill. (To run it",
    ],
    [["backfills", "resume", id], 1, `error: Backfill ${id} of etl is over already: CANCELLED.\n`],
    [["backfills", "show", "00000000"], 4, 'error: There is no backfill "00000000".'],
    [
      ["backfill", "etl", "--from", "yesterday-ish"],
      2,
      "error: --from yesterday-ish: expected a date or a time.\n",
    ],
  ];
  for (const [args, code, stderr] of refused) {
    const refusal = await cluster.cdktr(args);
    expect([refusal.code, refusal.stderr]).toEqual([code, expect.stringContaining(stderr)]);
  }
}, 180_000);
