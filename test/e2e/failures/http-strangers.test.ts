/** Strangers who hold connections to the HTTP ports open: agents and commands do not pay for it. */
import { expect, test } from "bun:test";
import { connect, type Socket } from "node:net";
import { Cluster, freePorts } from "../../support/cdktr.ts";
import { runOver, shellWorkflow, until } from "../support/fixtures.ts";
import { IMPATIENT, trigger } from "./support.ts";

/** More than the principal may open. */
const STRANGERS = 600;
const OPEN_FILES = 400;

/** Connections that stop in the middle of a request; whenever one is closed, another takes its place. */
class Strangers implements Disposable {
  readonly #port: number;
  readonly #sockets = new Set<Socket>();
  /** Connections that the principal has closed. */
  closed = 0;
  #isOver = false;

  constructor(port: number, count: number) {
    this.#port = port;
    for (let i = 0; i < count; i++) this.#open();
  }

  #open(): void {
    const socket = connect(this.#port, "127.0.0.1", () => socket.write("GET /metrics HTTP/1.1\r\nX-A: "));
    this.#sockets.add(socket);
    socket.on("error", () => {});
    socket.once("close", () => {
      this.#sockets.delete(socket);
      this.closed++;
      if (!this.#isOver) setTimeout(() => this.#isOver || this.#open(), 50);
    });
  }

  [Symbol.dispose](): void {
    this.#isOver = true;
    for (const socket of this.#sockets) socket.destroy();
  }
}

test("hundreds of half requests at the metrics port end no connection of an agent or a command", async () => {
  const [metrics = 0, webhook = 0, ...ports] = await freePorts(5);
  const env = {
    ...IMPATIENT,
    // Longer than a busy machine needs for a reply, and shorter than this test takes.
    CDKTR_DEFAULT_ZMQ_TIMEOUT_MS: "8000",
    CDKTR_METRICS_PORT: String(metrics),
    CDKTR_WEBHOOK_PORT: String(webhook),
  };
  await using cluster = new Cluster(
    {
      env,
      workflows: {
        "work.yml": shellWorkflow({ a: { sh: "sleep 0.5" } }),
        "hook.yml": shellWorkflow({ a: { sh: "true" } }, "on: {webhook: {path: /h, secret: none}}\n"),
      },
    },
    ports,
  );
  await cluster.startPrincipal([], { prefix: ["sh", "-c", `ulimit -n ${OPEN_FILES}; exec "$0" "$@"`] });
  await cluster.startAgent();
  for (const port of [metrics, webhook]) {
    using strangers = new Strangers(port, STRANGERS);
    await until("the strangers are there", () => strangers.closed > 10);
    // Longer than an agent may be silent.
    for (let i = 0; i < 6; i++) {
      const run = await trigger(cluster, "work");
      expect(await runOver(cluster.client, run)).toMatchObject({ status: "COMPLETED", attempt: 1 });
    }
    const commands = await Promise.all([
      cluster.cdktr(["runs", "list"]),
      cluster.cdktr(["agents", "list"]),
      cluster.cdktr(["logs", "query", "-n", "1"]),
    ]);
    expect(commands.map(({ code }) => code)).toEqual([0, 0, 0]);
  }
  expect(cluster.principal?.stderr).not.toMatch(/is lost|silent/);
  expect(cluster.agents[0]?.stderr).not.toMatch(/No principal answered/);
}, 60_000);
