import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type Cluster, startCluster } from "../support/cdktr.ts";

const LIMIT = 60_000;
const DAILY = `name: Daily load
description: Loads a day
cron: "0 2 * * *"
timezone: Europe/London
params: {day: "2024-01-01", region: }
tasks:
  extract:
    name: Extract
    config: !Subprocess {cmd: python, args: ["a b.py"]}
    retry: {max_attempts: 3}
  load:
    name: Load
    depends: [extract]
    timeout: 1h30m
    config: !UvPython {script_path: load.py}
`;

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({
    workflows: {
      "etl/daily.yml": DAILY,
      "hello.yml":
        "name: Hello\non: {file: {glob: /in/*.csv}, workflow: {id: etl.daily}}\ntasks: {greet: {name: greet, config: !Subprocess {cmd: echo}}}\n",
      "broken.yml": "name: Broken\n",
    },
  });
}, LIMIT);
afterAll(() => cluster?.[Symbol.asyncDispose](), LIMIT);

describe("with a principal", () => {
  test(
    "workflow list",
    async () => {
      const { code, stdout, stderr } = await cluster.cdktr(["workflow", "list"]);
      expect(code).toBe(0);
      expect(stdout.split("\n")[0]).toMatch(/^WORKFLOW +NAME +TASKS +CRON +ON +NEXT/);
      expect(stdout).toMatch(/etl\.daily ! +Daily load +2 +0 2 \* \* \* \(Europe\/London\) +- +20\d\d-/);
      expect(stdout).toMatch(/hello +Hello +1 +- +file workflow +-/);
      expect(stderr).toContain("broken.yml");
      expect(stderr).toContain('etl.daily: "cron" can never run this workflow: parameter "region" has no');

      const json = JSON.parse((await cluster.cdktr(["workflow", "list", "--json"])).stdout);
      expect(json).toMatchObject([
        { workflow_id: "etl.daily", name: "Daily load", path: "etl/daily.yml", tasks: 2, error: null },
        {
          workflow_id: "hello",
          cron: null,
          next_firing_ms: null,
          on: { webhook: null, workflow: { id: "etl.daily" } },
        },
      ]);
      expect(json[0].next_firing_ms).toBeGreaterThan(Date.now());
    },
    LIMIT,
  );

  test(
    "workflow show",
    async () => {
      const { code, stdout } = await cluster.cdktr(["workflow", "show", "etl.daily"]);
      expect(code).toBe(0);
      expect(stdout).toContain("etl.daily (Daily load)");
      expect(stdout).toMatch(/region +\(must be given\)/);
      expect(stdout).toMatch(/extract +Extract +- +Subprocess +python "a b\.py" +3 +-/);
      expect(stdout).toMatch(/load +Load +extract +UvPython +load\.py +1 +1h30m/);
      const triggered = (await cluster.cdktr(["workflow", "show", "hello"])).stdout;
      expect(triggered).toMatch(/^On file +\/in\/\*\.csv created, changed, quiet for 500ms$/m);
      expect(triggered).toMatch(/^After +etl\.daily COMPLETED$/m);
      const source = await cluster.cdktr(["workflow", "show", "etl.daily", "--source"]);
      expect(source.stdout).toBe(DAILY);
      const json = JSON.parse((await cluster.cdktr(["workflow", "show", "etl.daily", "--json"])).stdout);
      expect(json).toMatchObject({
        workflow_id: "etl.daily",
        definition: { id: "etl.daily" },
        source: DAILY,
      });
    },
    LIMIT,
  );

  test(
    "workflow graph by id",
    async () => {
      const { code, stdout } = await cluster.cdktr(["workflow", "graph", "etl.daily"]);
      expect({ code, stdout }).toEqual({
        code: 0,
        stdout: "┌─────────┐\n│ extract │\n└────┬────┘\n ┌───┴──┐\n │ load │\n └──────┘\n",
      });
    },
    LIMIT,
  );

  test(
    "an unknown id: exit status 4 and the nearest one",
    async () => {
      for (const what of ["show", "graph"]) {
        const { code, stdout, stderr } = await cluster.cdktr(["workflow", what, "etl.dialy"]);
        expect({ code, stdout }).toEqual({ code: 4, stdout: "" });
        expect(stderr).toContain("etl.daily");
      }
    },
    LIMIT,
  );
});

test(
  "without a principal: exit status 3",
  async () => {
    const env = { CDKTR_PRINCIPAL_PORT: "1", CDKTR_DEFAULT_ZMQ_TIMEOUT_MS: "100" };
    expect((await cluster.cdktr(["workflow", "list"], { env })).code).toBe(3);
  },
  LIMIT,
);
