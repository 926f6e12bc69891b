/** Alerts from the end of a run to a receiver: what is told to whom, what fails, and that a principal that is killed loses none. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { type Cluster, startCluster } from "../support/cdktr.ts";
import { PATIENT } from "./failures/support.ts";
import { runOver, shellWorkflow, until } from "./support/fixtures.ts";

/** Many commands: on a busy machine each takes seconds. */
const GUARD_MS = 240_000;

/** A message as a web server gets it. */
interface Message {
  readonly message_id: string;
  readonly alerts: readonly {
    readonly kind: string;
    readonly about: string;
    readonly subject: string;
    readonly workflow_instance_id: string | null;
    readonly facts: Record<string, unknown>;
  }[];
}

/** A web server that gets messages. */
class Receiver {
  readonly messages: (Message & { readonly path: string })[] = [];
  /** What it does before it answers. */
  before: (message: Message) => Promise<void> | void = () => {};
  /** The status for messages of this path. */
  readonly status = new Map<string, number>();
  readonly #server = Bun.serve({
    port: 0,
    hostname: "127.0.0.1",
    fetch: async (request) => {
      const { pathname: path } = new URL(request.url);
      const message = { ...((await request.json()) as Message), path };
      this.messages.push(message);
      await this.before(message);
      return new Response("no", { status: this.status.get(path) ?? 200 });
    },
  });

  url(path: string): string {
    return `http://127.0.0.1:${this.#server.port}${path}`;
  }

  /** What has arrived under a path: what was told, and how often. */
  told(path: string): string[] {
    const at = this.messages.filter((message) => message.path === path);
    return at.flatMap(({ alerts }) =>
      alerts.map(({ kind, about, subject }) => `${kind}: ${subject}${about === "resolved" ? " (over)" : ""}`),
    );
  }

  async stop(): Promise<void> {
    await this.#server.stop(true);
  }
}

let cluster: Cluster;
const receiver = new Receiver();

beforeAll(async () => {
  cluster = await startCluster({
    agents: 1,
    env: PATIENT,
    workflows: {
      "_cdktr.yml": `channels:
  all: {webhook: ${receiver.url("/all")}}
  third: {webhook: ${receiver.url("/third")}}
  broken: {webhook: ${receiver.url("/broken")}}
  admin: {webhook: ${receiver.url("/admin")}}
notify:
  - {on: [agent_lost, dead_letter], to: [admin]}
  - {on: [failed], to: all}
`,
      "orders.yml": shellWorkflow(
        { load: { sh: 'echo "no such table" >&2; exit $CDKTR_PARAM_STATUS' } },
        `params: {status: {type: int, default: 0}}
notify:
  - all
  - {on: [failed, recovered], to: third, after_failures: 3}
`,
      ),
      "quiet.yml": shellWorkflow({ a: { sh: "exit 1" } }, "notify: []\n"),
      "plain.yml": shellWorkflow({ a: { sh: "exit 1" } }),
      "refused.yml": shellWorkflow({ a: { sh: "exit 1" } }, "notify: broken\n"),
      "asks.yml": "notify: [{on: [waiting], to: all}]\ntasks: {ok: {config: !Approval {message: Go on?}}}\n",
      "pauses.yml": shellWorkflow(
        { a: { sh: "exit 1" } },
        "auto_pause: 1\nnotify: [{on: paused, to: all}]\n",
      ),
    },
  });
}, GUARD_MS);
afterAll(async () => {
  await receiver.stop();
  await cluster?.stop();
});

const cdktr = (...args: string[]) => cluster.cdktr(args);

/** Runs a workflow to its end. */
async function ran(workflow: string, params: Record<string, string> = {}): Promise<string> {
  const { workflow_instance_id: id } = await cluster.client.runTask(workflow, {
    params,
    dedupe_key: crypto.randomUUID(),
  });
  await runOver(cluster.client, id);
  return id;
}

const arrived = (path: string, count: number) =>
  until(`${count} alerts have arrived at ${path}`, () => receiver.told(path).length >= count);

test(
  "each kind is told to whom it concerns, once, and the commands say so",
  async () => {
    await ran("quiet");
    const plain = await ran("plain");
    const failed = await ran("orders", { status: "3" });
    await ran("orders", { status: "3" });
    await ran("orders", { status: "4" });
    await ran("orders");
    await arrived("/all", 5);
    await arrived("/third", 2);
    expect(receiver.told("/all")).toEqual([
      "failed: plain failed",
      "failed: orders failed",
      "failed: orders failed, 2 times in a row",
      "failed: orders failed, 3 times in a row",
      "recovered: orders recovered after 3 failures in a row",
    ]);
    expect(receiver.told("/third")).toEqual([
      "failed: orders failed, 3 times in a row",
      "recovered: orders recovered after 3 failures in a row",
    ]);
    const ofAll = receiver.messages.filter(({ path }) => path === "/all");
    const alert = ofAll.flatMap(({ alerts }) => alerts)[1];
    expect(alert?.workflow_instance_id).toBe(failed);
    expect(alert?.facts).toMatchObject({
      status: "FAILED",
      trigger: "api",
      attempt: 1,
      failures: 1,
      failed_tasks: [{ task_id: "load", status: "FAILED", exit_code: 3 }],
    });

    const { workflow_instance_id: asking } = await cluster.client.runTask("asks", { dedupe_key: "asks" });
    await arrived("/all", 6);
    const open = await cdktr("alerts", "list", "--open");
    expect(open.stdout).toMatch(/^\w{8} +waiting +.* open +all +asks waits for an approval: ok$/m);
    expect((await cdktr("approvals", "approve", asking)).code).toBe(0);
    await arrived("/all", 7);
    await ran("pauses");
    await arrived("/all", 8);
    expect((await cdktr("workflow", "resume", "pauses")).code).toBe(0);
    await arrived("/all", 9);
    expect(receiver.told("/all").slice(5)).toEqual([
      "waiting: asks waits for an approval: ok",
      "waiting: asks waits for an approval: ok (over)",
      "paused: pauses was paused after a failure",
      "paused: pauses was paused after a failure (over)",
    ]);

    const list = JSON.parse((await cdktr("alerts", "list", "--workflow", "plain", "--json")).stdout);
    expect(list).toMatchObject([
      {
        kind: "failed",
        workflow_instance_id: plain,
        deliveries: [{ channel: "all", state: "SENT", attempts: 1 }],
      },
    ]);
    const shown = await cdktr("alerts", "show", list[0].alert_id.slice(0, 8));
    expect(shown.stdout).toMatch(/^plain failed\n/);
    expect(shown.stdout).toMatch(/^Told +all: told /m);
    expect(shown.stdout).toContain(`cdktr logs query --run ${plain}`);
    expect((await cdktr("alerts", "show", "ffffffffff")).code).toBe(4);
    const show = await cdktr("workflow", "show", "orders");
    expect(show.stdout).toMatch(
      /^Tells +all: everything\n +third: failed, recovered, after 3 failures in a row$/m,
    );
    expect((await cdktr("workflow", "show", "plain")).stdout).toMatch(
      /^Tells +admin: agent_lost, dead_letter$/m,
    );
  },
  GUARD_MS,
);

test(
  "what a channel refuses is listed, told to others, found by doctor, and sent again on request",
  async () => {
    receiver.status.set("/broken", 400);
    await ran("refused");
    await arrived("/admin", 1);
    expect(receiver.told("/admin")).toEqual(["dead_letter: Channel broken could not be told of an alert"]);
    const dead = await cdktr("alerts", "list", "--dead");
    expect(dead.stdout).toMatch(/failed .*broken \(not told\) +refused failed/);
    const channels = JSON.parse((await cdktr("alerts", "channels", "--json")).stdout);
    expect(channels).toMatchObject([
      { channel: "admin", kind: "webhook", exists: true, pending: 0, dead: 0, error: null },
      { channel: "all", dead: 0 },
      { channel: "broken", dead: 1, error: expect.stringContaining("400"), last_sent_ms: null },
      { channel: "third", dead: 0 },
    ]);
    const doctor = await cdktr("doctor");
    expect(doctor.stdout).toContain("Channel broken could not be told of an alert, for good.");
    receiver.status.clear();
    expect((await cdktr("alerts", "retry")).code).toBe(2);
    const retried = await cdktr("alerts", "retry", "--all-dead");
    expect([retried.code, retried.stderr]).toEqual([
      0,
      "1 message is sent again. 'cdktr alerts channels' shows how that goes.\n",
    ]);
    await arrived("/broken", 2);
    await until(
      "that is noted",
      async () => !(await cdktr("alerts", "list", "--dead")).stdout.includes("refused"),
    );
    expect((await cdktr("alerts", "list", "--dead")).stderr).toBe("Every alert was told.\n");
  },
  GUARD_MS,
);

test(
  "a principal that is killed while it tells loses nothing, and repeats only what was on its way; lost agents are told",
  async () => {
    for (let round = 1; round <= 3; round++) {
      let kills = 0;
      // The message has arrived, and the principal never learns of it.
      receiver.before = () => {
        if (kills++ === 0) cluster.principal?.kill("SIGKILL");
      };
      const { workflow_instance_id: id } = await cluster.client.runTask("plain", { dedupe_key: `${round}` });
      await cluster.principal?.finished;
      receiver.before = () => {};
      await cluster.startPrincipal();
      await until("that it was told is noted", async () => {
        const alerts = await cluster.client.call("LSALERTS", { workflow_id: "plain" });
        const alert = alerts.find((each) => each.workflow_instance_id === id);
        return alert?.deliveries.every(({ state }) => state === "SENT");
      });
      const about = receiver.messages.filter(({ alerts }) =>
        alerts.some((one) => one.workflow_instance_id === id),
      );
      expect(about.map(({ message_id }) => message_id)).toEqual([
        about[0]?.message_id ?? "",
        about[0]?.message_id ?? "",
      ]);
    }
    // It is dead before anybody can be impatient.
    const [agent] = cluster.agents;
    agent?.kill("SIGKILL");
    await agent?.finished;
    await cluster.principal?.stop();
    await cluster.startPrincipal([], { env: { CDKTR_AGENT_HEARTBEAT_TIMEOUT_MS: "2000" } });
    await arrived("/admin", 2);
    expect(receiver.told("/admin")[1]).toMatch(/^agent_lost: Agent .* is lost: nothing heard for 2 s$/);
  },
  GUARD_MS,
);
