/** On the executable: which role may use which verb, and who did what. */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { CLIENT_ROLES, type ClientRole } from "../../src/contract/roles.ts";
import { VERB_NAMES, VERBS } from "../../src/contract/verbs.ts";
import { PrincipalClient } from "../../src/protocol/client.ts";
import { curveKeysOf, readKeyFile } from "../../src/protocol/key-file.ts";
import { simpleCommands } from "../cli/shell-words.ts";
import { CdktrProcess, cdktr, freePorts } from "../support/cdktr.ts";
import { codeBlocks } from "../support/code-blocks.ts";
import { ROOT, shellWorkflow, TemporaryDirectory } from "./support/fixtures.ts";

setDefaultTimeout(120_000);

const NAMES: Readonly<Record<ClientRole, string>> = {
  agent: "worker",
  viewer: "screen",
  client: "ada",
  admin: "admin",
};

let directory: TemporaryDirectory;
let env: Record<string, string>;
let principal: CdktrProcess;
let port: number;

const keyFile = (role: ClientRole) => directory.path("data/keys", `${NAMES[role]}.key`);
const as = (role: ClientRole, ...words: string[]) =>
  cdktr(words, { cwd: directory.root, env: { ...env, CDKTR_KEY_FILE: keyFile(role) } });

function client(role: ClientRole): PrincipalClient {
  const curve = curveKeysOf(readKeyFile(keyFile(role)));
  return new PrincipalClient({ host: "127.0.0.1", port, timeoutMs: 60_000, curve });
}

async function startPrincipal(): Promise<void> {
  principal = new CdktrProcess(["start", "principal"], { cwd: directory.root, env });
  await principal.waitFor(/secured: encrypted/);
}

/** The audit log as JSON. */
async function auditLog(...words: string[]) {
  const { code, stdout } = await as("viewer", "audit", "--json", ...words);
  expect(code).toBe(0);
  return JSON.parse(stdout) as {
    actor: string;
    action: string;
    subject: string;
    outcome: string;
    detail: unknown;
  }[];
}

beforeAll(async () => {
  directory = new TemporaryDirectory();
  const [api = 0, listening = 0, publishing = 0] = await freePorts(3);
  port = api;
  env = {
    CDKTR_PRINCIPAL_PORT: String(api),
    CDKTR_LOGS_LISTENING_PORT: String(listening),
    CDKTR_LOGS_PUBLISHING_PORT: String(publishing),
    CDKTR_METRICS_PORT: "0",
    CDKTR_APP_DATA_DIRECTORY: directory.path("data"),
    CDKTR_DEFAULT_ZMQ_TIMEOUT_MS: "20000",
  };
  await Bun.write(directory.path("workflows/hello.yml"), shellWorkflow({ say: { sh: "echo hello" } }));
  const here = { cwd: directory.root, env };
  expect((await cdktr(["keys", "init"], here)).code).toBe(0);
  for (const role of ["agent", "viewer", "client"] as const)
    expect((await cdktr(["keys", "add", NAMES[role], "--role", role], here)).code).toBe(0);
  await startPrincipal();
});

afterAll(async () => {
  await principal.stop();
  directory[Symbol.dispose]();
});

test("each role may use exactly the verbs that its table says", async () => {
  for (const role of CLIENT_ROLES) {
    const asker = client(role);
    const allowed: string[] = [];
    for (const verb of VERB_NAMES) {
      // Fields that no verb takes: what is allowed fails, or answers, in another way.
      const text = await asker
        .request(
          verb,
          Array.from({ length: 7 }, () => "?"),
        )
        .then(
          () => "",
          (error: Error) => error.message,
        );
      if (!/needs a key with the role|needs a join token/.test(text)) allowed.push(verb);
    }
    await asker.close();
    expect({ role, allowed }).toEqual({
      role,
      allowed: VERB_NAMES.filter((verb) => VERBS[verb].roles.includes(role)),
    });
  }
  // A viewer may use none that changes anything.
  for (const verb of VERB_NAMES)
    if (VERBS[verb].roles.includes("viewer")) expect([verb, VERBS[verb].changes]).toEqual([verb, "nothing"]);
});

test("what commands do to the files of the principal is recorded, too", async () => {
  const here = { cwd: directory.root, env };
  expect((await cdktr(["keys", "add", NAMES.client], here)).code).toBe(4);
  const pretending = { ...here, env: { ...env, USER: "mallory", LOGNAME: "mallory" } };
  expect((await cdktr(["join-token", "create"], pretending)).code).toBe(0);
  const rows = (await auditLog("--action", "key.*")).filter(({ action }) => action !== "key.join");
  expect(rows.map(({ action, subject, outcome }) => [action, subject, outcome])).toEqual([
    ["key.init", "admin", "done"],
    ["key.add", "worker", "done"],
    ["key.add", "screen", "done"],
    ["key.add", "ada", "done"],
    ["key.add", "ada", "refused: There is a key named ada already."],
  ]);
  expect(rows[2]?.detail).toMatchObject({ role: "viewer" });
  const [token] = await auditLog("--action", "token.create");
  const actor = Bun.spawnSync(["id", "-un"]).stdout.toString().trim();
  expect(token).toMatchObject({ actor, outcome: "done", detail: { role: "agent", uses: 1 } });
});

test("a viewer reads, and is told what it may not", async () => {
  for (const words of ["workflow list", "runs list", "agents list", "logs query", "audit", "pools list"]) {
    const { code, stderr } = await as("viewer", ...words.split(" "));
    expect({ words, code, stderr: code === 0 ? "" : stderr }).toEqual({ words, code: 0, stderr: "" });
  }
  expect((await as("viewer", "db", "query", "SELECT 1 AS one")).stdout).toContain("1");
  const run = await as("viewer", "run", "hello");
  expect(run.code).toBe(4);
  expect(run.stderr).toContain(
    "RUNTASK needs a key with the role client; the key screen has the role viewer.",
  );
  expect((await as("viewer", "db", "export", directory.path("copy"))).code).toBe(4);
});

test("who did what is shown, filtered and followed; a killed principal has lost none of it", async () => {
  const triggered = await as("client", "run", "hello", "--json");
  const { workflow_instance_id: id } = JSON.parse(triggered.stdout);
  principal.kill("SIGKILL");
  await principal.finished;
  await startPrincipal();
  const done = await auditLog("--action", "run.*", "--subject", "hello", "--actor", "ada");
  expect(done).toMatchObject([
    {
      actor: "ada",
      action: "run.trigger",
      outcome: "done",
      detail: { trigger: "cli", workflow_instance_id: id },
    },
  ]);
  const refused = await auditLog("--refused", "--actor", "screen", "--action", "run.trigger", "--last", "1h");
  expect(refused.at(-1)).toMatchObject({
    subject: "hello",
    outcome: expect.stringContaining("refused: RUNTASK needs a key"),
  });
  expect(await auditLog("--until", "2020-01-01T00:00:00Z")).toEqual([]);

  const following = new CdktrProcess(["audit", "--follow", "--json", "--action", "run.*"], {
    cwd: directory.root,
    env: { ...env, CDKTR_KEY_FILE: keyFile("viewer") },
  });
  await following.waitFor(/"detail":\{"trigger":"cli"/, "stdout");
  expect((await as("client", "runs", "cancel", id)).code).toBe(0);
  await following.waitFor(/"action":"run\.cancel"/, "stdout");
  following.kill("SIGINT");
  expect((await following.finished).code).toBe(0);
  const rows = following.stdout.trim().split("\n");
  expect(new Set(rows).size).toBe(rows.length);

  const table = await as("viewer", "audit", "--action", "run.cancel", "-n", "1");
  expect(table.stdout).toContain(`ada  run.cancel  ${id}  workflow_id=hello`);
});

test("the commands of the manual work", async () => {
  const page = readFileSync(join(ROOT, "src/docs/audit.md"), "utf8");
  for (const { language, text } of codeBlocks(page))
    for (const [, ...words] of language === "sh" ? simpleCommands(text) : []) {
      if (words.includes("-f")) continue;
      const { code, stderr } = await as("admin", ...words);
      expect({ words, code, stderr: code === 0 ? "" : stderr }).toEqual({ words, code: 0, stderr: "" });
    }
});
