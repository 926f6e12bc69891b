/** Runs every program of the manual's page on listeners exactly as written. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { findPage } from "../../../src/docs/index.ts";
import { type Cluster, freePorts, startCluster } from "../../support/cdktr.ts";
import { codeBlocks } from "../../support/code-blocks.ts";
import { PYZMQ } from "../../support/python.ts";
import { runOver, until } from "../support/fixtures.ts";
import { EXAMPLES, HELLO, type Program, PythonListeners, runsBy } from "./support.ts";

const page = findPage("listeners")?.text ?? "";
// The examples in full have tests of their own.
const [text = "", examples = ""] = page.split("\n## Examples\n");
const blocks = codeBlocks(text);
const programs = (language: string) => blocks.filter((block) => block.language === language);

let webhookPort = 0;
let cluster: Cluster;
let listeners: PythonListeners;

beforeAll(async () => {
  listeners = await PythonListeners.prepare([PYZMQ]);
  [webhookPort = 0] = await freePorts(1);
  const [deploy = "", inbox = "", report = ""] = programs("yaml").map((block) => block.text);
  cluster = await startCluster({
    agents: 1,
    env: { CDKTR_WEBHOOK_PORT: String(webhookPort), DEPLOY_SECRET: "It's a secret to everybody" },
    workflows: {
      "hello.yml": HELLO,
      "deploy.yml": deploy,
      "import.yml": inbox,
      "report.yml": report,
      "etl/daily.yml": HELLO,
    },
  });
  await cluster.principal?.waitFor(/Webhooks are served/);
  await cluster.principal?.waitFor(/Watching/);
}, 180_000);

afterAll(async () => {
  await cluster?.stop();
  listeners?.[Symbol.dispose]();
});

function startPython(index: number): Program {
  const file = listeners.path(`snippet-${index}.py`);
  // The only thing that a reader may have to change is where the principal is.
  const text =
    programs("python")
      [index]?.text.replace("port=5561", `port=${cluster.ports.api}`)
      .replace(":5564", `:${webhookPort}`) ?? "";
  writeFileSync(file, text);
  return listeners.start(cluster, file);
}

function startTypeScript(index: number) {
  const file = listeners.path(`snippet-${index}.ts`);
  writeFileSync(file, programs("ts")[index]?.text ?? "");
  return cluster.spawn(["listen", file]);
}

function hello(who: string): Promise<unknown> {
  return cluster.client.runTask("hello", { params: { who }, dedupe_key: crypto.randomUUID() });
}

test("the page shows four programs in Python and two in TypeScript", () => {
  expect([programs("python").length, programs("ts").length]).toEqual([4, 2]);
  const known = new Set(["python", "ts", "sh", "yaml"]);
  expect(blocks.filter((block) => !known.has(block.language ?? "")).map((block) => block.line)).toEqual([]);
});

test("'cdktr docs listeners' has every example in full", async () => {
  const files = readdirSync(EXAMPLES);
  expect(files).toHaveLength(7);
  const shown = codeBlocks(examples).map((block) => block.text.trimEnd());
  for (const file of files) expect(shown).toContain(readFileSync(join(EXAMPLES, file), "utf8").trimEnd());
  const { stdout } = await cluster.cdktr(["docs", "listeners"]);
  for (const file of files) expect(stdout).toContain(file);
});

test("the webhook, and the sender that signs", async () => {
  await using program = startPython(0);
  await program.child.exited;
  expect(JSON.parse(program.output)).toMatchObject({ workflow_id: "deploy", buffered: false });
  const [run] = await runsBy(cluster.client, "listener:webhook");
  const details = await runOver(cluster.client, run?.workflow_instance_id ?? "");
  expect([details.status, details.params]).toEqual(["COMPLETED", { ref: "main", body: '{"ref": "main"}' }]);
});

test("the watched files, and what runs after another workflow", async () => {
  writeFileSync(join(cluster.directory, "inbox.csv"), "not in the inbox");
  mkdirSync(join(cluster.directory, "inbox/deep"), { recursive: true });
  writeFileSync(join(cluster.directory, "inbox/deep/a.csv"), "1\n2\n");
  const [run] = await until("the file's run", async () => {
    const runs = await runsBy(cluster.client, "listener:file");
    return runs.length > 0 && runs;
  });
  const details = await runOver(cluster.client, run?.workflow_instance_id ?? "");
  expect(details.params).toEqual({ path: join(cluster.directory, "inbox/deep/a.csv") });
  const { workflow_instance_id } = await cluster.client.runTask("etl.daily", { dedupe_key: "daily" });
  await runOver(cluster.client, workflow_instance_id);
  await until("the report", async () => (await runsBy(cluster.client, "workflow")).length === 1);
});

test("Python: the client", async () => {
  await using program = startPython(1);
  await program.child.exited;
  expect(program.output).toBe("COMPLETED\n");
});

test("Python: the listener", async () => {
  await using _program = startPython(2);
  await until("a run", async () => (await runsBy(cluster.client, "listener:minutely")).length > 0);
  // Another one when a minute begins.
  expect((await runsBy(cluster.client, "listener:minutely")).length).toBeOneOf([1, 2]);
});

test("Python: the log", async () => {
  await using program = startPython(3);
  let shown: string | undefined;
  while (shown === undefined) {
    await hello("the log");
    shown = await Promise.race([
      program.waitFor(/\{.*hello the log.*\}/).then(([line]) => line),
      // It does not say when it is subscribed: the next line may be heard.
      Bun.sleep(500).then(() => undefined),
    ]);
  }
  expect(JSON.parse(shown)).toMatchObject({ level: "INFO", text: "hello the log" });
});

test("TypeScript: the listener", async () => {
  await using listener = startTypeScript(0);
  await listener.waitFor(/minute \d+: run [0-9a-f-]{36}/, "stdout");
  // Another one when a minute begins.
  expect((await runsBy(cluster.client, "listener:Minutely")).length).toBeOneOf([1, 2]);
  const shown = () => cluster.cdktr(["listeners", "list"]).then(({ stdout }) => stdout);
  await until("it is listed", async () => /^Minutely +running +([12]) +\1 +0 +0 /m.test(await shown()));
  expect(await shown()).toMatch(/^webhook +running +1 /m);
  listener.kill("SIGTERM");
  expect((await listener.finished).code).toBe(0);
});

test("TypeScript: the log", async () => {
  await using listener = startTypeScript(1);
  await listener.waitFor(/Listening/);
  let shown: string | undefined;
  while (shown === undefined) {
    await hello("the stream");
    shown = await Promise.race([
      listener.waitFor(/\{.*hello the stream.*\}/, "stdout").then(([line]) => line),
      // It does not say when it is subscribed: the next line may be heard.
      Bun.sleep(500).then(() => undefined),
    ]);
  }
  expect(JSON.parse(shown)).toMatchObject({ level: "INFO", text: "hello the stream" });
});
