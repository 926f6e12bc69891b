import { afterAll, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PrincipalLink } from "../../src/agent/principal-link.ts";
import { loadConfig } from "../../src/config.ts";
import { PROTOCOL } from "../../src/contract/version.ts";
import { DeclaredTriggers } from "../../src/events/declared/declared-triggers.ts";
import { log } from "../../src/log.ts";
import { PrincipalClient } from "../../src/protocol/client.ts";
import { Supervisor } from "../../src/systemd/notify.ts";
import { shellWorkflow } from "../cli/support.ts";
import { until } from "../e2e/support/fixtures.ts";
import { freePorts, startCluster } from "../support/cdktr.ts";

const directory = mkdtempSync(join(tmpdir(), "cdktr-notify-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const DESCRIPTION = {
  session_id: "s",
  stream_id: "t",
  host: "h",
  pid: 1,
  version: "0",
  protocol: PROTOCOL,
  max_concurrent_workflows: 1,
  labels: {},
  running: [],
};

/** Listens as systemd does: a unix datagram socket, bound to a path or to an abstract name. */
const LISTENER = `
import socket, sys
name = sys.argv[1]
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind("\\0" + name[1:] if name.startswith("@") else name)
print("bound", flush=True)
while True:
    print(repr(s.recv(4096).decode()), flush=True)
`;

class NotifySocket implements Disposable {
  readonly #child: Bun.Subprocess<"ignore", "pipe", "inherit">;
  readonly #lines: AsyncIterator<string>;
  readonly seen: string[] = [];

  private constructor(readonly address: string) {
    this.#child = Bun.spawn(["python3", "-c", LISTENER, address], { stdin: "ignore", stdout: "pipe" });
    this.#lines = linesOf(this.#child.stdout);
  }

  static async open(address: string): Promise<NotifySocket> {
    const socket = new NotifySocket(address);
    await socket.until((line) => line === "bound");
    return socket;
  }

  /** The next message that fits. */
  async until(fits: (message: string) => boolean): Promise<string> {
    for (;;) {
      const { value, done } = await this.#lines.next();
      if (done) throw new Error(`the listener ended; seen: ${this.seen.join(" | ")}`);
      this.seen.push(value);
      if (fits(value)) return value;
    }
  }

  [Symbol.dispose](): void {
    this.#child.kill("SIGKILL");
  }
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
}

for (const [kind, address] of [
  ["a path", join(directory, "socket")],
  ["an abstract name", `@cdktr-test-${crypto.randomUUID()}`],
] as const) {
  test(`a supervisor at ${kind} hears everything, in order`, async () => {
    using socket = await NotifySocket.open(address);
    const environment: Record<string, string | undefined> = {
      NOTIFY_SOCKET: address,
      WATCHDOG_USEC: "30000",
      WATCHDOG_PID: String(process.pid),
    };
    const supervisor = new Supervisor(environment);
    expect(Object.values(environment)).toEqual([]);
    let asked = 0;
    supervisor.starting("begins");
    expect(await socket.until(() => true)).toBe("'STATUS=begins'");
    expect(await socket.until(() => true)).toBe("'EXTEND_TIMEOUT_USEC=30000000'");
    supervisor.ready(
      () => "at\nwork",
      async () => ++asked !== 2,
    );
    expect(await socket.until(() => true)).toBe("'READY=1\\nSTATUS=at work'");
    await socket.until((line) => line.includes("WATCHDOG=1"));
    await socket.until((line) => line.includes("WATCHDOG=1"));
    // The second time it was not well, and said nothing.
    expect(asked).toBeGreaterThanOrEqual(3);
    supervisor.stopping("ends");
    await socket.until((line) => line.includes("STOPPING=1"));
    supervisor.close();
  });
}

test("without a supervisor, or with one of another process, nothing is asked and nothing happens", () => {
  const isWell = () => {
    throw new Error("nobody wants to know");
  };
  new Supervisor({}).ready(() => "ready", isWell);
  new Supervisor({ NOTIFY_SOCKET: "vsock:2:1234", WATCHDOG_USEC: "1000" }).ready(() => "ready", isWell);
  const other = { NOTIFY_SOCKET: join(directory, "none"), WATCHDOG_USEC: "1000", WATCHDOG_PID: "1" };
  new Supervisor(other).ready(() => "ready", isWell);
  new Supervisor({ NOTIFY_SOCKET: join(directory, "gone") }).status("nobody listens");
});

test("principal and agent say that they are ready, alive and stopping, and tasks hear nothing of it", async () => {
  await using cluster = await startCluster({
    workflows: { "env.yml": shellWorkflow("Env", { only: "env | grep -cE '^(NOTIFY|WATCHDOG)_' ; true" }) },
  });
  await cluster.principal?.stop();
  using principals = await NotifySocket.open(join(directory, "principal"));
  using agents = await NotifySocket.open(`@cdktr-agent-${crypto.randomUUID()}`);
  const env = (address: string) => ({ env: { NOTIFY_SOCKET: address, WATCHDOG_USEC: "300000" } });
  const principal = await cluster.startPrincipal([], env(principals.address));
  expect(await principals.until((line) => line.includes("STATUS="))).toContain("starting");
  expect(await principals.until((line) => line.includes("READY=1"))).toContain("STATUS=listening on port");
  await principals.until((line) => line.includes("WATCHDOG=1"));
  const agent = await cluster.startAgent([], env(agents.address));
  expect(await agents.until((line) => line.includes("READY=1"))).toContain("STATUS=agent ");
  await agents.until((line) => line.includes("WATCHDOG=1"));

  expect((await cluster.cdktr(["run", "env", "--wait"])).code).toBe(0);
  const { stdout } = await cluster.cdktr(["logs", "query", "--workflow", "env", "--json"]);
  expect(JSON.parse(stdout.trim()).payload).toBe("0");

  agent.kill();
  expect(await agents.until((line) => line.includes("STOPPING=1"))).toContain("taking no new ones");
  expect((await agent.finished).code).toBe(0);
  principal.kill();
  await principals.until((line) => line.includes("STOPPING=1"));
  expect((await principal.finished).code).toBe(0);
});

test("listeners say what they serve, also before there is a principal", async () => {
  await using cluster = await startCluster({
    workflows: {
      "hook.yml": shellWorkflow("Hook", { only: "true" }, 'on: { file: { glob: "/nowhere/*" } }'),
    },
  });
  await cluster.principal?.stop();
  using socket = await NotifySocket.open(join(directory, "listeners"));
  await using listeners = cluster.spawn(["start", "listeners"], {
    env: { NOTIFY_SOCKET: socket.address, WATCHDOG_USEC: "300000" },
  });
  expect(await socket.until((line) => line.includes("READY=1"))).toContain("looks for the principal");
  await socket.until((line) => line.includes("WATCHDOG=1"));
  await cluster.startPrincipal(["--no-listeners"]);
  await socket.until((line) => line.includes("STATUS=") && line.includes("workflows by trigger: file 1"));
  listeners.kill();
  await socket.until((line) => line.includes("STOPPING=1"));
  expect((await listeners.finished).code).toBe(0);
});

test("an agent that is stopped asks systemd for the time that its runs have, and then hands them over", async () => {
  await using cluster = await startCluster({
    workflows: {
      "long.yml": shellWorkflow("Long", {
        done: "echo once",
        // The first attempt goes on for ever.
        slow: { sh: '[ "$CDKTR_RUN_ATTEMPT" != 1 ] || { echo waits; sleep 1000; }', depends: ["done"] },
      }),
    },
  });
  using socket = await NotifySocket.open(join(directory, "draining"));
  const agent = await cluster.startAgent([], {
    env: { NOTIFY_SOCKET: socket.address, WATCHDOG_USEC: "300000", CDKTR_AGENT_STOP_GRACE_S: "2" },
  });
  const run = cluster.spawn(["run", "long", "--follow", "--json"]);
  await run.waitFor(/waits/, "stdout");
  expect(await socket.until((line) => line.includes("1 run of at most"))).toContain("principal at");
  agent.kill();
  expect(await socket.until((line) => line.includes("STOPPING=1"))).toContain("draining");
  const extension = await socket.until((line) => line.includes("EXTEND_TIMEOUT_USEC="));
  expect(Number(/USEC=(\d+)/.exec(extension)?.[1])).toBeGreaterThan(2_000_000);
  await socket.until((line) => line.includes("STATUS=draining: 1 run left"));
  await socket.until((line) => line.includes("STATUS=handing over 1 run"));
  expect((await agent.finished).code).toBe(0);
  expect(agent.stderr).toContain("CDKTR_AGENT_STOP_GRACE_S");

  // At once, and not after the time in which a silent agent is lost.
  await cluster.startAgent();
  expect((await run.finished).code).toBe(0);
  const [listed] = await cluster.client.listRuns({ limit: 1 });
  expect(listed).toMatchObject({ status: "COMPLETED", attempt: 2 });
  const details = await cluster.client.getRun(listed?.workflow_instance_id ?? "");
  expect(details.attempts.map(({ status, error }) => [status, error])).toEqual([
    ["CRASHED", "the agent left"],
    ["COMPLETED", null],
  ]);
  // What was complete is not run again.
  expect(run.stdout.match(/once/g)).toHaveLength(1);
});

test("an agent whose event loop is blocked is unhealthy", async () => {
  const [port = 0] = await freePorts(1);
  const client = new PrincipalClient({ host: "127.0.0.1", port, timeoutMs: 20 });
  const nothing = () => {
    throw new Error("there is no principal");
  };
  const link = new PrincipalLink({
    client,
    agentId: "lonely",
    heartbeatIntervalMs: 20,
    timeoutMs: 20,
    attempts: 2,
    now: Date.now,
    describe: () => DESCRIPTION,
    beat: nothing,
    meet: nothing,
    isFor: () => true,
    registered: nothing,
    obey: nothing,
    gone: () => {},
    refused: nothing,
    postponed: async () => {},
  });
  await link.start();
  // Nobody answers, it has given up hope, and goes on asking: that is well.
  await until("the principal is gone", () => link.isGone);
  const later = performance.now();
  await until("it asks again", () => link.isTurning(later + 30_150));
  await link.stop();
  expect(link.isTurning(performance.now() + 30_300)).toBe(false);
  await client.close();
});

test("a listener whose event loop is blocked is unhealthy", async () => {
  const [port = 0] = await freePorts(1);
  const { values } = loadConfig({
    CDKTR_PRINCIPAL_PORT: port,
    CDKTR_DEFAULT_ZMQ_TIMEOUT_MS: 20,
    CDKTR_APP_DATA_DIRECTORY: directory,
  });
  const triggers = new DeclaredTriggers({
    config: values,
    kinds: ["webhook"],
    connect: () => new PrincipalClient({ host: "127.0.0.1", port, timeoutMs: 20 }),
    log,
  });
  await triggers.start();
  // Nobody answers, and it goes on asking: that is well.
  const begun = performance.now();
  await until("it asks again", () => triggers.isWell(begun + 35_100));
  expect(triggers.isWell()).toBe(true);
  await triggers.stop();
  expect(triggers.isWell(performance.now() + 36_000)).toBe(false);
});

test("a blocked process sends nothing to the watchdog", async () => {
  await using cluster = await startCluster();
  await cluster.principal?.stop();
  const silence = async (role: string): Promise<number> => {
    using socket = await NotifySocket.open(join(directory, `stopped-${role}`));
    const env = { NOTIFY_SOCKET: socket.address, WATCHDOG_USEC: "60000" };
    await using service = cluster.spawn(["start", role], { env });
    await socket.until((line) => line.includes("WATCHDOG=1"));
    service.kill("SIGSTOP");
    // What was on its way may still come; then nothing until it goes on.
    const before = performance.now();
    setTimeout(() => service.kill("SIGCONT"), 600);
    let last = before;
    let longest = 0;
    // It is stopped for most of this time.
    while (performance.now() - before < 900) {
      await socket.until((line) => line.includes("WATCHDOG=1"));
      longest = Math.max(longest, performance.now() - last);
      last = performance.now();
    }
    return longest;
  };
  for (const longest of await Promise.all(["principal", "agent", "listeners"].map(silence))) {
    expect(longest).toBeGreaterThan(300);
  }
});
