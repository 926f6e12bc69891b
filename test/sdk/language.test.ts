/** What the clients can do with the language: outputs, items, delayed starts, retries, and values of every kind. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { findPage } from "../../src/docs/index.ts";
import { RequestRefusedError } from "../../src/protocol/client.ts";
import { Principal } from "../../src/sdk/typescript/index.ts";
import { type Cluster, cdktr, startCluster } from "../support/cdktr.ts";
import { codeBlocks } from "../support/code-blocks.ts";
import { HOSTILE_VALUES } from "../support/hostile-values.ts";
import { PYZMQ, pythonWith } from "../support/python.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(120_000);

const blocks = codeBlocks(findPage("clients")?.text ?? "");
const program = (language: string) => blocks.find((block) => block.language === language)?.text ?? "";
const VALUES = HOSTILE_VALUES.map(([, value]) => value);
const directory = mkdtempSync(join(tmpdir(), "cdktr-language-"));
let cluster: Cluster;
let principal: Principal;

beforeAll(async () => {
  cluster = await startCluster({
    agents: 1,
    workflows: {
      "fan.yml": `params:
  names: {type: json, default: [x, y]}
  full: {type: bool, default: true}
  day: {type: date, default: 2026-01-31}
tasks:
  each:
    foreach: "\${{ params.names }}"
    key: "\${{ item }}"
    run: |
      echo "name=$CDKTR_ITEM" >> "$CDKTR_OUTPUT"
      [ "$CDKTR_PARAM_FULL" = true ] || [ "$CDKTR_ITEM" != y ]
  sum: {depends: [each], run: 'echo day=$CDKTR_PARAM_DAY >> $CDKTR_OUTPUT'}
outputs:
  day: "\${{ tasks.sum.outputs.day }}"
`,
      "leave.yml": `tasks:
  each:
    foreach: [plain, "a b/ü", .dot]
    key: "\${{ item }}"
    run: |
      mkdir -p "$CDKTR_ARTIFACTS/deep"
      printf '%s' "$CDKTR_ITEM" > "$CDKTR_ARTIFACTS/deep/name"
  big: {run: 'head -c 3000000 /dev/zero > "$CDKTR_ARTIFACTS/zeros"; : > "$CDKTR_ARTIFACTS/empty"'}
`,
      "ask.yml": `tasks:
  go:
    config: !Approval
      message: Go on?
      form:
        share: {type: int, min: 1, max: 100}
        why: {default: because}
`,
      "shop/load.yml": blocks.find(({ language }) => language === "yaml")?.text ?? "",
      "alerts/one.yml": "query: SELECT 'a' AS key\nevery: 1h\n",
      // A program of Bun publishes what it gets, byte by byte.
      "echo.yml": `params:
${VALUES.map((_, i) => `  v${i}: ""`).join("\n")}
tasks:
  show:
    config: !Bun
      code: |
        const values = {};
        for (let i = 0; i < ${VALUES.length}; i++) values["v" + i] = process.env["CDKTR_PARAM_V" + i];
        await Bun.write(process.env.CDKTR_OUTPUT, JSON.stringify({ values }));
`,
    },
  });
  principal = new Principal({ host: "127.0.0.1", port: cluster.ports.api, timeoutMs: 10_000 });
}, 120_000);

afterAll(async () => {
  await principal?.close();
  await cluster?.stop();
  rmSync(directory, { recursive: true, force: true });
});

const LEFT = [
  "big/empty",
  "big/zeros",
  "each/%2Edot/deep/name",
  "each/a%20b%2F%C3%BC/deep/name",
  "each/plain/deep/name",
];

const EXPECTED = {
  outputs: {
    run: { day: "2026-02-28" },
    tasks: { each: { name: ["a", "b", "c"] }, sum: { day: "2026-02-28" } },
  },
  items: ["a", "b", "c"].map((name, index) => [name, index, "COMPLETED", { name }]),
  wrong:
    'workflow "fan": parameter "names" must be JSON, not "{" (such as ["a", "b"] or {"a": 1}); parameter "day" must be a date, not "2026-02-30" (such as 2026-02-28) (its parameters are names, full, day)',
};

test("TypeScript", async () => {
  const params = { names: ["a", "b", "c"], full: true, day: "2026-02-28" };
  const { workflow_instance_id: id } = await principal.runWorkflow("fan", { params });
  expect((await principal.wait(id)).params).toEqual({
    names: '["a","b","c"]',
    full: "true",
    day: "2026-02-28",
  });
  expect(await principal.outputs(id)).toEqual(EXPECTED.outputs);
  const items = await Array.fromAsync(principal.items(id, "each", { outputs: true }));
  expect(items.map((item) => [item.item_key, item.item_index, item.status, item.outputs])).toEqual(
    EXPECTED.items,
  );
  expect(await Array.fromAsync(principal.items(id, "each", { status: "FAILED" }))).toEqual([]);
  const refusal = await principal
    .runWorkflow("fan", { params: { names: "{", day: "2026-02-30" } })
    .catch((error) => error);
  expect(refusal.message).toBe(EXPECTED.wrong);

  const inTwoHours = 2 * 3_600_000;
  for (const wait of [{ startInMs: inTwoHours }, { startAt: new Date(Date.now() + inTwoHours) }]) {
    const later = await principal.runWorkflow("fan", wait);
    const { status, start_at_ms = 0, created_at_ms } = await principal.getRun(later.workflow_instance_id);
    expect([status, Math.round((start_at_ms - created_at_ms) / 600_000)]).toEqual(["PENDING", 12]);
    expect((await principal.cancelRun(later.workflow_instance_id)).status).toBe("CANCELLED");
  }

  const failed = await principal.runWorkflow("fan", { params: { full: false } });
  expect((await principal.wait(failed.workflow_instance_id)).status).toBe("FAILED");
  const again = await principal.retry(failed.workflow_instance_id);
  expect((await principal.wait(again.workflow_instance_id)).retry_of).toBe(failed.workflow_instance_id);
  // The chosen item runs with another value; the others are kept.
  const chosen = await principal.retry(failed.workflow_instance_id, {
    tasks: ["each[y]"],
    params: { full: true },
  });
  expect(await principal.wait(chosen.workflow_instance_id)).toMatchObject({
    status: "COMPLETED",
    params: { full: "true" },
  });
});

test("TypeScript: what waits for a person is listed, approved with its form, and rejected", async () => {
  const { workflow_instance_id: id } = await principal.runWorkflow("ask");
  expect(await principal.approvals({ runId: id })).toMatchObject([
    { workflow_id: "ask", task_id: "go", message: "Go on?", four_eyes: false },
  ]);
  const wrong = await principal.approve(id, { params: { share: 101 } }).catch((error) => error);
  expect(wrong).toBeInstanceOf(RequestRefusedError);
  const why = VALUES.join("");
  expect(await principal.approve(id, { taskId: "go", params: { share: 20, why }, note: "ok" })).toMatchObject(
    {
      status: "COMPLETED",
    },
  );
  await principal.wait(id);
  expect((await principal.outputs(id)).tasks.go).toMatchObject({ share: 20, why, note: "ok" });
  const other = await principal.runWorkflow("ask");
  expect(await principal.reject(other.workflow_instance_id, { note: "no" })).toMatchObject({
    status: "FAILED",
  });
  expect((await principal.wait(other.workflow_instance_id)).status).toBe("FAILED");
  expect(await principal.approvals({ workflowId: "ask" })).toEqual([]);
});

test("TypeScript: files that tasks left are downloaded, and never over what is there", async () => {
  const { workflow_instance_id: id } = await principal.runWorkflow("leave");
  expect((await principal.wait(id)).status).toBe("COMPLETED");
  const target = join(directory, "ts");
  const written = await principal.downloadArtifacts(id, target);
  expect(written.map((path) => relative(target, path)).sort()).toEqual(LEFT);
  expect(readFileSync(join(target, "each/a%20b%2F%C3%BC/deep/name"), "utf8")).toBe("a b/ü");
  expect(readFileSync(join(target, "big/zeros")).equals(Buffer.alloc(3_000_000))).toBe(true);
  const again = await principal.downloadArtifacts(id, target, { taskId: "big" }).catch((error) => error);
  expect(again.code).toBe("EEXIST");
  const one = await principal.downloadArtifacts(id, join(directory, "one"), { taskId: "each[.dot]" });
  expect(one).toHaveLength(1);
});

test("TypeScript: values reach tasks as they are", async () => {
  const params = Object.fromEntries(VALUES.map((value, i) => [`v${i}`, value]));
  const { workflow_instance_id: id } = await principal.runWorkflow("echo", { params });
  expect((await principal.wait(id)).status).toBe("COMPLETED");
  expect((await principal.outputs(id)).tasks.show?.values).toEqual(params);
});

/** Runs a program in Python with the package; returns what it printed. */
async function python(...args: string[]): Promise<string> {
  const target = join(directory, "package");
  const written = await cdktr(["sdk", "python", target]);
  expect(written.code).toBe(0);
  const child = Bun.spawn([await pythonWith([PYZMQ]), ...args], {
    env: { ...process.env, PYTHONPATH: target, CDKTR_APP_DATA_DIRECTORY: join(directory, "data") },
    stdout: "pipe",
    stderr: "pipe",
  });
  const [stdout, stderr, status] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  return stdout;
}

test("TypeScript: what is wrong, and who did what", async () => {
  await until("the query was evaluated", async () => (await principal.alertQueries())[0]?.raised === 1);
  expect(await principal.alerts({ kind: "query" })).toMatchObject([
    { subject: "alerts/one.yml: a", resolved_at_ms: null, deliveries: [] },
  ]);
  expect(await principal.alerts({ which: "dead" })).toEqual([]);
  const { workflow_instance_id: run } = await principal.runWorkflow("leave");
  await principal.wait(run);
  const rows = await principal.audit({ action: "run.*", subject: "leave", since: new Date(0), limit: 1 });
  expect(rows).toMatchObject([{ action: "run.trigger", subject: "leave", outcome: "done" }]);
});

test("the programs of the manual", async () => {
  const listener = join(directory, "load.ts");
  writeFileSync(listener, program("ts"));
  await using listening = cluster.spawn(["listen", listener]);
  await listening.waitFor(/^FAILED 2026-02-28\nreturns exit status 1: there are no returns$/m, "stdout");
  const text = program("python").replace("port=5561", `port=${cluster.ports.api}`);
  expect(await python("-c", text)).toBe(
    "FAILED 2026-02-28\nreturns exit status 1: there are no returns\nCANCELLED\n",
  );
});

test("Python", async () => {
  const checks = join(import.meta.dir, "language_checks.py");
  const stdout = await python(
    checks,
    String(cluster.ports.api),
    JSON.stringify(VALUES),
    join(directory, "python"),
  );
  expect(JSON.parse(stdout)).toEqual({
    ...EXPECTED,
    finished: [true, { names: '["a","b","c"]', full: "true", day: "2026-02-28" }],
    "failed items": [],
    "no items": expect.stringContaining("nothing"),
    in: ["PENDING", 12, "CANCELLED"],
    at: ["PENDING", 12, "CANCELLED"],
    fails: false,
    retry: [true, "COMPLETED"],
    left: LEFT,
    "left as they are": ["a b/ü", 3_000_000],
    "left twice": false,
    asked: [["ask", "go", "Go on?"]],
    "wrong answer": false,
    answered: "COMPLETED",
    form: { share: 20, note: "ok" },
    "form as it is": true,
    rejected: ["FAILED", "FAILED"],
    hostile: VALUES.map(() => true),
    alerts: [["alerts/one.yml: a"], []],
    audit: [["run.trigger", "leave", "done"]],
  });
});
