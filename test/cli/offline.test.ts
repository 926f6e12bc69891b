import { expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import packageJson from "../../package.json" with { type: "json" };
import { CDKTR, cdktr, cleanEnvironment, freePorts } from "../support/cdktr.ts";

const ROOT = join(import.meta.dir, "../..");
const quick = { CDKTR_DEFAULT_ZMQ_TIMEOUT_MS: "200" };

test("the version, in every way it is asked for", async () => {
  for (const args of [["--version"], ["-V"], ["-v"], ["version"], ["runs", "--version"]]) {
    expect(await cdktr(args)).toEqual({ code: 0, stdout: `${packageJson.version}\n`, stderr: "" });
  }
  expect(JSON.parse((await cdktr(["version", "--json"])).stdout).version).toBe(packageJson.version);
});

test("the version and help load no schemas, YAML, logger or native library", () => {
  const transpiler = new Bun.Transpiler({ loader: "ts" });
  const loaded = new Set<string>();
  const visit = (path: string) => {
    if (loaded.has(path)) return;
    loaded.add(path);
    if (!path.endsWith(".ts")) return;
    for (const step of transpiler.scanImports(readFileSync(path, "utf8"))) {
      if (step.kind !== "import-statement") continue;
      visit(step.path.startsWith(".") ? resolve(dirname(path), step.path) : step.path);
    }
  };
  visit(join(ROOT, "src/main.ts"));
  const packages = [...loaded].filter((path) => !path.startsWith("/") && !path.startsWith("node:"));
  expect(packages).toEqual(["citty"]);
  expect(
    [...loaded].filter((path) => /src\/(zmq|native|storage|protocol|principal|agent|tui)\//.test(path)),
  ).toEqual([]);
});

test("where it went wrong is shown to those who ask for it", async () => {
  expect((await cdktr(["docs", "nothing-like-it"])).stderr).not.toContain("    at ");
  const asked = await cdktr(["docs", "nothing-like-it"], { env: { CDKTR_LOG_LEVEL: "DEBUG" } });
  expect(asked.code).toBe(4);
  expect(asked.stderr).toContain("    at ");
});

test("help goes to stdout and is done; a group without a command is wrong usage", async () => {
  for (const args of [
    [],
    ["--help"],
    ["help"],
    ["runs", "--help"],
    ["help", "runs", "list"],
    ["run", "-h"],
  ]) {
    const { code, stdout, stderr } = await cdktr(args);
    expect({ args, code, stderr }).toEqual({ args, code: 0, stderr: "" });
    expect(stdout).toContain("USAGE");
    expect(stdout).not.toContain("\x1b");
  }
  const group = await cdktr(["runs"]);
  expect(group.code).toBe(2);
  expect(group.stdout).toBe("");
  expect(group.stderr).toContain("cdktr runs COMMAND");
});

test.each([
  [["rums"], "Did you mean 'runs'?"],
  [["rusn", "list"], "Did you mean 'runs'?"],
  [["runs", "list", "--statsu", "FAILED"], "Did you mean '--status'?"],
  [["run"], "needs ID"],
  [["run", "x", "-P", "novalue"], "KEY=VALUE"],
  [["runs", "list", "-n", "many"], "whole number"],
  [["logs", "query", "--last", "soon"], "For example 30s"],
  [["logs", "query", "--last", "1h", "--since", "now"], "cannot be combined"],
  [["--principal", "host:99999", "runs", "list"], "HOST:PORT"],
  [["start", "principal", "--port", "http"], "CDKTR_PRINCIPAL_PORT"],
])("%p is wrong usage: exit 2, nothing on stdout", async (args, text) => {
  const { code, stdout, stderr } = await cdktr(args);
  expect(code).toBe(2);
  expect(stdout).toBe("");
  expect(stderr).toContain("error: ");
  expect(stderr).toContain(text);
  expect(stderr).not.toContain("    at ");
});

test("a principal that is not there: exit 3, the address, how long, what to do", async () => {
  const [port = 0] = await freePorts(1);
  for (const args of [
    ["runs", "list"],
    ["run", "x", "--follow"],
    ["logs", "tail"],
    ["db", "query", "SELECT 1"],
  ]) {
    const { code, stdout, stderr } = await cdktr([...args, "--principal", `127.0.0.1:${port}`], {
      env: quick,
    });
    expect({ args, code, stdout }).toEqual({ args, code: 3, stdout: "" });
    expect(stderr).toContain(`127.0.0.1:${port}`);
    expect(stderr).toContain("0.2 s");
    expect(stderr).toContain("cdktr start principal");
  }
});

test("files that are not there: exit 4, and the principal is not asked", async () => {
  for (const words of [
    ["workflow", "validate", "nothing-here"],
    ["workflow", "graph", "nothing-here.yml"],
    ["workflow", "graph", "nothing/here"],
    ["listen", "nothing-here.ts"],
  ]) {
    const { code, stdout, stderr } = await cdktr(words, { env: quick });
    expect({ words, code, stdout }).toEqual({ words, code: 4, stdout: "" });
    expect(stderr).toMatch(/There is no file .*nothing/);
  }
});

test("output whose reader has exited ends quietly; output that cannot be written is not reported as a bug", async () => {
  const shell = async (script: string) => {
    const child = Bun.spawn(["bash", "-c", script, "bash", ...CDKTR], {
      stdout: "pipe",
      stderr: "pipe",
      env: cleanEnvironment(),
    });
    const [out, err] = await Promise.all([
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
    ]);
    return `${out}${err}`;
  };
  for (const words of ["--help", "docs workflows", "config list", "workflow schema", "completion bash"]) {
    const piped = await shell(`"$@" ${words} | head -1 >/dev/null; echo "$\{PIPESTATUS[0]}"`);
    expect(`${words}: ${piped}`).toBe(`${words}: 0\n`);
    const full = await shell(`"$@" ${words} >/dev/full; echo $?`);
    expect(full).toMatch(
      /^1\nerror: The output cannot be written: .*no space left on device.*\nhint: The disk/,
    );
  }
});

test("a name that does not resolve does not cause a crash", async () => {
  const { code, stderr } = await cdktr(["runs", "list", "--principal", "no-such-host.invalid:5561"], {
    env: quick,
  });
  expect(code).toBe(3);
  expect(stderr).toContain("no-such-host.invalid:5561");
});

test("settings: .env, environment, flag, and where each came from", async () => {
  const directory = mkdtempSync(join(tmpdir(), "cdktr-config-"));
  try {
    writeFileSync(join(directory, ".env"), "CDKTR_RETRY_ATTEMPTS=7\nCDKTR_PRINCIPAL_PORT=6001\n");
    const env = { CDKTR_PRINCIPAL_PORT: "6002", CDKTR_LOG_LEVEL: "warn" };
    const list = await cdktr(["config", "list", "--json", "--principal", "example.org:6003"], {
      cwd: directory,
      env,
    });
    expect(list.code).toBe(0);
    const rows = JSON.parse(list.stdout) as { name: string; value: unknown; source: string }[];
    const found = (name: string) => {
      const row = rows.find((each) => each.name === name);
      return [row?.value, row?.source];
    };
    expect(found("CDKTR_RETRY_ATTEMPTS")).toEqual([7, ".env"]);
    expect(found("CDKTR_LOG_LEVEL")).toEqual(["WARN", "environment"]);
    expect(found("CDKTR_PRINCIPAL_HOST")).toEqual(["example.org", "flag"]);
    expect(found("CDKTR_PRINCIPAL_PORT")).toEqual([6003, "flag"]);
    expect(found("CDKTR_LOGS_LISTENING_PORT")).toEqual([5562, "default"]);

    const text = await cdktr(["config", "list"], { cwd: directory, env });
    expect(text.stdout).toMatch(/^CDKTR_PRINCIPAL_PORT +6002 +environment /m);

    const wrong = await cdktr(["config", "list"], { cwd: directory, env: { CDKTR_RETRY_ATTEMPTS: "-1" } });
    expect(wrong.code).toBe(2);
    expect(wrong.stderr).toContain('CDKTR_RETRY_ATTEMPTS="-1" (environment)');
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

test("the manual: topics, pages, what was probably meant", async () => {
  const topics = JSON.parse((await cdktr(["docs", "--json"])).stdout) as { topic: string }[];
  expect(topics.map(({ topic }) => topic)).toContain("getting-started");
  const page = await cdktr(["docs", "getting-started"]);
  expect(page.code).toBe(0);
  expect(page.stdout).toContain("    cdktr run hello --follow\n");
  const wrong = await cdktr(["docs", "geting-started"]);
  expect(wrong.code).toBe(4);
  expect(wrong.stderr).toContain("Did you mean 'getting-started'?");
});

test("a reader that exits is not an error", async () => {
  const command = [...CDKTR, "docs", "workflows"].map((word) => `'${word}'`).join(" ");
  const child = Bun.spawn(["bash", "-c", `${command} | head -n 1; echo "$\{PIPESTATUS[0]}"`], {
    env: cleanEnvironment(),
    stdout: "pipe",
    stderr: "pipe",
  });
  expect(await new Response(child.stderr).text()).toBe("");
  expect(await new Response(child.stdout).text()).toBe("Workflow files\n0\n");
});

/** What a command writes to a terminal. */
async function onTerminal(args: readonly string[], env: Record<string, string> = {}): Promise<string> {
  let output = "";
  const decoder = new TextDecoder();
  const child = Bun.spawn([...CDKTR, ...args], {
    env: cleanEnvironment({ TERM: "xterm-256color", NO_COLOR: undefined, ...env }),
    terminal: {
      cols: 70,
      rows: 24,
      data: (_, bytes) => {
        output += decoder.decode(bytes, { stream: true });
      },
    },
  });
  await child.exited;
  child.terminal?.close();
  return output;
}

test("colour on a terminal, and ways to have none", async () => {
  expect(await onTerminal(["docs"])).toContain("\x1b[");
  expect(await onTerminal(["docs", "--no-color"])).not.toContain("\x1b[");
  expect(await onTerminal(["--no-color", "docs"])).not.toContain("\x1b[");
  expect(await onTerminal(["docs"], { NO_COLOR: "1" })).not.toContain("\x1b[");
  const page = await onTerminal(["docs", "cli"]);
  expect(page).toContain("\x1b[");
  const prose = page.split(/\r?\n/).filter((line) => !line.startsWith("    "));
  expect(prose.filter((line) => Bun.stringWidth(line) > 70)).toEqual([]);
});
