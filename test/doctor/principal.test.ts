/** The doctor's report about a running principal. Each problem is created for real. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { FakeClock } from "../e2e/failures/fake-clock.ts";
import { TemporaryDirectory, until } from "../e2e/support/fixtures.ts";
import { Cluster, cdktr, freePorts, startCluster } from "../support/cdktr.ts";
import { lockOf } from "../support/file-lock.ts";
import { nextHistoryOf } from "../support/history-process.ts";
import { errorsOf, examined, findingOf } from "./support.ts";

describe("a host with a principal", () => {
  let cluster: Cluster;
  let metrics = 0;
  const doctor = (env: Record<string, string> = {}) =>
    examined({ cwd: cluster.directory, env: { ...cluster.env, ...env } });

  beforeAll(async () => {
    metrics = (await freePorts(1))[0] ?? 0;
    cluster = await startCluster({
      agents: 1,
      workflows: { "bad.yml": "name: Bad\n" },
      env: {
        CDKTR_METRICS_PORT: String(metrics),
        CDKTR_AGENT_HEARTBEAT_INTERVAL_MS: "250",
        CDKTR_AGENT_HEARTBEAT_TIMEOUT_MS: "1500",
      },
    });
  });
  afterAll(() => cluster.stop());

  test("has no problems", async () => {
    const report = await doctor();
    expect([report.code, errorsOf(report)]).toEqual([0, []]);
    expect(findingOf(report, "principal", "ok").message).toContain("answers (version");
    expect(findingOf(report, "clock", "ok").message).toContain("The clock is within");
    expect(findingOf(report, "database", "ok").message).toContain("can read and write its history");
    expect(findingOf(report, "metrics", "ok").message).toContain(`127.0.0.1:${metrics}`);
    expect(report.findings.filter(({ check }) => check === "ports").map(({ severity }) => severity)).toEqual([
      "ok",
      "ok",
    ]);
    findingOf(report, "versions", "ok");
    const bad = findingOf(report, "workflows", "warning");
    expect(bad.message).toMatch(/is invalid and was not loaded: bad\.yml:/);
    expect(bad.remedy).toMatch(/cdktr workflow validate bad\.yml in the workflow directory$/);
  });

  test("log ports that differ from the principal's", async () => {
    const report = await doctor({ CDKTR_LOGS_LISTENING_PORT: "1" });
    expect(report.code).toBe(1);
    const found = findingOf(report, "ports", "error");
    expect(found.message).toContain("the settings here say 1");
    expect(found.remedy).toBe(`Set CDKTR_LOGS_LISTENING_PORT=${cluster.ports.listening} here.`);
  });

  test("one of several addresses at which nobody is: a warning, whether it comes first or last", async () => {
    const [free = 0] = await freePorts(1);
    const [here, away] = [`127.0.0.1:${cluster.ports.api}`, `127.0.0.1:${free}`];
    for (const listed of [`${away},${here}`, `${here},${away}`]) {
      const report = await doctor({ CDKTR_PRINCIPALS: listed });
      expect([report.code, errorsOf(report)]).toEqual([0, []]);
      expect(findingOf(report, "principal", "ok").message).toContain(here);
      const found = findingOf(report, "principal", "warning");
      expect(found.message).toContain(away);
      expect(found.why).toBe("Commands and agents here use another principal of the installation meanwhile.");
    }
  });

  test("metrics that are another program's", async () => {
    const other = Bun.serve({ hostname: "127.0.0.1", port: 0, fetch: () => new Response("hello") });
    const report = await doctor({ CDKTR_METRICS_PORT: String(other.port) });
    await other.stop(true);
    expect([report.code, findingOf(report, "metrics", "warning").message]).toEqual([
      0,
      expect.stringContaining(`(process ${process.pid})`),
    ]);
    // Nobody there: the principal may have other settings than this user.
    const none = await doctor({ CDKTR_METRICS_PORT: String((await freePorts(1))[0]) });
    expect(none.findings.map(({ check }) => check)).not.toContain("metrics");
  });

  test("a clock that is wrong", async () => {
    using place = new TemporaryDirectory();
    const fake = await FakeClock.create(place.path("clock"));
    fake.set(-90);
    const late = await doctor(fake.env);
    expect(late.code).toBe(1);
    const found = findingOf(late, "clock", "error");
    expect(found.message).toMatch(/^This host's clock is (89|90|91) s behind the principal's/);
    expect(found.remedy).toContain("timedatectl set-ntp true");
    fake.set(5);
    const early = await doctor(fake.env);
    expect(early.code).toBe(0);
    expect(findingOf(early, "clock", "warning").message).toMatch(
      / (4\d|5\d)\d\d ms ahead of the principal's/,
    );
  });

  test("an agent of another version, which is lost later", async () => {
    await cluster.client.registerAgent("old-one", {
      session_id: "one",
      stream_id: "old-stream",
      host: "far",
      pid: 1,
      version: "0.0.1",
      protocol: { version: 1, oldest: 1 },
      max_concurrent_workflows: 1,
      labels: {},
      running: [],
    });
    const report = await doctor();
    expect(report.code).toBe(0);
    const found = findingOf(report, "versions", "warning");
    expect(found.message).toMatch(/^Agent old-one is 0\.0\.1, the principal is \d/);
    expect(found.remedy).toContain("sudo systemctl restart cdktr-agent");
    await until("it is lost", async () =>
      (await cluster.client.registeredAgents()).some(({ status }) => status === "LOST"),
    );
    expect(findingOf(await doctor(), "agents", "warning").message).toContain("Agent old-one is lost");
  });

  test("a principal that hangs: the wait is bounded", async () => {
    cluster.principal?.kill("SIGSTOP");
    const report = await doctor({ CDKTR_DEFAULT_ZMQ_TIMEOUT_MS: "300" });
    cluster.principal?.kill("SIGCONT");
    expect(report.code).toBe(1);
    const found = findingOf(report, "principal", "error");
    expect(found.message).toContain(`(process ${cluster.principal?.pid}) listens at`);
    expect(found.remedy).toContain("restart cdktr-principal");
  });

  test("a port of the history that another program took while it was started again", async () => {
    const { listening } = cluster.ports;
    const greedy = Bun.spawn(
      [
        "python3",
        "-u",
        "-c",
        `
import socket as s
l = s.socket()
l.setsockopt(s.SOL_SOCKET, s.SO_REUSEADDR, 1)
print("ready")
while True:
    try:
        l.bind(("127.0.0.1", ${listening}))
        break
    except OSError:
        pass
l.listen()
print("taken")
input()
`,
      ],
      { stdin: "pipe", stdout: "pipe" },
    );
    const said = greedy.stdout.getReader();
    await said.read();
    process.kill(await nextHistoryOf(cluster.principal?.pid ?? 0), "SIGKILL");
    await said.read();
    await until("the principal says so", async () =>
      /is taken/.test((await cluster.client.info()).history.error ?? ""),
    );
    const report = await doctor();
    greedy.kill("SIGKILL");
    expect(report.code).toBe(1);
    const found = findingOf(report, "ports", "error");
    expect(found.message).toContain(`port ${listening}`);
    expect(found.message).toContain(`python3 has it (process ${greedy.pid})`);
    expect(found.remedy).toContain(`ps -fp ${greedy.pid}`);
    expect(found.remedy).not.toContain("firewall");
    expect(findingOf(report, "database", "error").remedy).toContain(`'sport = :${listening}'`);
    await until("it has the port again", async () => (await cluster.client.info()).history.available);
    expect(errorsOf(await doctor())).toEqual([]);
  });

  test("a history that another process holds", async () => {
    await cluster.principal?.stop();
    await using lock = await lockOf(join(cluster.dataDirectory, "app.db"));
    await cluster.startPrincipal();
    const report = await doctor();
    expect(report.code).toBe(1);
    const found = findingOf(report, "database", "error");
    expect(found.message).toMatch(new RegExp(`is in use by .*\\(process ${lock.pid}\\)`));
    expect(found.remedy).toContain(`ps -fp ${lock.pid}`);
  });
});

test("a secured principal: an admin's key sees everything, an agent's only what it may, and without a key the remedy is shown", async () => {
  using a = new TemporaryDirectory();
  await using cluster = await securedCluster(a);
  const admin = await examined({ cwd: a.root, env: cluster.env });
  expect([admin.code, errorsOf(admin)]).toEqual([0, []]);
  findingOf(admin, "keys", "ok");
  findingOf(admin, "versions", "ok");

  // Another host, as far as settings and files go.
  using b = new TemporaryDirectory();
  const there = { ...cluster.env, CDKTR_APP_DATA_DIRECTORY: b.path("data") };
  const stranger = await examined({ cwd: b.root, env: there });
  expect(stranger.code).toBe(1);
  const found = findingOf(stranger, "keys", "error");
  expect(found.message).toContain("is secured, and this client has no key");
  expect(found.remedy).toContain("cdktr keys add");
  // It is no port that another program has.
  expect(stranger.findings.filter(({ check }) => check === "ports")).toEqual([]);

  const made = await cdktr(["keys", "add", "worker", "--role", "agent"], { cwd: a.root, env: cluster.env });
  mkdirSync(b.path("data/keys"), { recursive: true, mode: 0o700 });
  copyFileSync(made.stdout.trim(), b.path("data/keys/agent.key"));
  const agent = await examined({ cwd: b.root, env: there });
  expect([agent.code, errorsOf(agent)]).toEqual([0, []]);
  findingOf(agent, "principal", "ok");
  findingOf(agent, "versions", "ok");

  // A host that joined knows its principal by that.
  const file = b.path("data/keys/agent.key");
  const key = JSON.parse(await Bun.file(file).text());
  const principal = {
    host: "127.0.0.1",
    port: cluster.ports.api,
    logs_listening_port: cluster.ports.listening,
    logs_publishing_port: cluster.ports.publishing,
  };
  writeFileSync(file, JSON.stringify({ ...key, principal }), { mode: 0o600 });
  const joined = await examined({ cwd: b.root, env: { CDKTR_APP_DATA_DIRECTORY: b.path("data") } });
  expect(findingOf(joined, "principal", "ok").message).toContain(`127.0.0.1:${cluster.ports.api}`);

  await cdktr(["keys", "revoke", "worker"], { cwd: a.root, env: cluster.env });
  const revoked = await examined({ cwd: b.root, env: there });
  expect(revoked.code).toBe(1);
  expect(findingOf(revoked, "keys", "error").message).toContain("refuses the key worker");
});

/** A principal whose keys were set up before its start. */
async function securedCluster(place: TemporaryDirectory): Promise<Cluster> {
  const env = { CDKTR_APP_DATA_DIRECTORY: place.path("data") };
  const made = await cdktr(["keys", "init"], { cwd: place.root, env });
  expect(made.code).toBe(0);
  // The cluster's own client has no key: it is only asked what it prints.
  const cluster = new Cluster({ env }, await freePorts(3));
  cluster.principal = cluster.spawn(["start", "principal"]);
  await cluster.principal.waitFor(/Principal ready/);
  return cluster;
}
