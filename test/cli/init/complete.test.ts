import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { dirname } from "node:path";
import { completeAnswers, hasNoWorkflows, settingsIn } from "../../../src/cli/init/complete.ts";
import type { Given } from "../../../src/cli/init/given.ts";
import { CdktrError, UsageError } from "../../../src/errors.ts";
import { type AgentAnswers, type Answers, PROJECT_DATA } from "../../../src/project/answers.ts";
import { DEFAULT_PORTS } from "../../../src/project/ports.ts";
import { KeyStore } from "../../../src/protocol/doors/key-store.ts";
import { encodeJoinToken } from "../../../src/protocol/join-token.ts";
import { curveKeyPair } from "../../../src/zmq/index.ts";
import { TestPrincipal } from "../../principal/support.ts";
import { TemporaryDirectory } from "../../support/temporary-directory.ts";

type PrincipalAnswers = Exclude<Answers, AgentAnswers>;

let directory: TemporaryDirectory;
const environment = { ...process.env };

beforeEach(() => {
  directory = new TemporaryDirectory();
  for (const name of Object.keys(process.env)) if (name.startsWith("CDKTR_")) delete process.env[name];
});
afterEach(() => {
  directory[Symbol.dispose]();
  Object.assign(process.env, environment);
});

function write(path: string, text: string): void {
  const file = directory.path(path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
}

async function principal(given: Given = {}): Promise<PrincipalAnswers> {
  const answers = await completeAnswers({ directory: directory.root, ...given });
  if (answers.kind === "agent") throw new Error("it is an agent");
  return answers;
}

async function agent(given: Given = {}): Promise<AgentAnswers> {
  const answers = await completeAnswers({ directory: directory.root, kind: "agent", ...given });
  if (answers.kind !== "agent") throw new Error("it is no agent");
  return answers;
}

async function refusal(given: Given): Promise<CdktrError> {
  try {
    await completeAnswers({ directory: directory.root, ...given });
  } catch (error) {
    if (error instanceof CdktrError) return error;
    throw error;
  }
  throw new Error("the answers were accepted");
}

describe("a principal", () => {
  test("in an empty directory has every default, and three ports in a row", async () => {
    const answers = await principal();
    const { api } = answers.ports;
    expect(api).toBeGreaterThanOrEqual(DEFAULT_PORTS.api);
    expect(answers).toEqual({
      kind: "try",
      directory: directory.root,
      service: undefined,
      dataDirectory: PROJECT_DATA,
      host: "127.0.0.1",
      ports: { api, logsListening: api + 1, logsPublishing: api + 2 },
      workflowDirectory: "workflows",
      keys: false,
      withAgent: true,
      example: true,
      crontab: undefined,
    });
  });

  test("keeps what the settings of its directory say, also ports that are in use: they may be its own", async () => {
    const server = await listening();
    const { port } = server.address() as { port: number };
    write(
      ".env",
      `CDKTR_PRINCIPAL_HOST=0.0.0.0
CDKTR_PRINCIPAL_PORT=${port}
CDKTR_LOGS_LISTENING_PORT=7001
CDKTR_LOGS_PUBLISHING_PORT=7002
CDKTR_WORKFLOW_DIR=flows
CDKTR_APP_DATA_DIRECTORY=state
`,
    );
    const answers = await principal({ kind: "principal" });
    server.close();
    expect(answers).toMatchObject({
      host: "0.0.0.0",
      ports: { api: port, logsListening: 7001, logsPublishing: 7002 },
      workflowDirectory: "flows",
      keys: true,
    });
    expect(answers.dataDirectory).toEndWith("state");
    // One to try things is not opened to the network because another kind was.
    expect((await principal({ kind: "try" })).host).toBe("127.0.0.1");
  });

  test("avoids ports that are in use, unless they were requested", async () => {
    const first = await principal();
    const server = await listening(first.ports.api).catch(() => undefined);
    const next = await principal();
    server?.close();
    expect(Object.values(next.ports)).not.toContain(first.ports.api);
  });

  test("takes the ports that it is told, the others after the first", async () => {
    expect((await principal({ ports: { api: 6100 } })).ports).toEqual({
      api: 6100,
      logsListening: 6101,
      logsPublishing: 6102,
    });
    expect((await principal({ ports: { api: 6100, logsPublishing: 7000 } })).ports.logsPublishing).toBe(7000);
  });

  test.each([{ api: 6100, logsListening: 6102 }, { api: 65_535 }])(
    "cannot have the ports of %j",
    async (ports) => {
      expect(await refusal({ ports })).toBeInstanceOf(UsageError);
    },
  );

  test("has keys where others can reach it, or where it has them already", async () => {
    expect((await principal({ host: "127.0.0.1" })).keys).toBe(false);
    expect((await principal({ host: "10.0.0.5" })).keys).toBe(true);
    expect((await principal({ host: "10.0.0.5", keys: false })).keys).toBe(false);
    mkdirSync(directory.path(PROJECT_DATA), { mode: 0o700 });
    new KeyStore(directory.path(PROJECT_DATA)).init(Date.now());
    expect((await principal({ host: "127.0.0.1" })).keys).toBe(true);
  });

  test("has its crontab translated as its owner's", async () => {
    write("jobs", "17 3 * * 1-5 date > stamp\nnonsense\n");
    const { crontab } = await principal({
      crontab: { from: directory.path("jobs"), format: "user", user: undefined },
    });
    expect(crontab?.imported.workflows).toHaveLength(1);
    const missing = { from: directory.path("missing"), format: "auto", user: undefined } as const;
    expect((await refusal({ crontab: missing })).message).toContain(missing.from);
  });

  test("cannot have settings that are wrong", async () => {
    write(".env", "CDKTR_PRINCIPAL_PORT=many\n");
    expect((await refusal({})).message).toContain("CDKTR_PRINCIPAL_PORT");
    expect(() => settingsIn(directory.root)).toThrow(CdktrError);
  });
});

describe("an example", () => {
  test("is for directories without workflows, however deep; those that were written here do not count", () => {
    const root = directory.path("workflows");
    expect(hasNoWorkflows(root)).toBe(true);
    write("workflows/hello.yml", "x");
    write("workflows/cron/job.yml", "x");
    write("workflows/README.md", "x");
    expect(hasNoWorkflows(root)).toBe(true);
    write("workflows/etl/daily.yaml", "x");
    expect(hasNoWorkflows(root)).toBe(false);
  });
});

describe("an agent", () => {
  const serverKey = curveKeyPair().publicKey;
  const token = encodeJoinToken({
    host: "10.0.0.5",
    port: 6000,
    serverKey,
    secretKey: curveKeyPair().secretKey,
  });

  test("must know its principal", async () => {
    const error = await refusal({ kind: "agent" });
    expect(error).toBeInstanceOf(UsageError);
    expect(error.hint).toContain("--principal HOST:PORT");
  });

  test("knows it from its token, where the ports of logs come with the key", async () => {
    expect(await agent({ token })).toMatchObject({
      principal: { host: "10.0.0.5", port: 6000 },
      logsListeningPort: undefined,
      principalAnswered: false,
      labels: {},
    });
    // What is said wins over what the token says.
    expect((await agent({ token, principal: { host: "example.org" } })).principal).toEqual({
      host: "example.org",
      port: 6000,
    });
  });

  test("learns the port of logs from a principal that answers", async () => {
    await using cluster = await new TestPrincipal().start();
    const { ports } = cluster;
    expect(await agent({ principal: { host: "127.0.0.1", port: ports.api } })).toMatchObject({
      logsListeningPort: ports.logsListening,
      principalAnswered: true,
    });
  });

  test("guesses it when none answers, and keeps the settings of its directory", async () => {
    write(".env", "CDKTR_PRINCIPAL_HOST=127.0.0.1\nCDKTR_PRINCIPAL_PORT=1\nCDKTR_AGENT_MAX_CONCURRENCY=9\n");
    expect(await agent()).toMatchObject({
      principal: { host: "127.0.0.1", port: 1 },
      logsListeningPort: 2,
      principalAnswered: false,
      concurrency: 9,
    });
    expect(await agent({ ports: { logsListening: 77 }, concurrency: 3 })).toMatchObject({
      logsListeningPort: 77,
      concurrency: 3,
    });
  });
});

function listening(port = 0): Promise<Server> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(port, "127.0.0.1", () => resolve(server));
  });
}
