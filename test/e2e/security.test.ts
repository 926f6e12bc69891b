import { expect, setDefaultTimeout, test } from "bun:test";
import { chmodSync, existsSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { decodeJoinToken } from "../../src/protocol/join-token.ts";
import { CdktrProcess, type CommandOptions, cdktr, freePorts } from "../support/cdktr.ts";
import { shellWorkflow, TemporaryDirectory, until } from "./support/fixtures.ts";

setDefaultTimeout(120_000);

const SECRET_WORD = "a-word-that-nobody-else-reads";

/** Forwards a port and records every byte in both directions; forwards bytes of the server only while `passes` allows it. */
function wiretap(
  port: number,
  to: number,
  passes: () => boolean = () => true,
): { bytes: () => Buffer; stop: () => void } {
  const seen: Buffer[] = [];
  const server = Bun.listen<{ out?: Promise<Bun.Socket> }>({
    hostname: "127.0.0.1",
    port,
    socket: {
      open(socket) {
        socket.data = {
          out: Bun.connect({
            hostname: "127.0.0.1",
            port: to,
            socket: {
              data(_, data) {
                if (!passes()) return;
                seen.push(Buffer.from(data));
                socket.write(data);
              },
              close: () => void socket.end(),
            },
          }),
        };
      },
      async data(socket, data) {
        const copy = Buffer.from(data);
        seen.push(copy);
        (await socket.data.out)?.write(copy);
      },
      async close(socket) {
        (await socket.data.out)?.end();
      },
    },
  });
  return { bytes: () => Buffer.concat(seen), stop: () => server.stop(true) };
}

test("a host joins with a token, works encrypted, and is revoked; others are refused with the reason", async () => {
  using a = new TemporaryDirectory();
  using b = new TemporaryDirectory();
  using c = new TemporaryDirectory();
  const [api = 0, logsIn = 0, logsOut = 0, tappedApi = 0, tappedLogs = 0] = await freePorts(5);
  const ports = {
    CDKTR_PRINCIPAL_PORT: String(api),
    CDKTR_LOGS_LISTENING_PORT: String(logsIn),
    CDKTR_LOGS_PUBLISHING_PORT: String(logsOut),
  };
  const onA = { cwd: a.root, env: { ...ports, CDKTR_APP_DATA_DIRECTORY: a.path("data") } };
  const run = (...words: string[]) => cdktr(words, onA);
  const init = await run("keys", "init");
  expect(init).toMatchObject({ code: 0, stdout: `${a.path("data/keys/admin.key")}\n` });
  expect((await run("keys", "init")).code).toBe(4);
  await Bun.write(a.path("workflows/hello.yml"), shellWorkflow({ say: { sh: `echo ${SECRET_WORD}` } }));
  await using principal = new CdktrProcess(["start", "principal", "--host", "0.0.0.0"], onA);
  await principal.waitFor(/secured: encrypted/);

  const tapApi = wiretap(tappedApi, api);
  const tapLogs = wiretap(tappedLogs, logsIn);
  const token = (await run("join-token", "create", "--address", `127.0.0.1:${tappedApi}`)).stdout.trim();
  expect(decodeJoinToken(token).port).toBe(tappedApi);
  const onB = {
    cwd: b.root,
    env: { CDKTR_APP_DATA_DIRECTORY: b.path("data"), CDKTR_LOGS_LISTENING_PORT: String(tappedLogs) },
  };
  await using agent = new CdktrProcess(["start", "agent", "--suffix", "b", "--join", token], onB);
  await agent.waitFor(/is registered/);
  expect(readFileSync(`/proc/${agent.pid}/cmdline`, "utf8")).not.toContain(token.slice(0, 60));

  const done = await run("run", "hello", "--follow", "--wait");
  expect(done.code).toBe(0);
  expect(done.stdout).toContain(SECRET_WORD);
  const traffic = Buffer.concat([tapApi.bytes(), tapLogs.bytes()]);
  expect(traffic.length).toBeGreaterThan(1000);
  for (const plain of [SECRET_WORD, "hello", "REGISTERAGENT", "COMPLETED"])
    expect(`${plain}: ${traffic.includes(plain)}`).toBe(`${plain}: false`);

  // Secrets are in key files, and nowhere else.
  const { secret_key } = JSON.parse(readFileSync(b.path("data/keys/agent.key"), "utf8"));
  const said = [
    principal.stderr,
    agent.stderr,
    (await run("config", "list")).stdout,
    (await run("keys", "list")).stdout,
  ];
  const admin = JSON.parse(readFileSync(a.path("data/keys/admin.key"), "utf8"));
  for (const secret of [secret_key, admin.secret_key, token, decodeJoinToken(token).secretKey])
    expect(said.filter((text) => text.includes(secret))).toEqual([]);
  expect(readdirSync(b.path("data/keys"))).toEqual(["agent.key"]);

  // Others.
  const onC = (env: Record<string, string> = {}) => ({
    cwd: c.root,
    env: {
      ...ports,
      CDKTR_APP_DATA_DIRECTORY: c.path("data"),
      CDKTR_DEFAULT_ZMQ_TIMEOUT_MS: "10000",
      ...env,
    },
  });
  const replayed = await cdktr(["start", "agent", "--join", token], onC());
  expect(replayed.code).toBe(1);
  expect(replayed.stderr).toMatch(/join token is used up: \S+-b joined with it/);
  const expiring = (await run("join-token", "create", "--ttl", "1ms", "--address", `127.0.0.1:${api}`))
    .stdout;
  const late = await cdktr(["start", "agent", "--join", "-"], { ...onC(), stdin: expiring });
  expect(late.stderr).toMatch(/join token expired at/);
  const cutOff = await cdktr(["start", "agent", "--join", token.slice(0, 50)], onC());
  expect(cutOff).toMatchObject({ code: 4 });
  expect(cutOff.stderr).toContain("damaged or incomplete");
  const keyless = await cdktr(["runs", "list"], onC());
  expect(keyless).toMatchObject({ code: 3 });
  expect(keyless.stderr).toContain("is secured, and this client has no key");

  const guest = (await run("keys", "add", "guest")).stdout.trim();
  const asGuest = onC({ CDKTR_KEY_FILE: guest });
  expect((await cdktr(["runs", "list"], asGuest)).code).toBe(0);
  const drain = await cdktr(
    ["agents", "drain", `${agent.stderr.match(/Agent (\S+) is registered/)?.[1]}`],
    asGuest,
  );
  expect(drain).toMatchObject({ code: 4 });
  expect(drain.stderr).toContain(
    "DRAINAGENT needs a key with the role admin; the key guest has the role client",
  );
  const work = await cdktr(["start", "agent"], asGuest);
  expect(work.code).toBe(1);
  expect(work.stderr).toContain("REGISTERAGENT needs a key with the role agent");
  chmodSync(guest, 0o644);
  const loose = await cdktr(["runs", "list"], asGuest);
  expect(loose).toMatchObject({ code: 2 });
  expect(loose.stderr).toContain(`Run: chmod 600 ${guest}`);
  chmodSync(guest, 0o600);

  // Revoked: the agent that is connected, and the client that comes again.
  expect((await run("keys", "revoke", "guest")).code).toBe(0);
  await principal.waitFor(/Revoked: guest/);
  const revoked = await cdktr(["runs", "list"], asGuest);
  expect(revoked).toMatchObject({ code: 3 });
  expect(revoked.stderr).toMatch(/refuses the key guest in .*: it was revoked/);
  const name = JSON.parse(readFileSync(b.path("data/keys/agent.key"), "utf8")).name;
  expect((await run("keys", "revoke", name)).code).toBe(0);
  expect((await agent.finished).code).toBe(1);
  expect(agent.stderr).toContain(`The key ${name} was revoked`);
  tapApi.stop();
  tapLogs.stop();

  // Another principal at that address.
  const wrong = join(c.root, "wrong.key");
  writeFileSync(wrong, JSON.stringify({ ...admin, server_key: secret_key }), { mode: 0o600 });
  const other = await cdktr(["runs", "list"], onC({ CDKTR_KEY_FILE: wrong }));
  expect(other).toMatchObject({ code: 3 });
  expect(other.stderr).toContain("breaks off every handshake with the key admin");
  expect(existsSync(c.path("data/keys/agent.key"))).toBe(false);
});

test("a principal with keys and an agent beside it needs nothing else", async () => {
  using a = new TemporaryDirectory();
  const [api = 0, logsIn = 0, logsOut = 0] = await freePorts(3);
  const options = {
    cwd: a.root,
    env: {
      CDKTR_PRINCIPAL_PORT: String(api),
      CDKTR_LOGS_LISTENING_PORT: String(logsIn),
      CDKTR_LOGS_PUBLISHING_PORT: String(logsOut),
      CDKTR_APP_DATA_DIRECTORY: a.path("data"),
    },
  };
  await cdktr(["keys", "init"], options);
  const cron = shellWorkflow({ tick: { sh: "echo tick" } }, 'cron: "* * * * * *"\n');
  await Bun.write(a.path("workflows/often.yml"), cron);
  await using principal = new CdktrProcess(["start", "principal", "--with-agent"], options);
  await principal.waitFor(/secured: encrypted/);
  await Bun.write(
    a.path("workflows/then.yml"),
    shellWorkflow({ next: { sh: "echo next" } }, "on: { workflow: { id: often } }\n"),
  );
  await until("a scheduled run is over, and the one that it triggers", async () => {
    const { stdout } = await cdktr(["runs", "list", "--json"], options);
    const runs: { workflow_id: string; status: string }[] = JSON.parse(stdout);
    return runs.some(({ workflow_id, status }) => workflow_id === "then" && status === "COMPLETED");
  });
});

test("one key serves the agents of a host; another host's key cannot pass for one of them", async () => {
  using a = new TemporaryDirectory();
  const [api = 0, logsIn = 0, logsOut = 0] = await freePorts(3);
  const env = {
    CDKTR_PRINCIPAL_PORT: String(api),
    CDKTR_LOGS_LISTENING_PORT: String(logsIn),
    CDKTR_LOGS_PUBLISHING_PORT: String(logsOut),
    CDKTR_APP_DATA_DIRECTORY: a.path("data"),
  };
  const onA = { cwd: a.root, env };
  await cdktr(["keys", "init"], onA);
  await Bun.write(a.path("workflows/hello.yml"), shellWorkflow({ say: { sh: "echo hello" } }));
  await using principal = new CdktrProcess(["start", "principal"], onA);
  await principal.waitFor(/secured: encrypted/);
  const keyOf = async (name: string) =>
    (await cdktr(["keys", "add", name, "--role", "agent"], onA)).stdout.trim();
  const [ours, theirs] = [await keyOf("ours"), await keyOf("theirs")];
  const start = (suffix: string, key: string, place: string) =>
    new CdktrProcess(["start", "agent", "--suffix", suffix], {
      cwd: a.root,
      env: { ...env, CDKTR_APP_DATA_DIRECTORY: a.path(place), CDKTR_KEY_FILE: key },
    });
  await using one = start("1", ours, "host");
  await using two = start("2", ours, "host");
  for (const agent of [one, two]) await agent.waitFor(/is registered/);
  await using impostor = start("1", theirs, "elsewhere");
  expect((await impostor.finished).code).toBe(1);
  expect(impostor.stderr).toMatch(
    /The agent id "\S+-1" belongs to the key ours: the key theirs may not act for it\./,
  );
  // Also once the agent has left, and the principal was started again.
  await one.stop();
  await using later = start("1", theirs, "elsewhere");
  expect((await later.finished).code).toBe(1);
  expect((await cdktr(["run", "hello", "--wait"], onA)).code).toBe(0);
});

test("a host whose reply got lost joins again with the same token, even if either side was killed meanwhile", async () => {
  using a = new TemporaryDirectory();
  using b = new TemporaryDirectory();
  const [api = 0, logsIn = 0, logsOut = 0, tapped = 0] = await freePorts(4);
  const onA = {
    cwd: a.root,
    env: {
      CDKTR_PRINCIPAL_PORT: String(api),
      CDKTR_LOGS_LISTENING_PORT: String(logsIn),
      CDKTR_LOGS_PUBLISHING_PORT: String(logsOut),
      CDKTR_APP_DATA_DIRECTORY: a.path("data"),
    },
  };
  await cdktr(["keys", "init"], onA);
  const principal = new CdktrProcess(["start", "principal"], onA);
  await principal.waitFor(/secured: encrypted/);
  const made = await cdktr(["join-token", "create", "--address", `127.0.0.1:${tapped}`], onA);
  const token = made.stdout.trim();
  const id = /Token (\S+):/.exec(made.stderr)?.[1];
  const used = (): number =>
    JSON.parse(readFileSync(a.path("data/keys/tokens", `${id}.json`), "utf8")).used.length;
  // The principal writes the use down before it answers: what it says from then on gets lost.
  const tap = wiretap(tapped, api, () => used() === 0);
  const onB = {
    cwd: b.root,
    env: {
      CDKTR_APP_DATA_DIRECTORY: b.path("data"),
      CDKTR_LOGS_LISTENING_PORT: String(logsIn),
      CDKTR_LOGS_PUBLISHING_PORT: String(logsOut),
    },
  };
  const join = ["start", "agent", "--suffix", "b", "--join", token];
  const first = new CdktrProcess(join, onB);
  await until("the use is counted", () => used() === 1);
  expect(first.ended).toBe(false);
  for (const child of [first, principal]) {
    child.kill("SIGKILL");
    await child.finished;
  }
  expect(existsSync(b.path("data/keys/agent.key"))).toBe(false);
  tap.stop();

  await using again = new CdktrProcess(["start", "principal"], onA);
  await again.waitFor(/secured: encrypted/);
  const late = wiretap(tapped, api);
  // Somebody else with the token is too late, although the host has nothing in its hands yet.
  using c = new TemporaryDirectory();
  const thief = await cdktr(join, { ...onB, env: { ...onB.env, CDKTR_APP_DATA_DIRECTORY: c.path("data") } });
  expect(thief).toMatchObject({ code: 1 });
  expect(thief.stderr).toContain("This join token is used up");
  await using agent = new CdktrProcess(join, onB);
  await agent.waitFor(/is registered/);
  expect(used()).toBe(1);
  expect(readdirSync(b.path("data/keys"))).toEqual(["agent.key"]);
  const { stdout } = await cdktr(["keys", "list", "--json"], onA);
  expect(JSON.parse(stdout)).toHaveLength(2);
  // Started once more as it was, as a service does: the token does no harm.
  await agent.stop();
  await using restarted = new CdktrProcess(join, onB);
  await restarted.waitFor(/has already joined.*To join again, remove that file/);
  await restarted.waitFor(/is registered/);
  await restarted.stop();
  late.stop();
});

test("keys are replaced, and what the doctor and the shell say of them", async () => {
  using a = new TemporaryDirectory();
  using b = new TemporaryDirectory();
  const [api = 0, logsIn = 0, logsOut = 0, metrics = 0] = await freePorts(4);
  const onA = {
    cwd: a.root,
    env: {
      CDKTR_PRINCIPAL_PORT: String(api),
      CDKTR_LOGS_LISTENING_PORT: String(logsIn),
      CDKTR_LOGS_PUBLISHING_PORT: String(logsOut),
      CDKTR_METRICS_PORT: String(metrics),
      CDKTR_APP_DATA_DIRECTORY: a.path("data"),
      CDKTR_RETRY_ATTEMPTS: "1000",
    },
  };
  const onB = {
    cwd: b.root,
    env: { CDKTR_APP_DATA_DIRECTORY: b.path("data"), CDKTR_RETRY_ATTEMPTS: "1000" },
  };
  const run = (...words: string[]) => cdktr(words, onA);
  const joinOnB = async () => {
    const token = (await run("join-token", "create", "--address", `127.0.0.1:${api}`)).stdout;
    return new CdktrProcess(["start", "agent", "--suffix", "b", "--join", "-"], { ...onB, stdin: token });
  };
  /** What the doctor finds wrong with keys. */
  const findings = async (options: CommandOptions): Promise<string[]> => {
    const { stdout } = await cdktr(["doctor", "--json"], options);
    const report: { findings: { check: string; severity: string; message: string; remedy?: string }[] } =
      JSON.parse(stdout);
    return report.findings
      .filter(({ check, severity }) => check === "keys" && severity !== "ok")
      .map(({ message, remedy }) => `${message} ${remedy}`);
  };
  const completed = async (line: string[], keyFile = "") => {
    const env = { ...onA.env, CDKTR_KEY_FILE: keyFile };
    const done = await cdktr(["completion", "bash", "--", "cdktr", ...line], { ...onA, env });
    expect(done).toMatchObject({ code: 0, stderr: "" });
    return done.stdout
      .split("\n")
      .slice(1, -1)
      .map((text) => text.split("\t")[0]);
  };
  await run("keys", "init");
  await Bun.write(a.path("workflows/hello.yml"), shellWorkflow({ say: { sh: "echo hello" } }));
  const principal = new CdktrProcess(["start", "principal"], onA);
  await principal.waitFor(/secured: encrypted/);
  const agent = await joinOnB();
  const [, id = ""] = await agent.waitFor(/Agent (\S+) is registered/);
  const [, first = ""] = await agent.waitFor(/Joined the principal at \S+ as (\S+);/);
  const alice = (await run("keys", "add", "alice")).stdout.trim();
  const bob = (await run("keys", "add", "bob")).stdout.trim();

  // Whoever may read completes names; whoever may not gets none, and no complaint.
  expect(await findings(onA)).toEqual([]);
  expect(await findings(onB)).toEqual([]);
  expect(await completed(["run", ""], alice)).toContain("hello");
  expect(await completed(["run", ""], b.path("data/keys/agent.key"))).toEqual([]);
  expect(await completed(["keys", "revoke", ""])).toEqual(["admin", "alice", "bob", first].sort());
  await run("keys", "revoke", "bob");
  expect(await completed(["run", ""], bob)).toEqual([]);
  expect(await completed(["keys", "revoke", ""])).toEqual(["admin", "alice", first].sort());
  expect(await completed(["join-token", "revoke", ""])).toEqual([]);
  const withBob = { ...onA, env: { ...onA.env, CDKTR_KEY_FILE: bob } };
  expect(await findings(withBob)).toEqual([
    expect.stringMatching(/refuses the key bob in .*: it was revoked.*keys list/),
  ]);
  expect(await findings({ ...onA, env: { ...onA.env, CDKTR_KEY_FILE: a.path("gone") } })).toEqual([
    expect.stringMatching(/There is no key file .*gone.*keys add/),
  ]);
  for (const [path, mode] of [
    [a.path("data/keys/clients"), 0o700],
    [a.path("data/keys/clients/alice.json"), 0o600],
  ] as const) {
    chmodSync(path, mode | 0o055);
    expect((await findings(onA)).join()).toContain(`chmod ${mode.toString(8)} ${path}`);
    chmodSync(path, mode);
  }

  // The agent's key: the old one is revoked, and the host joins again. It is the same agent.
  await run("keys", "revoke", first);
  expect((await agent.finished).code).toBe(1);
  const refused = await joinOnB();
  await refused.waitFor(/has already joined.*To join again, remove that file/);
  await refused.waitFor(/refuses the key .* it was revoked/);
  await refused.stop();
  rmSync(b.path("data/keys/agent.key"));
  const second = await joinOnB();
  await second.waitFor(new RegExp(`Agent ${id} is registered`));
  expect((await run("run", "hello", "--wait")).code).toBe(0);

  // The principal's own: it begins anew with its history, everybody joins again.
  await principal.stop();
  renameSync(a.path("data/keys"), a.path("data/keys.old"));
  await run("keys", "init");
  await using renewed = new CdktrProcess(["start", "principal"], onA);
  await renewed.waitFor(/secured: encrypted/);
  await second.waitFor(
    /breaks off every handshake with the key .*: probably it is not the principal that the key was made for/,
  );
  const old = { ...onA, env: { ...onA.env, CDKTR_KEY_FILE: a.path("data/keys.old/alice.key") } };
  expect((await cdktr(["runs", "list"], old)).stderr).toContain("breaks off every handshake");
  second.kill("SIGKILL");
  await second.finished;
  const foreign = await joinOnB();
  expect((await foreign.finished).code).toBe(4);
  expect(foreign.stderr).toMatch(
    /is the key for a different principal than the one of this join token.*move that file away/s,
  );
  rmSync(b.path("data/keys/agent.key"));
  await using third = await joinOnB();
  await third.waitFor(new RegExp(`Agent ${id} is registered`));
  expect((await run("run", "hello", "--wait")).code).toBe(0);
  expect(JSON.parse((await run("runs", "list", "--json")).stdout)).toHaveLength(2);
});
