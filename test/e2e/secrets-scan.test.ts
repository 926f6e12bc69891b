/** Secrets of workflows are nowhere but where they are from and in the tasks that use them, whatever those tasks print. */
import { expect, test } from "bun:test";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Cluster, freePorts } from "../support/cdktr.ts";
import { PATIENT, trigger } from "./failures/support.ts";
import { gate, runOver, until } from "./support/fixtures.ts";

/** By where they come from. Nothing else contains any of these words. */
const SECRETS = {
  file: 'Xylophone-7731-"quoted"/file',
  command: "Zeppelin 4242 & sons",
  env: "Quicksilver_9182_env",
  store: "Marmalade:55/store",
} as const;

/** What a scan looks for: each secret as it is, and encoded by hand. */
const SPELLINGS = Object.values(SECRETS).flatMap((secret) => {
  const bytes = Buffer.from(secret);
  return [
    secret,
    encodeURIComponent(secret),
    JSON.stringify(secret).slice(1, -1),
    bytes.toString("hex"),
    // The middle is the same whatever is around it.
    ...[0, 1, 2].map((shift) =>
      Buffer.concat([Buffer.alloc(shift), bytes])
        .toString("base64")
        .slice(4, -8),
    ),
  ];
});

/** What of the secrets is in a text or a file. */
function found(content: string | Uint8Array): string[] {
  const bytes = Buffer.from(content);
  return SPELLINGS.filter((spelling) => bytes.includes(spelling));
}

/** Files below a directory. */
function filesIn(directory: string): string[] {
  return readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

/** What `ps` shows of each process, and the environments of those that belong to no task. */
function* processes(): Generator<readonly [where: string, what: string]> {
  for (const pid of readdirSync("/proc")) {
    if (!/^\d+$/.test(pid) || Number(pid) === process.pid) continue;
    try {
      yield [`/proc/${pid}/cmdline`, readFileSync(`/proc/${pid}/cmdline`, "latin1")];
      const environment = readFileSync(`/proc/${pid}/environ`, "latin1");
      if (!environment.includes("CDKTR_TASK_INSTANCE_ID=")) yield [`/proc/${pid}/environ`, environment];
    } catch {
      // It has ended.
    }
  }
}

/** Passes everything on to a port of the principal, and keeps it. */
class Wire implements Disposable {
  readonly chunks: Buffer[] = [];
  readonly #listener: Bun.TCPSocketListener<{ to: Promise<Bun.Socket> }>;

  constructor(port: number) {
    const { chunks } = this;
    this.#listener = Bun.listen<{ to: Promise<Bun.Socket> }>({
      hostname: "127.0.0.1",
      port: 0,
      socket: {
        open(from) {
          const to = Bun.connect({
            hostname: "127.0.0.1",
            port,
            socket: {
              data(_, chunk) {
                chunks.push(Buffer.from(chunk));
                from.write(chunk);
              },
              close: () => void from.end(),
            },
          });
          from.data = { to };
        },
        async data(from, chunk) {
          chunks.push(Buffer.from(chunk));
          (await from.data.to).write(chunk);
        },
        async close(from) {
          (await from.data?.to)?.end();
        },
      },
    });
  }

  get port(): string {
    return String(this.#listener.port);
  }

  [Symbol.dispose](): void {
    this.#listener.stop(true);
  }
}

/** Prints and publishes secrets in every way that is hidden, in pieces too, and crashes. */
const LEAK = `
import base64, json, os, sys, time, urllib.parse
def say(text, end="\\n"):
    sys.stdout.write(text + end); sys.stdout.flush()
    sys.stderr.write(text + end); sys.stderr.flush()
outputs = {}
for name in ("FILE", "COMMAND", "ENVIRONMENT", "STORED"):
    secret = os.environ[name]
    raw = secret.encode()
    say(f"it is {secret}!")
    for at in range(len(secret)):
        sys.stdout.write(secret[at]); sys.stdout.flush()
        if at % 5 == 0: time.sleep(0.002)
    say("")
    for user in ("", "u:", "us:", "user:"):
        say("Basic " + base64.b64encode((user + secret).encode()).decode())
    say(base64.urlsafe_b64encode(raw * 3).decode())
    say(raw.hex()); say(raw.hex().upper())
    say(json.dumps({"password": secret})); say(urllib.parse.quote(secret)); say(urllib.parse.quote_plus(secret, safe=""))
    say(f"\\x1b[31m{secret[:6]}\\x1b[0m{secret[6:]}")
    say(f"before\\r{secret}\\rafter {secret}")
    outputs[name] = {"url": f"https://u:{urllib.parse.quote(secret)}@h/", "list": [secret, raw.hex()]}
json.dump(outputs, open(os.environ["CDKTR_OUTPUT"], "w"))
say("the end of the output: " + os.environ["FILE"], end="")
`;

test("what tasks print of their secrets is hidden before it is written or sent; a scan of everything finds none, and finds planted ones", async () => {
  await using cluster = new Cluster({ env: { ...PATIENT, CDKTR_LOG_LEVEL: "DEBUG" } }, await freePorts(3));
  const at = (name: string) => join(cluster.directory, name);
  writeFileSync(at("db"), `${SECRETS.file}\n`);
  writeFileSync(at("vault"), `${SECRETS.command}\n`);
  writeFileSync(at("leak.py"), LEAK);
  let called = "";
  await using echo = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch(request) {
      called = request.headers.get("authorization") ?? "";
      return Response.json({ headers: Object.fromEntries(request.headers), url: request.url });
    },
  });
  cluster.writeWorkflow(
    "leaks.yml",
    `
secrets:
  DB: {file: ./db}
  VAULT: {command: [sh, -c, 'cat "$HIDDEN_FILE"']}
  PROD: {env: PROD_KEY}
  API: {store: api_key}
tasks:
  print:
    secrets: {FILE: DB, COMMAND: VAULT, ENVIRONMENT: PROD, STORED: API}
    config: !Subprocess {cmd: python3, args: [leak.py]}
  fail:
    depends: [print]
    secrets: [DB]
    config: !Subprocess {cmd: sh, args: [-c, 'echo "cannot log in with $DB" >&2; exit 3']}
  call:
    depends: [print]
    config: !Http
      url: http://127.0.0.1:${echo.port}/echo
      headers: {Authorization: {secret: PROD, prefix: "Bearer "}, X-Key: {secret: API}}
  crash:
    depends: [print]
    secrets: [VAULT]
    config: !Subprocess {cmd: sh, args: [-c, 'kill -SEGV $$']}
  passes_on:
    depends: [print]
    config: !Subprocess {cmd: sh, args: [-c, 'cat db vault; cat "$CDKTR_INPUTS/print.json"']}
  look:
    depends: [print]
    config: !Subprocess {cmd: sh, args: [-c, 'env | grep -c -e PROD_KEY -e HIDDEN_; ${gate(at("open")).replaceAll("'", "''")}']}
    secrets: [DB]
`,
  );
  await cluster.startPrincipal();
  expect(
    (await cluster.cdktr(["secrets", "set", "api_key"], { stdin: `${SECRETS.store}\n` })).stderr,
  ).toContain("The secret api_key is set.");
  using api = new Wire(cluster.ports.api);
  using logs = new Wire(cluster.ports.listening);
  const agent = await cluster.startAgent(["--suffix", "one"], {
    env: {
      PROD_KEY: SECRETS.env,
      // Commands of secrets see it, and tasks do not.
      HIDDEN_FILE: "vault",
      CDKTR_SECRET_VARIABLES: "HIDDEN_*",
      CDKTR_PRINCIPAL_PORT: api.port,
      CDKTR_LOGS_LISTENING_PORT: logs.port,
    },
  });
  const tail = cluster.spawn(["logs", "tail", "--verbose"]);
  const run = await trigger(cluster, "leaks");
  const lines = async () => (await cluster.client.searchLogs({ workflow_instance_id: run })).rows;
  await until("a task waits with its secret", async () =>
    (await lines()).some((row) => row[7] === "waiting"),
  );
  const inProc = [...processes()].filter(([where]) => where !== `/proc/${agent.pid}/environ`);
  expect(inProc.filter(([, what]) => found(what).length > 0)).toEqual([]);
  writeFileSync(at("open"), "");
  const over = await runOver(cluster.client, run);
  const statuses = Object.fromEntries(
    over.tasks.map(({ task_id, status, error }) => [task_id, error ?? status]),
  );
  expect(statuses).toEqual({
    print: "COMPLETED",
    call: "COMPLETED",
    fail: "exit status 3: cannot log in with ***",
    crash: "ended by SIGSEGV",
    passes_on: "COMPLETED",
    look: "COMPLETED",
  });

  expect(called).toBe(`Bearer ${SECRETS.env}`);

  const rows = await lines();
  const of = (task: string) => rows.filter((row) => row[3] === task).map((row) => row[7]);
  expect(of("print").filter((line) => line === "it is ***!")).toHaveLength(8);
  expect(of("print").at(-1)).toBe("the end of the output: ***");
  expect(of("passes_on").slice(0, 2)).toEqual(["***", "***"]);
  expect(of("look")[0]).toBe("0");

  /** Everything that anybody can see afterwards, by where. */
  const seen = new Map<string, string | Uint8Array>();
  const asked = [
    ["runs", "show", run],
    ["runs", "show", run, "--json"],
    ["runs", "why", run],
    ["logs", "query", "--run", run, "--json"],
    ["logs", "query", "--run", run, "--verbose"],
    ["workflow", "show", "leaks", "--json"],
    ["db", "query", "SELECT * FROM logstore", "--json"],
    ["db", "query", "SELECT * FROM task_run_status", "--json"],
    ["db", "query", "SELECT * FROM workflow_run_status", "--json"],
    ["agents", "list", "--json"],
    ["secrets", "list"],
    ["secrets", "list", "--json"],
    ["backup", at("backup")],
  ];
  await Promise.all(
    asked.map(async (args) => {
      const { stdout, stderr } = await cluster.cdktr(args);
      seen.set(args.join(" "), stdout + stderr);
    }),
  );
  await tail.waitFor(/the end of the output/, "stdout");
  seen.set("logs tail", (await tail.stop()).stdout);
  seen.set("the agent's log", agent.stderr);
  seen.set("the principal's log", cluster.principal?.stderr ?? "");
  seen.set("the wire to the API", Buffer.concat(api.chunks));
  seen.set("the wire of the logs", Buffer.concat(logs.chunks));
  const sources = [at("db"), at("vault")];
  for (const file of filesIn(cluster.directory))
    if (!sources.includes(file)) seen.set(file, readFileSync(file));
  expect(seen.get(`backup ${at("backup")}`)).toContain("Their key is not: keep a copy of secrets.key");
  // The connection does not leave the host: what the principal gives to the agent is in it, once.
  const wire = Buffer.from(seen.get("the wire to the API") ?? "");
  expect(wire.toString("latin1").split(SECRETS.store)).toHaveLength(2);
  seen.set("the wire to the API", wire.toString("latin1").replace(SECRETS.store, ""));
  expect([...seen].filter(([, content]) => found(content).length > 0).map(([where]) => where)).toEqual([]);

  // The scan has looked at what there is: the log is in several places, and what is planted is found.
  const hidden = [...seen].filter(([, content]) =>
    Buffer.from(content).includes("the end of the output: ***"),
  );
  expect(hidden.map(([where]) => where)).toEqual(
    expect.arrayContaining([`logs query --run ${run} --json`, "logs tail", "the wire of the logs"]),
  );
  expect([...seen.keys()].map((where) => where.replace(/^.*\//, ""))).toEqual(
    expect.arrayContaining(["state.db", "app.db", "outbox.db"]),
  );
  for (const [where, content] of seen) {
    const secret = SECRETS.command;
    for (const planted of [secret, Buffer.from(`x:${secret}`).toString("base64"), encodeURIComponent(secret)])
      expect([where, found(Buffer.concat([Buffer.from(content), Buffer.from(planted)])).length > 0]).toEqual([
        where,
        true,
      ]);
  }
});

test("secrets of the principal's store: set, replaced, removed, missing, and given to no one by a principal that serves everyone", async () => {
  await using cluster = new Cluster({ env: PATIENT }, await freePorts(3));
  const secrets = (args: readonly string[], stdin?: string) =>
    cluster.cdktr(["secrets", ...args], stdin === undefined ? {} : { stdin });
  cluster.writeWorkflow(
    "size.yml",
    `secrets: {API: {store: api_key}}
tasks:
  t: {secrets: [API], config: !Subprocess {cmd: sh, args: [-c, 'echo \${#API}']}}
`,
  );
  cluster.writeWorkflow(
    "many.yml",
    `secrets: {API: {store: api_key}}
placement: spread
tasks:
  t: {foreach: [a, b, c, d], secrets: [API], config: !Subprocess {cmd: sh, args: [-c, 'echo \${#API} $API']}}
`,
  );
  const principal = await cluster.startPrincipal();
  await Promise.all(["one", "two"].map((name) => cluster.startAgent(["--suffix", name])));
  const run = async () => {
    const over = await runOver(cluster.client, await trigger(cluster, "size"));
    const { rows } = await cluster.client.searchLogs({ workflow_instance_id: over.workflow_instance_id });
    return over.tasks[0]?.error ?? rows[0]?.[7];
  };
  expect((await secrets(["list"])).stderr).toContain("No secrets.");
  expect((await cluster.cdktr(["workflow", "show", "size"])).stdout).toMatch(
    /^Secrets +API: api_key of the principal's store$/m,
  );
  expect(await run()).toBe(
    'Cannot start: the secret API cannot be read: the principal has no secret "api_key".',
  );
  expect(await secrets(["set", "api_key"], "hunter2\n")).toMatchObject({ code: 0, stdout: "" });
  expect(await run()).toBe("7");
  expect((await secrets(["set", "api_key"], "hunter2-longer")).stderr).toContain("has a new value");
  expect(await run()).toBe("14");
  // Items go to agents without their task, and each agent gets what its items need.
  const many = await runOver(cluster.client, await trigger(cluster, "many"));
  const items = await cluster.client.searchLogs({ workflow_instance_id: many.workflow_instance_id });
  expect(items.rows.map((row) => row[7])).toEqual(new Array(4).fill("14 ***"));
  expect(JSON.parse((await secrets(["list", "--json"])).stdout)).toEqual([
    { name: "api_key", actor: null, changed_at_ms: expect.any(Number) },
  ]);
  const refused = await Promise.all([
    secrets(["set", "short"], "abc"),
    secrets(["set", "empty"], "\n"),
    secrets(["set", "no name"], "hunter2"),
    secrets(["remove", "api_kye"]),
  ]);
  expect(refused.map(({ code, stderr }) => [code, stderr.split("\n")[0]])).toEqual([
    [4, expect.stringContaining("value: it has fewer than 4 characters, so it could not be hidden in logs")],
    [2, expect.stringContaining("There is no secret on stdin.")],
    [2, expect.stringContaining("'no name' is not a name of a secret.")],
    [4, expect.stringContaining("There is no secret 'api_kye'.")],
  ]);

  // It restarts in the open.
  await principal.stop();
  await cluster.startPrincipal(["--insecure"]);
  expect((await secrets(["set", "other"], "hunter3")).stderr).toContain("so it takes no secrets");
  const waiting = await trigger(cluster, "size");
  await until("it waits, and says why", async () =>
    (await cluster.cdktr(["runs", "why", waiting])).stdout.includes("this principal gives them to no agent"),
  );
  await cluster.principal?.stop();
  await cluster.startPrincipal();
  expect((await runOver(cluster.client, waiting)).status).toBe("COMPLETED");
  expect(await secrets(["remove", "api_key"])).toMatchObject({ code: 0 });
  expect(await run()).toContain("the principal has no secret");
});
