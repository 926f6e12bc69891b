/** Fan-outs on the compiled binary: on one agent and on several, with agents that die, retries, and the snippets of the manual. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ItemSummary, RunDetails } from "../../src/contract/messages.ts";
import { findPage } from "../../src/docs/index.ts";
import { Cluster, freePorts } from "../support/cdktr.ts";
import { codeBlocks } from "../support/code-blocks.ts";
import { PATIENT } from "./failures/support.ts";
import { runOver, until } from "./support/fixtures.ts";

let cluster: Cluster;

beforeAll(async () => {
  cluster = new Cluster({ env: PATIENT }, await freePorts(3));
  for (const [n, text] of snippets().entries()) cluster.writeWorkflow(`manual-${n}.yml`, text);
  cluster.writeWorkflow("spread.yml", SPREAD);
  for (const placement of PLACEMENTS) {
    cluster.writeWorkflow(`retry-${placement}.yml`, `placement: ${placement}${RETRY}`);
  }
  cluster.writeWorkflow("fast.yml", FAST);
  cluster.writeWorkflow("script.yml", SCRIPT);
  cluster.writeWorkflow("gated.yml", GATED);
  cluster.writeWorkflow("hooked.yml", HOOKED);
  await cluster.startPrincipal();
  for (const suffix of ["1", "2"]) await cluster.startAgent(["--suffix", suffix]);
}, 60_000);
afterAll(() => cluster?.stop());

function snippets(): string[] {
  const text = findPage("fan-out")?.text ?? "";
  return codeBlocks(text).flatMap((block) => (block.language === "yaml" ? [block.text] : []));
}

const sh = (text: string) => `config: !Subprocess {cmd: sh, args: ["-c", ${JSON.stringify(text)}]}`;

const SPREAD = `
placement: spread
params: {names: {type: json, default: [a, b, c]}}
tasks:
  load:
    foreach: \${{ params.names }}
    key: \${{ item }}
    ${sh('echo "got $CDKTR_ITEM"; echo "x=$CDKTR_ITEM_INDEX" >> "$CDKTR_OUTPUT"')}
  sum:
    depends: [load]
    ${sh('cat "$CDKTR_INPUTS/load.json"; ls "$CDKTR_INPUTS/load"')}
`;

const PLACEMENTS = ["together", "spread"];
const RETRY = `
params: {where: ""}
tasks:
  load:
    foreach: [a, b, c, d]
    key: \${{ item }}
    ${sh('echo run >> "$CDKTR_PARAM_WHERE/$CDKTR_ITEM"; test "$CDKTR_ITEM" != c -o -e "$CDKTR_PARAM_WHERE/mended"')}
  sum:
    depends: [load]
    ${sh("true")}
`;

const SCRIPT = `
tasks:
  load:
    foreach: [plain, "$(touch x) 'y' \\"z\\""]
    run: |
      printf '<%s>\\n' "$CDKTR_ITEM"
`;

const HOOKED = `
tasks:
  pause:
    foreach: [300ms, 100ms]
    max_parallel: 1
    config: !Wait {for: "\${{ item }}"}
  load:
    depends: [pause]
    foreach: [a, b]
    run: test "$CDKTR_ITEM" = a
hooks:
  on_failure:
    run: echo "$CDKTR_RUN_FAILED_TASKS"
`;

const FAST = `
placement: spread
params: {where: ""}
tasks:
  load:
    foreach: [slow, bad, s3, s4, s5, s6, s7, s8, s9]
    key: \${{ item }}
    max_parallel: 2
    fail_fast: true
    ${sh('if [ "$CDKTR_ITEM" = slow ]; then touch "$CDKTR_PARAM_WHERE/slow"; sleep 600; fi; until [ -e "$CDKTR_PARAM_WHERE/slow" ]; do sleep 0.05; done; exit 1')}
`;

const GATED = `
params: {where: ""}
tasks:
  load:
    foreach: [a, b, c]
    key: \${{ item }}
    ${sh('echo run >> "$CDKTR_PARAM_WHERE/$CDKTR_ITEM"; echo "v=$CDKTR_ITEM" >> "$CDKTR_OUTPUT"; test "$CDKTR_ITEM" = a || until [ -e "$CDKTR_PARAM_WHERE/open" ]; do sleep 0.05; done')}
  sum:
    depends: [load]
    ${sh('cat "$CDKTR_INPUTS/load.json"')}
`;

async function trigger(workflow: string, params: Record<string, string> = {}): Promise<string> {
  const run = await cluster.client.runTask(workflow, { dedupe_key: crypto.randomUUID(), params });
  return run.workflow_instance_id;
}

function directory(name: string): string {
  const path = join(cluster.directory, name);
  mkdirSync(path);
  return path;
}

async function linesOf(run: RunDetails, task?: string): Promise<string[]> {
  const search = { workflow_instance_id: run.workflow_instance_id, ...(task === undefined ? {} : { task }) };
  return (await cluster.client.searchLogs(search)).rows.map((row) => row[7]);
}

async function itemsOf(run: RunDetails, task = "load"): Promise<Record<string, string>> {
  const shown = await cluster.cdktr(["runs", "show", run.workflow_instance_id, "--items", task, "--json"]);
  if (shown.code !== 0) throw new Error(shown.stderr);
  const items: ItemSummary[] = JSON.parse(shown.stdout);
  return Object.fromEntries(items.map(({ item_key, status }) => [item_key, status]));
}

describe("the manual's", () => {
  test("list of items runs, and what depends on it after them", async () => {
    const run = await runOver(cluster.client, await trigger("manual-0"));
    expect(run.status).toBe("COMPLETED");
    expect((await linesOf(run)).sort()).toEqual([
      "all are loaded",
      "loading customers",
      "loading orders",
      "loading returns 2025",
    ]);
    expect(run.tasks.find(({ task_id }) => task_id === "load")?.items).toEqual({
      total: 3,
      by_status: { COMPLETED: 3 },
    });
    expect(run).toMatchObject({ tasks_total: 2, tasks_done: 2 });
    expect(run.tasks).toHaveLength(2);
    const shown = await cluster.cdktr(["runs", "show", run.workflow_instance_id]);
    expect(shown.stdout).toContain("3 of 3 COMPLETED");
  });

  test("list that is found out first passes on what its items publish", async () => {
    const run = await runOver(cluster.client, await trigger("manual-1"));
    expect(await linesOf(run, "sum")).toEqual(['{"rows":["10","11"]}', '{"rows":"11"}']);
    expect(await linesOf(run, "load[us]")).toEqual(["loading us"]);
    expect((await linesOf(run, "load")).sort()).toEqual(["loading eu", "loading us"]);
    const shown = await cluster.cdktr(["runs", "show", run.workflow_instance_id, "--json"]);
    const load = JSON.parse(shown.stdout).tasks.find(
      ({ task_id }: { task_id: string }) => task_id === "load",
    );
    expect(load.outputs).toEqual({ rows: ["10", "11"] });
  });

  test("item is a value of expressions", async () => {
    const run = await runOver(cluster.client, await trigger("manual-2"));
    expect((await linesOf(run)).sort()).toEqual(["large --width 1920", "small --width 320"]);
    const other = await trigger("manual-2", { sizes: '[{"name": "x; rm -rf /", "width": 1}]' });
    const odd = await runOver(cluster.client, other);
    expect(await linesOf(odd, "resize[x; rm -rf /]")).toEqual(["x; rm -rf / --width 1"]);
  });

  test("task for each agent runs on its host", async () => {
    const run = await runOver(cluster.client, await trigger("manual-4"));
    expect(run.status).toBe("COMPLETED");
    expect(Object.keys(await itemsOf(run, "free"))).toHaveLength(2);
  });

  test("matrix has every combination", async () => {
    const run = await runOver(cluster.client, await trigger("manual-3"));
    expect(Object.keys(await itemsOf(run, "test"))).toEqual([
      "debian-3.11",
      "debian-3.12",
      "ubuntu-3.11",
      "ubuntu-3.12",
      "ubuntu-3.13",
      "alpine-3.12",
    ]);
  });
});

test("workflow show says for what a task runs", async () => {
  const shown = await cluster.cdktr(["workflow", "show", "manual-3"]);
  expect(shown.stdout).toContain("os: debian, ubuntu × python: 3.11, 3.12, 3.13");
  expect((await cluster.cdktr(["workflow", "show", "manual-0"])).stdout).toContain(
    "orders, customers, returns 2025",
  );
});

test("a script gets its item as it is", async () => {
  const run = await runOver(cluster.client, await trigger("script"));
  expect(run.status).toBe("COMPLETED");
  expect(await linesOf(run, "load[1]")).toEqual(["<$(touch x) 'y' \"z\">"]);
});

test("items that wait need no agent, and a hook hears of a fan-out that failed", async () => {
  const run = await runOver(cluster.client, await trigger("hooked"));
  expect(run).toMatchObject({ status: "FAILED", error: "failed: load" });
  expect(run.tasks.map(({ task_id, status, items }) => [task_id, status, items?.total])).toEqual([
    ["pause", "COMPLETED", 2],
    ["load", "FAILED", 2],
    ["on_failure", "COMPLETED", undefined],
  ]);
  expect(await linesOf(run, "on_failure")).toEqual(["load"]);
});

test("spread: agents share the items, and what follows has all that they published", async () => {
  const names = Array.from({ length: 40 }, (_, n) => `n${n}`);
  const id = await trigger("spread", { names: JSON.stringify(names) });
  const run = await runOver(cluster.client, id);
  expect(run).toMatchObject({ status: "COMPLETED", agents: 2, tasks_done: 2 });
  expect(Object.values(await itemsOf(run))).toEqual(names.map(() => "COMPLETED"));
  const [first = "", ...files] = await linesOf(run, "sum");
  expect(JSON.parse(first)).toEqual({ x: names.map((_, n) => String(n)) });
  expect(files).toHaveLength(40);
  const none = await runOver(cluster.client, await trigger("spread", { names: "[]" }));
  expect(none.tasks.find(({ task_id }) => task_id === "load")).toMatchObject({
    status: "COMPLETED",
    items: { total: 0, by_status: {} },
  });
  const wrong = await runOver(cluster.client, await trigger("spread", { names: '["x", "x"]' }));
  expect(wrong.tasks.map(({ task_id, status }) => `${task_id} ${status}`)).toEqual([
    "load FAILED",
    "sum SKIPPED",
  ]);
  expect(wrong.tasks[0]?.error).toContain('two items have the key "x"');
});

test.each(PLACEMENTS)("a retry runs the failed items only (%s)", async (placement) => {
  const where = directory(`retry-${placement}`);
  const first = await runOver(cluster.client, await trigger(`retry-${placement}`, { where }));
  expect(first.status).toBe("FAILED");
  expect(await itemsOf(first)).toEqual({ a: "COMPLETED", b: "COMPLETED", c: "FAILED", d: "COMPLETED" });
  const shown = await cluster.cdktr(["runs", "show", first.workflow_instance_id]);
  expect(shown.stdout).toContain("3 of 4 COMPLETED, 1 FAILED");
  expect(shown.stdout).toContain("load[c]");
  writeFileSync(join(where, "mended"), "");
  const retried = await cluster.cdktr(["runs", "retry", first.workflow_instance_id, "--json"]);
  const again = await runOver(cluster.client, JSON.parse(retried.stdout).workflow_instance_id);
  expect(again.status).toBe("COMPLETED");
  expect(await itemsOf(again)).toEqual({ a: "COMPLETED", b: "COMPLETED", c: "COMPLETED", d: "COMPLETED" });
  const runs = ["a", "b", "c", "d"].map((name) => readFileSync(join(where, name), "utf8").length);
  expect(runs).toEqual([4, 4, 8, 4]);
});

test("fail_fast cancels items on other agents, and those that wait", async () => {
  const where = directory("fast");
  const run = await runOver(cluster.client, await trigger("fast", { where }));
  expect(run.status).toBe("FAILED");
  const items = await itemsOf(run);
  expect(items).toMatchObject({ bad: "FAILED", s3: "CANCELLED", s9: "CANCELLED" });
  expect(items.slow).toBe("CANCELLED");
});

test("an agent that is killed: items that COMPLETED are not run again", async () => {
  const where = directory("gated");
  const id = await trigger("gated", { where });
  await until("one item has completed, the others run", async () => {
    const [load] = (await cluster.client.getRun(id)).tasks;
    return load?.items?.by_status.COMPLETED === 1 && readdirSync(where).length === 3;
  });
  const { agent_id } = (await cluster.client.getRun(id)).attempts[0] ?? {};
  const suffix = agent_id?.endsWith("1") === true ? "1" : "2";
  const agent = cluster.agents[Number(suffix) - 1];
  agent?.kill("SIGKILL");
  await agent?.finished;
  await cluster.startAgent(["--suffix", suffix]);
  writeFileSync(join(where, "open"), "");
  const run = await runOver(cluster.client, id);
  expect(run).toMatchObject({ status: "COMPLETED", attempt: 2 });
  expect(readFileSync(join(where, "a"), "utf8")).toBe("run\n");
  expect(await linesOf(run, "sum")).toEqual(['{"v":["a","b","c"]}']);
});
