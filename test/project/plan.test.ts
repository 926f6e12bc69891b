import { afterEach, beforeEach, expect, test } from "bun:test";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseEnv } from "node:util";
import type { Answers } from "../../src/project/answers.ts";
import {
  checkProjectDirectory,
  checkReach,
  checkWorkflowDirectory,
  insideProject,
} from "../../src/project/checks.ts";
import { dotenvText, mergeDotenv } from "../../src/project/dotenv.ts";
import { lineDiff } from "../../src/project/line-diff.ts";
import { nextSteps, shellWord, shortPath } from "../../src/project/next-steps.ts";
import { filesToWrite, planFiles } from "../../src/project/plan.ts";
import { freePortsFrom, takenPorts } from "../../src/project/ports.ts";
import { parseWorkflow } from "../../src/workflow/parse.ts";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "cdktr-plan-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

function answers(more: Partial<Extract<Answers, { kind: "try" | "principal" }>> = {}): Answers {
  return {
    kind: "try",
    directory,
    dataDirectory: ".cdktr",
    service: undefined,
    host: "127.0.0.1",
    ports: { api: 5561, logsListening: 5562, logsPublishing: 5563 },
    workflowDirectory: "workflows",
    keys: false,
    withAgent: true,
    example: true,
    crontab: undefined,
    ...more,
  };
}

test("a plan compares with what is there, and only what is new or allowed is written", () => {
  const paths = [
    ".env",
    ".gitignore",
    ".cdktr/.gitignore",
    ".cdktr/workflow.schema.json",
    "workflows/hello.yml",
  ];
  const first = planFiles(answers());
  expect(first.map(({ path, state }) => [path, state])).toEqual(paths.map((path) => [path, "new"]));
  for (const { path, text } of first) {
    mkdirSync(join(directory, path, ".."), { recursive: true });
    writeFileSync(join(directory, path), text);
  }
  expect(new Set(planFiles(answers()).map(({ state }) => state))).toEqual(new Set(["same"]));
  writeFileSync(join(directory, "workflows/hello.yml"), "mine");
  const third = planFiles(answers({ ports: { api: 6001, logsListening: 6002, logsPublishing: 6003 } }));
  expect(third.filter(({ state }) => state === "differs").map(({ path }) => path)).toEqual([
    ".env",
    "workflows/hello.yml",
  ]);
  expect(filesToWrite(third, new Map())).toEqual([]);
  expect(
    filesToWrite(
      third,
      new Map([
        [".env", "overwrite"],
        ["workflows/hello.yml", "keep"],
      ]),
    ).map(({ path }) => path),
  ).toEqual([".env"]);
  writeFileSync(join(directory, ".env"), Buffer.from([0x41, 0x3d, 0xe9]));
  expect(() => planFiles(answers())).toThrow(/\.env is in the way: it is not UTF-8/);
  rmSync(join(directory, ".env"));
  mkdirSync(join(directory, ".env"));
  expect(() => planFiles(answers())).toThrow(/\.env is in the way/);
});

test("the example workflow is valid, wherever it is", () => {
  for (const workflowDirectory of ["workflows", "a/b c/d"]) {
    const file = planFiles(answers({ workflowDirectory })).find(({ path }) => path.endsWith("hello.yml"));
    const parsed = parseWorkflow(file?.text ?? "", { path: "hello.yml", id: "hello" });
    expect(parsed).toMatchObject({ ok: true, warnings: [] });
    const up = workflowDirectory
      .split("/")
      .map(() => "../")
      .join("");
    expect(file?.text).toStartWith(`# yaml-language-server: $schema=${up}.cdktr/workflow.schema.json\n`);
  }
});

test(".env: what is there stays, chosen settings are changed or added, and nothing is lost", () => {
  const values = { CDKTR_PRINCIPAL_PORT: "6000", CDKTR_WORKFLOW_DIR: "my 'own' #dir" };
  expect(parseEnv(dotenvText(values))).toEqual(values);
  const merged = mergeDotenv("# mine\nexport CDKTR_PRINCIPAL_PORT = 1\nOTHER=x\n", values);
  expect(merged).toStartWith("# mine\nCDKTR_PRINCIPAL_PORT=6000\nOTHER=x\n");
  expect(parseEnv(merged)).toEqual({ ...values, OTHER: "x" });
  expect(mergeDotenv(merged, values)).toBe(merged);
  // Written otherwise, and meant the same: not touched.
  expect(mergeDotenv(`CDKTR_PRINCIPAL_PORT="6000"  # port\n`, { CDKTR_PRINCIPAL_PORT: "6000" })).toBe(
    `CDKTR_PRINCIPAL_PORT="6000"  # port\n`,
  );
  expect(() => dotenvText({ CDKTR_WORKFLOW_DIR: "a\nb" })).toThrow(/cannot be written/);
});

test("a second principal of the host gets further ports of its own, unless .env has them", () => {
  const dotenv = (more: Parameters<typeof answers>[0]) =>
    parseEnv(planFiles(answers(more)).find(({ path }) => path === ".env")?.text ?? "");
  expect(Object.keys(dotenv({}))).not.toContain("CDKTR_METRICS_PORT");
  const ports = { api: 6000, logsListening: 6010, logsPublishing: 6001 };
  expect(dotenv({ ports })).toMatchObject({ CDKTR_WEBHOOK_PORT: "6011", CDKTR_METRICS_PORT: "6012" });
  writeFileSync(join(directory, ".env"), "CDKTR_METRICS_PORT=0\n");
  expect(dotenv({ ports })).toMatchObject({ CDKTR_WEBHOOK_PORT: "6011", CDKTR_METRICS_PORT: "0" });
});

test(".gitignore is added to, once", () => {
  writeFileSync(join(directory, ".gitignore"), "node_modules");
  const added = planFiles(answers()).find(({ path }) => path === ".gitignore")?.text ?? "";
  expect(added).toStartWith("node_modules\n");
  expect(added).toContain("\n/.cdktr/*\n!/.cdktr/workflow.schema.json\n/.env\n");
  writeFileSync(join(directory, ".gitignore"), added);
  expect(planFiles(answers()).find(({ path }) => path === ".gitignore")?.state).toBe("same");
});

test("git sees the schema and no key", () => {
  const git = (...args: string[]) => {
    const { exitCode, stdout, stderr } = Bun.spawnSync(["git", ...args], { cwd: directory });
    if (exitCode !== 0) throw new Error(stderr.toString());
    return stdout.toString();
  };
  for (const only of [".gitignore", ".cdktr/.gitignore"]) {
    rmSync(directory, { recursive: true });
    mkdirSync(join(directory, ".cdktr/keys"), { recursive: true });
    git("init", "-q");
    for (const file of planFiles(answers())) {
      if (file.path.endsWith(".gitignore") && file.path !== only) continue;
      mkdirSync(join(directory, file.path, ".."), { recursive: true });
      writeFileSync(join(directory, file.path), file.text);
    }
    writeFileSync(join(directory, ".cdktr/keys/admin.key"), "secret");
    writeFileSync(join(directory, ".cdktr/app.db"), "history");
    const seen = git("ls-files", "--others", "--exclude-standard").split("\n").filter(Boolean);
    expect(seen).toContain(".cdktr/workflow.schema.json");
    expect(seen.filter((path) => /key|app\.db/.test(path))).toEqual([]);
  }
});

test("the difference of two texts", () => {
  const show = (a: string, b: string) => lineDiff(a, b).map(({ sign, text }) => `${sign}${text}`);
  expect(show("1\n2\n3\n4\n5\n6\n7\n", "1\n2\n3\n4\nfive\n6\n7\n8\n")).toEqual([
    "…",
    " 3",
    " 4",
    "-5",
    "+five",
    " 6",
    " 7",
    "+8",
  ]);
  expect(show("a\n", "a\n")).toEqual(["…"]);
  expect(show("", "a\nb")).toEqual(["+a", "+b"]);
  const long = Array.from({ length: 3000 }, (_, i) => `${i}`).join("\n");
  expect(show(long, "x").length).toBe(3001);
});

test("the next commands are those for what was written", () => {
  const around = { program: "cdktr", cwd: "/home/alice", serviceRuns: false, endsAtLogout: false };
  const commands = (of: Answers, more = {}) =>
    nextSteps(of, { ...around, ...more }).map(({ command }) => command);
  expect(commands({ ...answers(), directory: "/home/alice/my project" })).toEqual([
    "cd 'my project'",
    "cdktr start principal --with-agent",
    "cdktr run hello --follow",
    "cdktr ui",
  ]);
  expect(
    commands({
      ...answers({ kind: "principal", host: "0.0.0.0", example: false, withAgent: false }),
      directory: "/home/alice",
    }),
  ).toEqual(["cdktr start principal --insecure", "cdktr ui"]);
  expect(
    commands({ ...answers({ kind: "principal", host: "10.0.0.5", keys: true }), directory: "/srv/x" }),
  ).toEqual([
    "cd /srv/x",
    "cdktr start principal --with-agent",
    "cdktr run hello --follow",
    "cdktr ui",
    "cdktr join-token create",
  ]);
  const agent: Answers = {
    kind: "agent",
    directory: "/home/alice",
    dataDirectory: ".cdktr",
    service: undefined,
    principal: { host: "10.0.0.5", port: 5561 },
    logsListeningPort: undefined,
    principalAnswered: false,
    concurrency: 5,
    labels: { zone: "b", gpu: "it's" },
  };
  expect(commands(agent)).toEqual(["cdktr start agent --label zone=b --label 'gpu=it'\\''s'"]);
  expect(
    commands({ ...agent, service: { user: true, runAs: "" } }, { serviceRuns: true, endsAtLogout: true }),
  ).toEqual(["cdktr service status agent --user", "loginctl enable-linger"]);
  expect(shellWord("a b")).toBe("'a b'");
  expect(shortPath("/home/alice", "/home/alice")).toBe(".");
  expect(shortPath("/srv", "/home/alice")).toBe("/srv");
});

test("directories that cannot be used are refused with the reason", () => {
  writeFileSync(join(directory, "file"), "");
  expect(checkProjectDirectory(join(directory, "new/er"))).toBeUndefined();
  expect(checkProjectDirectory(join(directory, "file/x"))).toMatch(/file is a file/);
  expect(checkWorkflowDirectory("workflows", directory)).toBeUndefined();
  expect(checkWorkflowDirectory(join(directory, "w"), directory)).toBeUndefined();
  for (const bad of ["", ".", "..", "../x", "/etc", ".hidden", "a/.b"])
    expect(checkWorkflowDirectory(bad, directory)).toMatch(/inside the project|hidden/);
  expect(checkWorkflowDirectory("file", directory)).toMatch(/a file with this name/);
  expect(insideProject(`${directory}/a/./b/`, directory)).toBe("a/b");
  mkdirSync(join(directory, "closed"), { mode: 0o700 });
  expect(checkReach(join(directory, "closed/x"), { uid: 65_534, gid: 65_534 })).toBeOneOf([
    directory,
    join(directory, "closed"),
  ]);
  expect(checkReach(join(directory, "closed/x"), { uid: 0, gid: 0 })).toBeUndefined();
});

test("ports that are taken are found, and free ones instead", async () => {
  const server = createServer();
  await new Promise<void>((done) => server.listen(0, "127.0.0.1", done));
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  const ports = { api: port, logsListening: port + 1, logsPublishing: port + 2 };
  expect((await takenPorts("127.0.0.1", ports)).get(port)).toBe("EADDRINUSE");
  const free = await freePortsFrom("127.0.0.1", ports);
  expect(free.api).toBeGreaterThan(port);
  expect((await takenPorts("127.0.0.1", free)).size).toBe(0);
  server.close();
});
