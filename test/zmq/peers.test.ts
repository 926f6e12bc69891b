import { expect, test } from "bun:test";
import {
  authenticate,
  curveKeyPair,
  Dealer,
  Pull,
  Push,
  Router,
  type Socket,
  Subscriber,
  XPublisher,
} from "../../src/zmq/index.ts";
import { establishedAt } from "../support/connections.ts";
import { until } from "../support/until.ts";

function established(endpoint: string): number {
  return establishedAt(Number(/:(\d+)$/.exec(endpoint)?.[1]));
}

const server = curveKeyPair();
const alice = curveKeyPair();
const bob = curveKeyPair();
const names = new Map([
  [alice.publicKey, "alice"],
  [bob.publicKey, "bob"],
]);

function as({ publicKey, secretKey }: typeof alice) {
  return {
    curveServerKey: server.publicKey,
    curvePublicKey: publicKey,
    curveSecretKey: secretKey,
    linger: 0,
  } as const;
}

/** Lets both in, until one of them is shut out. */
async function serverOptions() {
  const domain = crypto.randomUUID();
  const out = new Set<string>();
  const end = await authenticate(domain, ({ publicKey }) => {
    const name = names.get(publicKey ?? "");
    return name === undefined || out.has(name) ? undefined : name;
  });
  return {
    out,
    end,
    options: { curveServer: true, curveSecretKey: server.secretKey, zapDomain: domain } as const,
  };
}

function next(socket: Socket, event: "disconnected" | "handshakeFailed"): Promise<void> {
  return new Promise((done) => socket.events.on(event, () => done()));
}

test.each(["127.0.0.1", "[::1]"])(
  "a ROUTER at %s ends the connections of one peer and no other's, silent ones on demand",
  async (host) => {
    const { out, end, options } = await serverOptions();
    using router = new Router(options);
    await router.bind(`tcp://${host}:*`);
    using a = new Dealer(as(alice));
    using b = new Dealer(as(bob));
    using silent = new Dealer(as(bob));
    for (const socket of [a, b, silent]) socket.connect(router.lastEndpoint);
    await a.send("from a");
    await b.send("from b");
    const heard = new Map<string | undefined, Buffer>();
    while (heard.size < 2) {
      const message = await router.receive();
      heard.set(message.userId, message[0]);
    }
    await until("all are connected", () => established(router.lastEndpoint) === 3);

    const cut = next(a, "disconnected");
    const refused = next(a, "handshakeFailed");
    out.add("alice");
    expect(router.endConnections(({ userId }) => userId === "alice")).toBe(1);
    await cut;
    await refused;
    await until("the connection is gone", () => established(router.lastEndpoint) === 2);
    // The other one's is the same connection: the routing id still works.
    await router.send([heard.get("bob") ?? "", "still there"]);
    expect(String((await b.receive())[0])).toBe("still there");
    expect(router.endConnections(({ userId }) => userId === undefined)).toBe(1);
    await router.send([heard.get("bob") ?? "", "once more"]);
    expect(String((await b.receive())[0])).toBe("once more");
    // It comes back, as it may.
    await until("the silent one is back", () => established(router.lastEndpoint) === 2);
    end();
  },
);

test("an XPUB ends a subscriber at once, with all that is queued for it; the others miss nothing", async () => {
  const { out, end, options } = await serverOptions();
  using publisher = new XPublisher({ ...options, verbose: true, sendHighWaterMark: 0 });
  await publisher.bind("tcp://127.0.0.1:*");
  using a = new Subscriber({ ...as(alice), receiveHighWaterMark: 1, receiveBufferSize: 4096 });
  using b = new Subscriber({ ...as(bob), receiveHighWaterMark: 0 });
  for (const socket of [a, b]) {
    socket.subscribe("x");
    socket.connect(publisher.lastEndpoint);
  }
  const subscribed = [await publisher.receive(), await publisher.receive()].map(({ userId }) => userId);
  expect(subscribed.sort()).toEqual(["alice", "bob"]);
  const filler = "x".repeat(1000);
  // A subscriber that does not read: the lines wait in its pipe and in the kernel.
  for (let i = 0; i < 5000; i++) publisher.trySend(filler);
  out.add("alice");
  expect(publisher.endConnections(({ userId }) => userId !== "bob")).toBe(1);
  for (let i = 0; i < 100; i++) publisher.trySend("x-after");
  await until("the connection is gone", () => established(publisher.lastEndpoint) === 1);
  let got = 0;
  for (let count = 0; count < 5100; count++) got += (await b.receive())[0].length;
  expect(got).toBe(5000 * 1000 + 100 * 7);
  // What had arrived before is there, and that was not all.
  let rest = 0;
  for (let message = a.tryReceive(); message !== undefined; message = a.tryReceive()) {
    rest++;
    expect(message[0].length).toBe(1000);
  }
  expect(rest).toBeLessThan(5000);
  end();
});

test("a descriptor that was used again is not mistaken for its former peer", async () => {
  const { end, options } = await serverOptions();
  using pull = new Pull(options);
  await pull.bind("tcp://127.0.0.1:*");
  const before = new Push(as(alice));
  before.connect(pull.lastEndpoint);
  await before.send("hello");
  expect((await pull.receive()).userId).toBe("alice");
  before.close();
  await until("the connection is gone", () => established(pull.lastEndpoint) === 0);
  using after = new Push(as(bob));
  after.connect(pull.lastEndpoint);
  await until("the next one is there", () => established(pull.lastEndpoint) === 1);
  const asked: (string | undefined)[] = [];
  pull.endConnections(({ userId }) => {
    asked.push(userId);
    return false;
  });
  expect(asked).toEqual([undefined]);
  await after.send("hello");
  await pull.receive();
  pull.endConnections(({ userId }) => {
    asked.push(userId);
    return false;
  });
  expect(asked).toEqual([undefined, "bob"]);
  end();
});
