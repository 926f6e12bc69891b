import { afterEach, expect, setDefaultTimeout, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createConsola } from "consola";
import { BufferedDelivery } from "../../src/events/buffered-delivery.ts";
import { EventListener, type TriggerRequest } from "../../src/events/event-listener.ts";
import { ListenerService } from "../../src/events/listener-service.ts";
import { TriggerBuffer } from "../../src/events/trigger-buffer.ts";
import { PrincipalClient, RequestRefusedError } from "../../src/protocol/client.ts";
import { startCluster } from "../support/cdktr.ts";
import { until } from "../support/until.ts";

setDefaultTimeout(60_000);

const HELLO = `name: hello
tasks:
  only:
    name: Only
    config: !Subprocess
      cmd: "true"
`;

const directory = mkdtempSync(join(tmpdir(), "cdktr-events-"));
const messages: string[] = [];
const log = createConsola({
  level: 4,
  reporters: [{ log: ({ args }) => void messages.push(args.join(" ")) }],
});
let made = 0;

afterEach(() => {
  messages.length = 0;
});
process.on("exit", () => rmSync(directory, { recursive: true, force: true }));

function request(key: string, workflowId = "hello"): TriggerRequest {
  return { workflowId, trigger: "listener:test", params: {}, dedupeKey: key, scheduledTimeMs: null };
}

function place(): string {
  return join(directory, String(made++));
}

function clientOf(port: number): PrincipalClient {
  // Long: a machine that is busy is not a principal that is away.
  return new PrincipalClient({ host: "127.0.0.1", port, timeoutMs: 3000 });
}

test("the buffer keeps order and what was added, and knows an event that waits already", () => {
  const at = place();
  const buffer = new TriggerBuffer(at);
  expect(buffer.first(1)).toEqual([]);
  const [a = 0, b = 0, c = 0] = buffer.add(
    ["a", "b", "c"].map((key) => request(key)),
    5,
  );
  const [again, other = 0] = buffer.add([request("b"), request("b", "other")], 6);
  expect(again).toBe(b);
  expect(other).toBeGreaterThan(c);
  expect(buffer.size).toBe(4);
  expect(buffer.bytes).toBeGreaterThan(0);
  buffer.remove([a]);
  buffer.close();

  const reopened = new TriggerBuffer(at);
  expect(reopened.size).toBe(3);
  const [first] = reopened.first(1);
  expect(first).toEqual({ seq: b, request: request("b"), createdAtMs: 5 });
  expect(reopened.first(5).map(({ request: { dedupeKey } }) => dedupeKey)).toEqual(["b", "c", "b"]);
  expect(first !== undefined && reopened.hasLater(first)).toBe(true);
  expect(reopened.first(1, { afterSeq: b }).map(({ seq }) => seq)).toEqual([c]);
  expect(reopened.first(2, { except: ["hello", "none"] }).map(({ seq }) => seq)).toEqual([other]);
  expect(reopened.size).toBe(3);
  // Numbers are never used again: an order stays an order.
  reopened.remove([b, c, other]);
  expect(reopened.add([request("d")], 7)[0]).toBeGreaterThan(other);
  reopened.close();
});

test("away: triggers are safe at once, wait in order, and become runs when the principal is back", async () => {
  await using cluster = await startCluster({ workflows: { "hello.yml": HELLO } });
  const delivery = new BufferedDelivery({
    client: clientOf(cluster.ports.api),
    buffer: new TriggerBuffer(place()),
    log,
  });
  await delivery.start();
  const first = await delivery.deliver(request("first"));
  expect(first).toMatchObject({ buffered: false, dedupe_key: "first" });
  expect(await delivery.deliver(request("first"))).toEqual(first);
  const refusal = await delivery.deliver(request("x", "helo")).catch((error) => error);
  expect(refusal).toBeInstanceOf(RequestRefusedError);

  cluster.principal?.kill("SIGKILL");
  await cluster.principal?.finished;
  const away = await Promise.all(
    Array.from({ length: 50 }, (_, i) => delivery.deliver(request(`away-${i}`))),
  );
  expect(away[7]).toEqual({ workflow_instance_id: null, dedupe_key: "away-7", buffered: true });
  expect(away.every((each) => each.buffered)).toBe(true);
  // Nobody is there to hear that this one is refused: the log says it.
  await delivery.deliver(request("late", "helo"));
  expect(delivery.metrics).toMatchObject({ buffered: 51, failed: 1, delivered: 2, fired: 54 });
  expect(delivery.metrics.awaySinceMs).not.toBeNull();

  await cluster.startPrincipal();
  await delivery.drained();
  expect(delivery.metrics).toMatchObject({ buffered: 0, failed: 2, delivered: 52, awaySinceMs: null });
  expect(messages.filter((message) => message.includes("are buffered on disk"))).toHaveLength(1);
  expect(messages.some((message) => message.includes("late) was dropped"))).toBe(true);
  await delivery.stop();
  const runs = await cluster.client.listRuns({ limit: 1000 });
  expect(runs).toHaveLength(51);
  const at = runs.map((run) => run.created_at_ms).reverse();
  expect(at).toEqual([...at].sort((a, b) => a - b));
});

test("a full buffer blocks the listener until there is space", async () => {
  await using cluster = await startCluster({ workflows: { "hello.yml": HELLO } });
  cluster.principal?.kill("SIGKILL");
  await cluster.principal?.finished;
  const delivery = new BufferedDelivery({
    client: clientOf(cluster.ports.api),
    buffer: new TriggerBuffer(place()),
    log,
    limit: 3,
  });
  await delivery.start();
  await Promise.all(["a", "b", "c"].map((key) => delivery.deliver(request(key))));
  let taken = false;
  const full = delivery.signals.next("full");
  const fourth = delivery.deliver(request("d")).then((result) => {
    taken = true;
    return result;
  });
  await full;
  expect({ taken, waiting: delivery.metrics.buffered }).toEqual({ taken: false, waiting: 3 });
  await cluster.startPrincipal();
  await fourth;
  await delivery.drained();
  await delivery.stop();
  expect(await cluster.client.listRuns({ limit: 10 })).toHaveLength(4);
});

test("a buffer from which nothing can be removed: that is said, and what was delivered is not delivered again", async () => {
  class Stuck extends TriggerBuffer {
    isStuck = true;
    override remove(seqs: readonly number[]): void {
      if (this.isStuck) throw new Error("database or disk is full");
      super.remove(seqs);
    }
  }
  await using cluster = await startCluster({ workflows: { "hello.yml": HELLO } });
  const buffer = new Stuck(place());
  const delivery = new BufferedDelivery({ client: clientOf(cluster.ports.api), buffer, log });
  await delivery.start();
  const first = await delivery.deliver(request("first"));
  expect(first).toMatchObject({ buffered: false });
  expect(await delivery.deliver(request("first"))).toEqual(first);
  await Promise.all(Array.from({ length: 700 }, (_, i) => delivery.deliver(request(`more-${i}`))));
  await delivery.drained();
  expect(delivery.metrics).toMatchObject({ buffered: 0, delivered: 701, failed: 0, awaySinceMs: null });
  expect(buffer.size).toBe(701);
  expect(messages.filter((message) => message.includes("on this host's disk does not work"))).toHaveLength(1);
  expect(messages.some((message) => message.includes("principal"))).toBe(false);

  buffer.isStuck = false;
  await delivery.deliver(request("last"));
  await until("it is empty", async () => buffer.size === 0);
  expect(delivery.metrics.delivered).toBe(702);
  expect(messages.filter((message) => message.includes("works again"))).toHaveLength(1);
  await delivery.stop();
  expect(await cluster.client.listRuns({ limit: 1000 })).toHaveLength(702);
});

test("what waits when a listener ends is delivered by the next one of its name", async () => {
  await using cluster = await startCluster({ workflows: { "hello.yml": HELLO } });
  cluster.principal?.kill("SIGKILL");
  await cluster.principal?.finished;

  class Rings extends EventListener {
    override readonly name = "front door/../bell";
    constructor(readonly count: number) {
      super();
    }
    async startListening(): Promise<void> {
      for (let i = 0; i < this.count; i++) {
        await this.runWorkflow("hello", { dedupeKey: `ring-${i}` });
      }
    }
  }
  const dataDirectory = place();
  const service = (count: number) =>
    new ListenerService({
      listener: new Rings(count),
      client: clientOf(cluster.ports.api),
      log,
      dataDirectory,
    });

  const before = service(5);
  await before.start();
  await before.signals.until("buffered", () => before.status.buffered >= 5);
  await before.stop();
  await before.done;
  await cluster.startPrincipal();
  const after = service(0);
  await after.start();
  await after.done;
  await after.stop();
  const runs = await cluster.client.listRuns({ limit: 10 });
  expect(runs.map((run) => run.trigger)).toEqual(Array(5).fill("listener:front-door/../bell"));
  expect(new Bun.Glob("*").scanSync({ cwd: join(dataDirectory, "listeners"), onlyFiles: false })).toContain(
    "front%20door%2F%2E%2E%2Fbell",
  );
});

test("a listener that fails says so, one that does not look at its signal is not waited for long", async () => {
  class Breaks extends EventListener {
    async startListening(): Promise<void> {
      throw new Error("no more bells");
    }
  }
  class Deaf extends EventListener {
    startListening(): Promise<void> {
      return new Promise(() => {});
    }
  }
  const service = (listener: EventListener) =>
    new ListenerService({ listener, client: clientOf(1), log, dataDirectory: place(), graceMs: 20 });
  const breaks = service(new Breaks());
  await breaks.start();
  await expect(breaks.done).rejects.toThrow("no more bells");
  await breaks.stop();
  const deaf = service(new Deaf());
  await deaf.start();
  await deaf.stop();
  await deaf.done;
  expect(() => new Breaks().client).toThrow("cdktr listen");
});
