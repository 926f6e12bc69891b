/** `cdktr forecast` on a principal with an agent, a history, groups, pools and pauses. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import type { Forecast } from "../../src/contract/messages.ts";
import { type Cluster, startCluster } from "../support/cdktr.ts";

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({
    agents: 1,
    workflows: {
      "etl/daily.yml":
        'timezone: UTC\ncron: "0 */6 * * *"\nconcurrency: 1\ntasks: {a: {run: "true"}, b: {run: "true", depends: [a]}}\n',
      "rests.yml": 'timezone: UTC\ncron: "30 */6 * * *"\ntasks: {a: {run: "true"}}\n',
      "gpu.yml": 'timezone: UTC\ncron: "45 */6 * * *"\nruns_on: {gpu: "yes"}\ntasks: {a: {run: "true"}}\n',
      "fixed.yml":
        'cron: "30 1 * * *"\ntimezone: UTC\nparams: {day: {required: true}}\ntasks: {a: {run: "true"}}\n',
      "never.yml": 'tasks: {a: {run: "true"}}\n',
    },
  });
}, 60_000);
afterAll(() => cluster?.stop());

const cdktr = (...args: string[]) => cluster.cdktr(args);
const forecast = async (...args: string[]): Promise<Forecast> => {
  const { code, stdout, stderr } = await cdktr("forecast", "--json", ...args);
  expect([code, stderr]).toEqual([0, ""]);
  return JSON.parse(stdout);
};

test("firings, durations, what keeps runs from starting", async () => {
  expect(await cdktr("run", "gpu")).toMatchObject({ code: 0 });
  expect(await cdktr("run", "rests", "--wait")).toMatchObject({ code: 0 });
  const [completed] = await cluster.client.listRuns({ workflow_id: "rests", limit: 1 });
  expect(await cdktr("workflow", "pause", "rests")).toMatchObject({ code: 0 });

  const { firings, load, workflows, left_out, truncated_at_ms, warning } = await forecast();
  expect([left_out, truncated_at_ms, warning]).toEqual([0, null, null]);
  expect(firings.map(({ at_ms }) => at_ms)).toEqual(firings.map(({ at_ms }) => at_ms).sort((a, b) => a - b));
  const outcomes = Map.groupBy(firings, ({ workflow_id }) => workflow_id);
  const said = (id: string) => new Set(outcomes.get(id)?.map(({ outcome, note }) => `${outcome}: ${note}`));
  expect(said("rests")).toEqual(new Set(["paused: null"]));
  expect(said("etl.daily")).toEqual(new Set(["runs: null"]));
  expect([...said("gpu")].sort()).toEqual([
    "dropped: no agent that is up has gpu=yes",
    "waits: no agent that is up has gpu=yes",
  ]);
  expect([...said("fixed")]).toEqual(['refused: workflow "fixed": missing parameter "day"']);
  expect(load.runs).toHaveLength(96);
  const took = completed?.duration_ms ?? null;
  expect(outcomes.get("rests")?.[0]).toMatchObject({ expected_ms: took, p90_ms: took, known_runs: 1 });
  expect(outcomes.get("etl.daily")?.[0]).toMatchObject({ expected_ms: null, known_runs: 0 });
  expect(workflows.map(({ workflow_id }) => workflow_id)).toEqual(["etl.daily", "fixed", "gpu", "rests"]);
  expect(workflows.at(-1)).toMatchObject({ firings: 4, is_paused: true });

  const text = await cdktr("forecast", "gpu", "rests");
  expect(text.stdout).toContain("REMARKS");
  expect(text.stdout).toMatch(/:30 {2}rests .* {2}paused\n/);
  expect(text.stdout).toContain("does not start: no agent that is up has gpu=yes");
  expect(text.stdout).not.toContain("etl.daily");
});

test("what makes no sense is refused", async () => {
  expect(await cdktr("forecast", "--next", "1h", "--to", "tomorrow 02:00")).toMatchObject({
    code: 2,
    stderr: expect.stringContaining("--next and --to say the same thing: give one of them."),
  });
  expect(await cdktr("forecast", "--next", "0s")).toMatchObject({
    code: 2,
    stderr: expect.stringContaining("--next must be more than 0."),
  });
  expect(await cdktr("forecast", "--from", "2099-01-02", "--to", "2099-01-01")).toMatchObject({
    code: 2,
    stderr: expect.stringContaining("--to is not after the beginning of the forecast."),
  });
  expect(await cdktr("forecast", "--to", "2001-01-01", "--from", "2000-01-01")).toMatchObject({
    code: 4,
    stderr: expect.stringContaining("A forecast is of the time to come, and this is over."),
  });
  expect(await cdktr("forecast", "--next", "500d")).toMatchObject({
    code: 2,
    stderr: expect.stringContaining("--next 500d is too long."),
  });
  expect(await cdktr("forecast", "etl.dayly")).toMatchObject({
    code: 4,
    stderr: expect.stringContaining('did you mean "etl.daily"?'),
  });
  const none = await cdktr("forecast", "never");
  expect([none.code, none.stdout, none.stderr]).toEqual([
    0,
    expect.any(String),
    "Nothing fires in this time.\n",
  ]);
});
