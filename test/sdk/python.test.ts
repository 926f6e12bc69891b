import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import {
  chmodSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, relative } from "node:path";
import { freePorts } from "../../scripts/support/ports.ts";
import { PYTHON_PACKAGE } from "../../src/sdk/python-package.ts";
import { Router } from "../../src/zmq/index.ts";
import { TcpProxy } from "../chaos/proxy.ts";
import { type Cluster, cdktr, startCluster } from "../support/cdktr.ts";
import { PYZMQ, pipOf, pythonWith } from "../support/python.ts";

setDefaultTimeout(120_000);

const SOURCE = join(import.meta.dir, "../../src/sdk/python");
const directory = mkdtempSync(join(tmpdir(), "cdktr-sdk-"));
const target = join(directory, "package");
let python: string;
let cluster: Cluster;

function workflow(command: string): string {
  return `name: test
params:
  who:
    default: world
tasks:
  only:
    name: Only
    config: !Subprocess
      cmd: sh
      args: ["-c", ${JSON.stringify(command)}]
`;
}

beforeAll(async () => {
  python = await pythonWith([PYZMQ]);
  cluster = await startCluster({
    agents: 1,
    workflows: {
      "hello.yml": workflow('echo "hello $CDKTR_PARAM_WHO"'),
      "fails.yml": workflow("exit 3"),
      "slow.yml": workflow("sleep 30"),
    },
  });
}, 180_000);

afterAll(async () => {
  await cluster?.stop();
  rmSync(directory, { recursive: true, force: true });
});

function start(script: string, ...args: string[]) {
  return Bun.spawn([python, join(import.meta.dir, script), ...args], {
    env: {
      ...process.env,
      PYTHONPATH: [target, process.env.PYTHONPATH].filter(Boolean).join(":"),
      CDKTR_APP_DATA_DIRECTORY: join(directory, "data"),
    },
    stdout: "pipe",
    stderr: "pipe",
  });
}

test("the executable carries every file of the package, and nothing else", () => {
  const files = readdirSync(SOURCE, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !/__pycache__|mypy_cache/.test(entry.parentPath))
    .map((entry) => relative(SOURCE, join(entry.parentPath, entry.name)));
  expect(Object.keys(PYTHON_PACKAGE).sort()).toEqual(files.sort());
  for (const file of files) expect(PYTHON_PACKAGE[file]).toBe(readFileSync(join(SOURCE, file), "utf8"));
});

test("'cdktr sdk python' writes it, again without a change, and never over what is not its own", async () => {
  const first = await cdktr(["sdk", "python", target]);
  expect({ code: first.code, stdout: first.stdout }).toEqual({ code: 0, stdout: "" });
  expect(first.stderr).toContain("pip install");
  const again = await cdktr(["sdk", "python", target, "--json"]);
  expect(JSON.parse(again.stdout)).toMatchObject({ written: [], unchanged: Object.keys(PYTHON_PACKAGE) });

  const mine = join(target, "README.md");
  writeFileSync(mine, "my own notes\n");
  rmSync(join(target, "cdktr/result.py"));
  const refused = await cdktr(["sdk", "python", target]);
  expect(refused.code).toBe(1);
  expect(refused.stderr).toContain("README.md");
  expect(refused.stderr).toContain("--force");
  expect(readFileSync(mine, "utf8")).toBe("my own notes\n");
  expect(readdirSync(join(target, "cdktr"))).not.toContain("result.py");
  expect((await cdktr(["sdk", "python", target, "--force"])).code).toBe(0);
  expect(readFileSync(mine, "utf8")).toBe(PYTHON_PACKAGE["README.md"] ?? "");

  const blocked = join(directory, "file");
  writeFileSync(blocked, "");
  chmodSync(blocked, 0o400);
  const impossible = await cdktr(["sdk", "python", join(blocked, "below")]);
  expect(impossible.code).toBe(1);
  expect(impossible.stderr).toContain("cannot be");
});

test("pip installs it, and it is typed", async () => {
  const site = join(directory, "site");
  const install = [...(await pipOf(python)), "install", "--quiet", "--no-deps", "--target", site, target];
  const pip = Bun.spawn(install, { stdout: "pipe", stderr: "pipe" });
  const errors = await new Response(pip.stderr).text();
  expect({
    status: await pip.exited,
    errors: errors.replace(/^.*(WARNING|notice|Running pip as).*$/gm, "").trim(),
  }).toEqual({
    status: 0,
    errors: "",
  });
  expect(readdirSync(join(site, "cdktr")).sort()).toContain("py.typed");
  const listener = join(directory, "typed.py");
  writeFileSync(
    listener,
    `from cdktr import EventListener, Principal

class Bell(EventListener):
    def start_listening(self) -> None:
        made = self.run_workflow("hello", params={"who": 1})
        if made.payload is not None:
            print(made.payload["workflow_instance_id"].upper())

def latest(principal: Principal) -> str:
    return str(principal.get_recent_workflow_statuses().unwrap()[0]["status"])
`,
  );
  const mypy = Bun.spawn(
    [
      await pythonWith(["mypy==1.19.0", PYZMQ]),
      "-m",
      "mypy",
      "--strict",
      "--cache-dir=/dev/null",
      listener,
      join(target, "cdktr"),
    ],
    {
      env: { ...process.env, MYPYPATH: target },
      stdout: "pipe",
      stderr: "pipe",
    },
  );
  expect(await new Response(mypy.stdout).text()).toMatch(/^Success: no issues found/);
}, 240_000);

test("every request of the client, against a principal with an agent", async () => {
  const child = start("client_checks.py", String(cluster.ports.api));
  const [stdout, stderr, status] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  expect(JSON.parse(stdout)).toEqual({
    ping: true,
    workflows: ["fails", "hello", "slow"],
    agents: ["UP"],
    triggered: [true, null],
    line: ["hello", true, "INFO", "hello Ada"],
    "after close": [],
    finished: [true, "COMPLETED", "api"],
    lines: [["hello", "Ada"]],
    statuses: [["hello", "COMPLETED"]],
    failed: [false, "FAILED", true],
    timeout: [false, true],
    rings: 1,
    "ring trigger": "listener:Doorbell",
    "ring params": { who: "the bell" },
    unknown: [false, false, null, 'There is no workflow "helo": did you mean "hello"?'],
    "wait for nothing": 'There is no workflow "helo": did you mean "hello"?',
    unwrap: 'There is no workflow "helo": did you mean "hello"?',
    threads: 200,
  });
});

test("a listener goes on over a principal that is killed and started again: each event is one run", async () => {
  const events = 150;
  const child = start("steady_client.py", String(cluster.ports.api), String(events));
  const errors = new Response(child.stderr).text();
  const decoder = new TextDecoder();
  let text = "";
  let restart: Promise<unknown> | undefined;
  for await (const chunk of child.stdout) {
    text += decoder.decode(chunk, { stream: true });
    if (restart === undefined && text.split("\n").length > events / 3) {
      cluster.principal?.kill("SIGKILL");
      restart = cluster.principal?.finished.then(() => cluster.startPrincipal());
    }
  }
  await restart;
  expect({ status: await child.exited, errors: await errors }).toEqual({
    status: 0,
    // None if the principal is back before it is missed.
    errors: expect.stringMatching(
      /^(Triggers are buffered on disk because the principal does not accept them: .*\n)?$/,
    ),
  });
  expect(text.trimEnd().split("\n")).toEqual(Array.from({ length: events }, (_, i) => `${i} True None`));
  const runs = await cluster.client.listRuns({ limit: 10_000 });
  expect(runs.filter((run) => run.trigger === "listener:counter")).toHaveLength(events);
});

test("triggers of a workflow whose volume is late wait for it, and those of others do not", async () => {
  cluster.writeWorkflow("late/volume.yml", workflow("true"));
  await cluster.principal?.waitFor(/Workflow late\.volume loaded/);
  await cluster.principal?.stop();
  const volume = join(cluster.workflowDirectory, "late");
  renameSync(volume, join(cluster.directory, "away"));
  await cluster.startPrincipal();
  const child = start("late_client.py", String(cluster.ports.api));
  const errors = new Response(child.stderr).text();
  let text = "";
  for await (const chunk of child.stdout) {
    text += new TextDecoder().decode(chunk);
    if (text.split("\n").length === 5) renameSync(join(cluster.directory, "away"), volume);
  }
  expect({ status: await child.exited, text, errors: await errors }).toEqual({
    status: 0,
    text: ["late.volume True True", "hello True False", "late.volume True True", "hello True False", ""].join(
      "\n",
    ),
    errors: expect.stringMatching(
      /^Triggers of workflow late\.volume are buffered on disk .* is not visible now.*\n$/,
    ),
  });
  expect(await cluster.client.listRuns({ workflow_id: "late.volume" })).toHaveLength(2);
});

test("a client of several principals passes by those that are gone, and goes on when its own dies", async () => {
  const [dead = 0] = await freePorts(1);
  const proxy = await TcpProxy.to(cluster.ports.api);
  const { port } = proxy;
  try {
    const child = Bun.spawn([python, join(import.meta.dir, "moving_client.py")], {
      env: {
        ...process.env,
        PYTHONPATH: target,
        CDKTR_PRINCIPALS: `127.0.0.1:${dead}, :${port},127.0.0.1:${cluster.ports.api}`,
      },
      stdin: "pipe",
      stdout: "pipe",
    });
    const output = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    let first = "";
    for (let read = await output.read(); !read.done; read = await output.read()) {
      first += read.value;
      if (first.endsWith("\n")) break;
    }
    expect(first).toBe(`True ${port}\n`);
    proxy.close();
    child.stdin.write("\n");
    await child.stdin.end();
    let rest = "";
    for (let read = await output.read(); !read.done; read = await output.read()) rest += read.value;
    expect(rest).toBe(`True ${cluster.ports.api}\nTrue COMPLETED\nhello world\n`);
  } finally {
    proxy.close();
  }
  const nobody = Bun.spawn(
    [
      python,
      "-c",
      `from cdktr import Principal; r = Principal(principals=["127.0.0.1:${dead}", "localhost:${dead}"], timeout=0.2, attempts=1).ping(); print(r.success, r.error)`,
    ],
    { env: { ...process.env, PYTHONPATH: target }, stdout: "pipe" },
  );
  expect(await new Response(nobody.stdout).text()).toMatch(
    new RegExp(
      `^False no principal answered at 127.0.0.1:${dead} and localhost:${dead} within [0-9.]+ s \\(PING\\)\n$`,
    ),
  );
});

test("no principal: the result says so within the given time", async () => {
  const child = Bun.spawn(
    [
      python,
      "-c",
      "from cdktr import Principal; r = Principal('127.0.0.1', 1, timeout=0.1, attempts=2).ping(); print(r.success, r.error)",
    ],
    { env: { ...process.env, PYTHONPATH: target }, stdout: "pipe" },
  );
  expect((await new Response(child.stdout).text()).trim()).toBe(
    "False no principal answered at 127.0.0.1:1 within 0.2 s (PING)",
  );
});

test("before anything that a principal of the original implementation does not know, a connection carries a PING", async () => {
  const router = new Router({ linger: 0 });
  await router.bind("tcp://127.0.0.1:*");
  const asked: string[] = [];
  const serving = (async () => {
    for await (const message of router) {
      const [verb = ""] = message.at(-1)?.toString().split("\x01") ?? [];
      asked.push(verb);
      const reply = verb === "PING" ? "PONG" : "CLIENTERROR\x01ParseError: Unrecognised message type";
      await router.send([...message.slice(0, -1), reply]);
    }
  })();
  const port = router.lastEndpoint.split(":").at(-1);
  const script = `from cdktr import Principal; p = Principal("127.0.0.1", ${port}); print([p.get_run("x").success for _ in range(2)])`;
  const child = Bun.spawn([python, "-c", script], {
    env: { ...process.env, PYTHONPATH: target },
    stdout: "pipe",
  });
  expect((await new Response(child.stdout).text()).trim()).toBe("[False, False]");
  expect(asked).toEqual(["PING", "GETRUN", "GETRUN"]);
  router.close();
  await serving;
});

test("the client speaks CURVE with a server that demands it, and gets nothing with another key", async () => {
  const child = start("curve_checks.py");
  const [stdout, stderr] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  expect({ stdout: stdout.trim(), stderr }).toEqual({
    stdout: "known True\nwrong server key False\nno keys False\nincomplete ValueError",
    stderr: "",
  });
});
