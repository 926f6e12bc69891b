/** Every program that the page on listeners shows is run as it stands there. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { codeBlocks } from "../../../src/cli/support/markdown.ts";
import { findPage } from "../../../src/docs/index.ts";
import { type Cluster, startCluster } from "../../support/cdktr.ts";
import { PYZMQ } from "../../support/python.ts";
import { until } from "../support/fixtures.ts";
import { HELLO, type Program, PythonListeners, runsBy } from "./support.ts";

const blocks = codeBlocks(findPage("listeners")?.text ?? "");
const programs = (language: string) => blocks.filter((block) => block.language === language);

let cluster: Cluster;
let listeners: PythonListeners;

beforeAll(async () => {
  listeners = await PythonListeners.prepare([PYZMQ]);
  cluster = await startCluster({ agents: 1, workflows: { "hello.yml": HELLO } });
}, 180_000);

afterAll(async () => {
  await cluster?.stop();
  listeners?.[Symbol.dispose]();
});

function startPython(index: number): Program {
  const file = listeners.path(`snippet-${index}.py`);
  // The only thing that a reader may have to change is where the principal is.
  const text = programs("python")[index]?.text.replace("port=5561", `port=${cluster.ports.api}`) ?? "";
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

test("the page shows three programs in Python and two in TypeScript", () => {
  expect([programs("python").length, programs("ts").length]).toEqual([3, 2]);
  const known = new Set(["python", "ts", "sh", "yaml"]);
  expect(blocks.filter((block) => !known.has(block.language ?? "")).map((block) => block.line)).toEqual([]);
});

test("Python: the client", async () => {
  await using program = startPython(0);
  await program.child.exited;
  expect(program.output).toBe("COMPLETED\n");
});

test("Python: the listener", async () => {
  await using _program = startPython(1);
  await until("a run", async () => (await runsBy(cluster.client, "listener:minutely")).length === 1);
});

test("Python: the log", async () => {
  await using program = startPython(2);
  let shown: string | undefined;
  // It does not say when it is subscribed.
  while (shown === undefined) {
    await hello("the log");
    shown = await Promise.race([
      program.waitFor(/\{.*hello the log.*\}/).then(([line]) => line),
      Bun.sleep(500).then(() => undefined),
    ]);
  }
  expect(JSON.parse(shown)).toMatchObject({ level: "INFO", text: "hello the log" });
});

test("TypeScript: the listener", async () => {
  await using listener = startTypeScript(0);
  await listener.waitFor(/minute \d+: run [0-9a-f-]{36}/, "stdout");
  expect(await runsBy(cluster.client, "listener:Minutely")).toHaveLength(1);
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
      Bun.sleep(500).then(() => undefined),
    ]);
  }
  expect(JSON.parse(shown)).toMatchObject({ level: "INFO", text: "hello the stream" });
});
