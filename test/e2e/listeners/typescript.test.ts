import { afterAll, beforeAll, expect, test } from "bun:test";
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Cluster, cdktr, freePorts, startCluster } from "../../support/cdktr.ts";
import { processesWith, ROOT, runOver, TemporaryDirectory, until } from "../support/fixtures.ts";
import { EXAMPLES, HELLO, runsBy, whoOf } from "./support.ts";

let cluster: Cluster;
const directory = new TemporaryDirectory();

beforeAll(async () => {
  cluster = await startCluster({ agents: 1, workflows: { "hello.yml": HELLO } });
}, 120_000);

afterAll(async () => {
  await cluster?.stop();
  directory[Symbol.dispose]();
});

/** A new folder with files in it. */
function folder(name: string, files: Record<string, string>): string {
  for (const [path, text] of Object.entries(files)) {
    const file = directory.path(name, path);
    mkdirSync(join(file, ".."), { recursive: true });
    writeFileSync(file, text);
  }
  return directory.path(name);
}

const BELL = `import { EventListener } from "cdktr";
export default class Doorbell extends EventListener {
  async startListening(): Promise<void> {
    const { workflow_instance_id } = await this.runWorkflow("hello", { params: { who: "Ada" }, dedupeKey: "ring" });
    console.log("made", workflow_instance_id);
    await new Promise((ended) => this.signal.addEventListener("abort", ended));
    console.log("told to end");
  }
}
`;

test("a listener in a folder of its own: no node_modules, no runtime on the PATH", async () => {
  const cwd = folder("alone", {
    "bell.ts": BELL,
    // What lies there must not change what is run.
    "bunfig.toml": 'preload = ["./evil.ts"]\n',
    "evil.ts": 'console.log("evil");',
    ".env": "SECRET=evil\n",
  });
  const env = { PATH: directory.path("empty") };
  await using listener = cluster.spawn(["listen", "bell.ts"], { cwd, env });
  const [, id = ""] = await listener.waitFor(/made (\S+)/, "stdout");
  const run = await runOver(cluster.client, id);
  expect({ status: run.status, trigger: run.trigger, params: run.params }).toEqual({
    status: "COMPLETED",
    trigger: "listener:Doorbell",
    params: { who: "Ada" },
  });
  listener.kill("SIGTERM");
  const { code, stdout, stderr } = await listener.finished;
  expect(code).toBe(0);
  expect(stdout).toContain("told to end");
  expect(stdout).not.toContain("evil");
  expect(stderr).toContain("1 triggers delivered");
  expect(processesWith(join(cwd, "bell.ts"))).toEqual([]);
});

test("packages beside the file work, the name can be given, what it starts is no Bun", async () => {
  const cwd = folder("packages", {
    "node_modules/greeting/package.json": '{ "name": "greeting", "main": "index.js" }',
    "node_modules/greeting/index.js": 'exports.greeting = "Grace";',
    "helper.ts": 'export { greeting } from "greeting";',
    "anonymous.ts": `import { EventListener } from "cdktr";
import { greeting } from "./helper.ts";
export default class extends EventListener {
  async startListening() {
    await this.runWorkflow("hello", { params: { who: greeting } });
    console.log("child", Bun.spawnSync(["sh", "-c", "echo be=$BUN_BE_BUN"]).stdout.toString());
  }
}`,
  });
  const args = ["listen", join(cwd, "anonymous.ts")];
  const ended = await cluster.cdktr(args);
  expect(ended.code).toBe(0);
  expect(ended.stdout).toBe("child be=\n\n");
  expect(await whoOf(cluster.client, await runsBy(cluster.client, "listener:anonymous"))).toEqual(["Grace"]);
  expect((await cluster.cdktr([...args, "--name", "front door"])).code).toBe(0);
  expect(await runsBy(cluster.client, "listener:front-door")).toHaveLength(1);
});

test("a file that is no listener is refused at once, with the reason", async () => {
  const cwd = folder("wrong", {
    "number.ts": "export default 7;",
    "broken.ts": 'import { EventListener } from "cdktr";\nexport default class {',
    "missing.ts": 'import "no-such-package";',
  });
  const number = await cluster.cdktr(["listen", join(cwd, "number.ts")]);
  expect(number.code).toBe(4);
  expect(number.stderr).toContain("is not a listener");
  const broken = await cluster.cdktr(["listen", join(cwd, "broken.ts")]);
  expect(broken.code).toBe(4);
  expect(broken.stderr).toContain("broken.ts:2");
  const missing = await cluster.cdktr(["listen", join(cwd, "missing.ts")]);
  expect(missing.code).toBe(4);
  expect(missing.stderr).toContain("no-such-package");
  expect((await cluster.cdktr(["listen", join(cwd, "none.ts")])).code).toBe(4);
});

test("a failing one is restarted, and one whose parent is killed exits", async () => {
  const cwd = folder("fails", {
    "fails.ts": `import { appendFileSync, existsSync, readFileSync } from "node:fs";
import { EventListener } from "cdktr";
export default class Fails extends EventListener {
  async startListening() {
    appendFileSync(import.meta.dir + "/starts", "x");
    const starts = readFileSync(import.meta.dir + "/starts", "utf8").length;
    if (starts === 1) throw new Error("trouble with bells");
    if (starts === 2) setTimeout(() => { throw new Error("thrown aside"); }, 1);
    if (starts < 3) await new Promise(() => {});
    if (!existsSync(import.meta.dir + "/well")) process.kill(process.pid, "SIGKILL");
    await this.runWorkflow("hello");
    console.log("well now");
    await new Promise(() => {});
  }
}`,
  });
  const file = join(cwd, "fails.ts");
  const [port = 0] = await freePorts(1);
  const listener = cluster.spawn(["listen", file, "--metrics-port", String(port)]);
  const page = (name: string) => fetch(`http://127.0.0.1:${port}/${name}`);
  const health = async () => (await page("healthz")).json();
  const known = async () =>
    (await cluster.client.call("LSLISTENERS", {})).find(({ name }) => name === "Fails");
  await listener.waitFor(/restarting in 2 s/);
  // It goes on failing until it is well: each look may come while it tries again.
  const told = await until("its health tells", async () => {
    const response = await page("healthz");
    return response.status === 503 && response.json();
  });
  expect(told).toEqual({
    status: "failing",
    error: "the listener Fails is backing off: its process ended with SIGKILL",
  });
  await until("the principal knows", async () => (await known())?.state === "backing off");
  writeFileSync(join(cwd, "well"), "");
  await listener.waitFor(/well now/, "stdout");
  expect(await health()).toMatchObject({ status: "ok", listeners: [{ state: "running" }] });
  expect((await known())?.restarts).toBeGreaterThanOrEqual(3);
  await until("it has triggered", async () =>
    (await (await page("metrics")).text()).includes('cdktr_listener_delivered_total{listener="Fails"} 1\n'),
  );
  expect(listener.stderr).toContain("trouble with bells");
  expect(listener.stderr).toContain("thrown aside");
  expect(listener.stderr).toContain("failed (1); restarting in 0.5 s");
  expect(listener.stderr).toContain("failed (1); restarting in 1 s");
  expect(listener.stderr).toContain("failed (SIGKILL); restarting in 2 s");
  listener.kill("SIGKILL");
  await until("the listener's process is gone", () => processesWith(file).length === 0);
  await listener.finished;
});

test("1,000 events over kills of principal and listener: each is one run, in order", async () => {
  const events = 1000;
  const cwd = folder("counts", {
    "counts.ts": `import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { EventListener } from "cdktr";
const PLACE = import.meta.dir + "/place";
export default class Counts extends EventListener {
  async startListening() {
    // As a reader of a queue does: an event is acknowledged when its trigger is safe, else it comes again.
    for (let i = existsSync(PLACE) ? Number(readFileSync(PLACE, "utf8")) : 0; i < ${events}; i++) {
      await this.runWorkflow("hello", { params: { who: String(i) }, dedupeKey: "event-" + i });
      writeFileSync(PLACE, String(i + 1));
    }
  }
}`,
  });
  await using own = await startCluster({ workflows: { "hello.yml": HELLO } });
  const listener = own.spawn(["listen", join(cwd, "counts.ts")], {
    env: { CDKTR_DEFAULT_ZMQ_TIMEOUT_MS: "1000" },
  });
  const place = () => (existsSync(join(cwd, "place")) ? Number(readFileSync(join(cwd, "place"), "utf8")) : 0);
  await until("300 events", () => place() >= 300);
  own.principal?.kill("SIGKILL");
  await own.principal?.finished;
  // Its process, not its supervisor.
  const [pid] = processesWith(join(cwd, "counts.ts")).filter((found) => found !== listener.pid);
  process.kill(pid ?? 0, "SIGKILL");
  await listener.waitFor(/restarting/);
  await own.startPrincipal();
  const { code, stderr } = await listener.finished;
  expect({ code, stderr }).toEqual({ code: 0, stderr: expect.stringContaining("0 buffered on disk") });
  const runs = await runsBy(own.client, "listener:Counts");
  expect(runs).toHaveLength(events);
  const order = (await whoOf(own.client, runs)).map(Number);
  expect(new Set(order).size).toBe(events);
  const at = new Map(runs.map((run, i) => [order[i], run.created_at_ms]));
  const times = Array.from({ length: events }, (_, i) => at.get(i) ?? Number.NaN);
  expect(times).toEqual([...times].sort((a, b) => a - b));
}, 180_000);

test("the types that it writes fit what it gives, and only that", async () => {
  const cwd = directory.path("typed");
  expect((await cdktr(["sdk", "typescript", cwd])).code).toBe(0);
  const compile = async (text: string) => {
    writeFileSync(join(cwd, "listener.ts"), text);
    const child = Bun.spawn(
      [
        process.execPath,
        join(ROOT, "node_modules/.bin/tsc"),
        "--noEmit",
        "--strict",
        "--target",
        "esnext",
        "--module",
        "preserve",
        "--types",
        "",
        "--ignoreConfig",
        "cdktr.d.ts",
        "listener.ts",
      ],
      { cwd, stdout: "pipe" },
    );
    return { text: await new Response(child.stdout).text(), code: await child.exited };
  };
  const good = BELL.replace(/console\.log.*\n/g, "\n");
  expect(await compile(good)).toEqual({ text: "", code: 0 });
  const bad = await compile(good.replace('"hello"', "7").replace("startListening", "startlistening"));
  expect(bad.code).not.toBe(0);
  expect(bad.text).toContain("Type 'number' is not assignable to type 'string'");
  expect(bad.text).toContain("startListening");
});

test("the example that watches files: every file one run, bursts are one event", async () => {
  const inbox = directory.path("inbox");
  const file = folder("watcher", {});
  mkdirSync(file, { recursive: true });
  cpSync(join(EXAMPLES, "file-watcher.ts"), join(file, "file-watcher.ts"));
  await using watcher = cluster.spawn(["listen", join(file, "file-watcher.ts")], {
    env: { WATCH_DIRECTORY: inbox },
  });
  await watcher.waitFor(/watching/, "stdout");
  const began = performance.now();
  for (let i = 0; i < 200; i++) writeFileSync(join(inbox, "busy.txt"), String(i));
  // A file that nobody writes to for so long is at rest, ms.
  const settled = 200;
  const pauses = (performance.now() - began) / settled;
  for (let i = 0; i < 20; i++) writeFileSync(join(inbox, `file-${i}.txt`), "");
  const names = await until("a run for every file", async () => {
    const found = await whoOf(cluster.client, await runsBy(cluster.client, "listener:FileWatcher"));
    return new Set(found).size === 21 && found;
  });
  expect(names.filter((name) => name !== "busy.txt").length).toBe(20);
  expect(names.filter((name) => name === "busy.txt").length).toBeLessThan(10 + pauses);
});

test("the example that ships log lines: each arrives elsewhere, also when that was away", async () => {
  const cwd = folder("shipper", {});
  mkdirSync(cwd, { recursive: true });
  cpSync(join(EXAMPLES, "ship-logs.ts"), join(cwd, "ship-logs.ts"));
  const lines: { payload: string; workflow_instance_id: string }[] = [];
  let failures = 0;
  const { promise: arrived, resolve } = Promise.withResolvers<void>();
  using server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    async fetch(request) {
      if (failures++ < 2) return new Response("not now", { status: 503 });
      lines.push(...((await request.json()) as typeof lines));
      if (lines.some((line) => line.payload === "hello the shipper")) resolve();
      return new Response();
    },
  });
  await using shipper = cluster.spawn(["listen", join(cwd, "ship-logs.ts")], {
    env: { SHIP_TO: server.url.href },
  });
  await shipper.waitFor(/shipping/, "stdout");
  const { workflow_instance_id } = await cluster.client.runTask("hello", {
    params: { who: "the shipper" },
    dedupe_key: "shipped",
  });
  await arrived;
  expect(lines.filter((line) => line.workflow_instance_id === workflow_instance_id)).toHaveLength(1);
  expect(shipper.stderr).toContain("status 503");
});
