import { describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  Dealer,
  Publisher,
  Pull,
  Push,
  Reply,
  Request,
  Router,
  Subscriber,
  type Writable,
  XPublisher,
} from "../../src/zmq/index.ts";
import { ANY_PORT, codeOf, take, text, until } from "./support.ts";

setDefaultTimeout(60_000);

describe("patterns", () => {
  test("REQ and REP take turns", async () => {
    using reply = new Reply();
    using request = new Request();
    await reply.bind(ANY_PORT);
    request.connect(reply.lastEndpoint);
    for (let i = 0; i < 50; i++) {
      await request.send(`question ${i}`);
      expect(text(await reply.receive())).toEqual([`question ${i}`]);
      await reply.send([`answer ${i}`, "second part"]);
      expect(text(await request.receive())).toEqual([`answer ${i}`, "second part"]);
    }
  });

  test("ROUTER tells DEALERs apart by their routing ids", async () => {
    using router = new Router();
    await router.bind(ANY_PORT);
    const dealers = ["anna", "bert", "carl"].map((routingId) => new Dealer({ routingId }));
    for (const dealer of dealers) {
      dealer.connect(router.lastEndpoint);
      await dealer.send(["", "hello"]);
    }
    for (const _ of dealers) {
      const [id, ...rest] = await router.receive();
      expect(text(rest)).toEqual(["", "hello"]);
      await router.send([id, "you are", id]);
    }
    const answers = await Promise.all(dealers.map((dealer) => dealer.receive()));
    expect(answers.map(text)).toEqual([
      ["you are", "anna"],
      ["you are", "bert"],
      ["you are", "carl"],
    ]);
    for (const dealer of dealers) dealer.close();
  });

  test("PULL receives in order what one PUSH sent, through iterator, receive and batches alike", async () => {
    using pull = new Pull();
    using push = new Push();
    await pull.bind(ANY_PORT);
    push.connect(pull.lastEndpoint);
    const total = 20_000;
    const sending = (async () => {
      for (let i = 0; i < total; i++) if (!push.trySend(String(i))) await push.send(String(i));
    })();
    const seen: number[] = [];
    for await (const [part] of pull) {
      seen.push(Number(part));
      if (seen.length === 5_000) break;
    }
    while (seen.length < 6_000) seen.push(Number((await pull.receive())[0]));
    while (seen.length < total) {
      for (const [part] of await pull.receiveBatch(Math.min(300, total - seen.length)))
        seen.push(Number(part));
    }
    await sending;
    expect(seen).toEqual(Array.from({ length: total }, (_, i) => i));
    expect(pull.tryReceive()).toBeUndefined();
    expect(pull.tryReceiveBatch(10)).toEqual([]);
  });

  test("SUB receives what begins with a subscribed prefix, until it unsubscribes", async () => {
    using publisher = new Publisher();
    using subscriber = new Subscriber();
    await publisher.bind(ANY_PORT);
    subscriber.connect(publisher.lastEndpoint);
    subscriber.subscribe("etl.daily\x01", "end");
    await subscribed(publisher, subscriber, "end");
    await publisher.send("etl.daily\x01one");
    await publisher.send("etl.daily2\x01not this");
    await publisher.send(["etl.daily\x01", "in parts"]);
    await publisher.send("end");
    expect(text(await subscriber.receive())).toEqual(["etl.daily\x01one"]);
    expect(text(await subscriber.receive())).toEqual(["etl.daily\x01", "in parts"]);
    expect(text(await subscriber.receive())).toEqual(["end"]);
    subscriber.unsubscribe("etl.daily\x01");
    subscriber.subscribe("now");
    await subscribed(publisher, subscriber, "now");
    await publisher.send("etl.daily\x01two");
    await publisher.send("end");
    expect(text(await subscriber.receive())).toEqual(["end"]);
  });

  test("subscribing to nothing in particular means everything", async () => {
    using publisher = new Publisher();
    using subscriber = new Subscriber();
    await publisher.bind(ANY_PORT);
    subscriber.connect(publisher.lastEndpoint);
    subscriber.subscribe();
    await subscribed(publisher, subscriber, "x");
    await publisher.send("anything");
    expect(text(await subscriber.receive())).toEqual(["anything"]);
  });

  test("XPUB hears the first subscription to a prefix and the end of the last, and publishes like PUB", async () => {
    using publisher = new XPublisher();
    await publisher.bind(ANY_PORT);
    const [first, second] = [new Subscriber(), new Subscriber()];
    for (const subscriber of [first, second]) {
      subscriber.subscribe("a");
      subscriber.connect(publisher.lastEndpoint);
    }
    expect(text(await publisher.receive())).toEqual(["\x01a"]);
    second.subscribe("b");
    expect(text(await publisher.receive())).toEqual(["\x01b"]);
    await publisher.send("about");
    expect(text(await first.receive())).toEqual(["about"]);
    second.close();
    expect(text(await publisher.receive())).toEqual(["\0b"]);
    first.close();
    expect(text(await publisher.receive())).toEqual(["\0a"]);
  });

  test("IPv6 addresses need no option", async () => {
    using reply = new Reply();
    using request = new Request();
    await reply.bind("tcp://[::1]:*");
    request.connect(reply.lastEndpoint);
    await request.send("question");
    expect(text(await reply.receive())).toEqual(["question"]);
  });

  test("inproc and ipc endpoints work", async () => {
    for (const endpoint of ["inproc://patterns", `ipc:///tmp/cdktr-zmq-test-${process.pid}.sock`]) {
      using pull = new Pull();
      using push = new Push();
      await pull.bind(endpoint);
      push.connect(pull.lastEndpoint);
      await push.send("there");
      expect(text(await pull.receive())).toEqual(["there"]);
    }
  });

  test("many requests wait at once on one ROUTER and are answered late, in any order", async () => {
    using router = new Router();
    await router.bind(ANY_PORT);
    const clients = Array.from({ length: 30 }, () => new Request());
    const answers = clients.map(async (client, i) => {
      client.connect(router.lastEndpoint);
      await client.send(`from ${i}`);
      return text(await client.receive());
    });
    const waiting: Buffer[][] = [];
    for await (const message of router) if (waiting.push(message) === clients.length) break;
    for (const message of waiting.reverse()) {
      const [id, empty, body] = take(message, 3);
      await router.send([id, empty, `to you ${body}`]);
    }
    expect(await Promise.all(answers)).toEqual(clients.map((_, i) => [`to you from ${i}`]));
    for (const client of clients) client.close();
  });
});

describe("frames", () => {
  test("empty, binary, text, and buffers of the caller arrive as they were", async () => {
    using a = new Dealer();
    using b = new Dealer();
    await a.bind("inproc://frames");
    b.connect("inproc://frames");
    const bytes = new Uint8Array([0, 1, 255, 0]);
    await b.send(["", null, bytes, bytes.buffer, bytes.subarray(1, 3), "žluť", Buffer.from("z")]);
    const parts = await a.receive();
    expect(parts.map((part) => [...part])).toEqual([
      [],
      [],
      [0, 1, 255, 0],
      [0, 1, 255, 0],
      [1, 255],
      [...Buffer.from("žluť")],
      [122],
    ]);
    expect(parts.every((part) => Buffer.isBuffer(part))).toBe(true);
  });

  test("what was received stays as it was while more is received", async () => {
    using pull = new Pull();
    using push = new Push();
    await pull.bind("inproc://kept");
    push.connect("inproc://kept");
    const kept: Buffer[] = [];
    for (let i = 0; i < 500; i++) {
      await push.send(Buffer.alloc((i * 37) % 3_000, i % 251));
      kept.push((await pull.receive())[0]);
    }
    Bun.gc(true);
    for (const [i, part] of kept.entries()) {
      expect(part.length).toBe((i * 37) % 3_000);
      expect(part.every((byte) => byte === i % 251)).toBe(true);
    }
  });

  test("a buffer may change once the send is settled", async () => {
    using pull = new Pull();
    using push = new Push();
    await pull.bind("inproc://changed");
    push.connect("inproc://changed");
    const buffer = Buffer.alloc(10_000, 1);
    await push.send(buffer);
    buffer.fill(2);
    const [part] = await pull.receive();
    expect(part.every((byte) => byte === 1)).toBe(true);
  });

  test("a frame of 16 MiB goes both ways", async () => {
    using reply = new Reply();
    using request = new Request();
    await reply.bind(ANY_PORT);
    request.connect(reply.lastEndpoint);
    const large = Buffer.alloc(16 * 1024 * 1024);
    for (let i = 0; i < large.length; i += 4) large.writeUInt32LE((i * 2_654_435_761) >>> 0, i);
    await request.send(large);
    const [there] = await reply.receive();
    expect(there.equals(large)).toBe(true);
    await reply.send(["head", there]);
    const [head, back] = take(await request.receive(), 2);
    expect(String(head)).toBe("head");
    expect(back.equals(large)).toBe(true);
  });

  test("a message with no part, or with a part of no known kind, is refused before anything is sent", async () => {
    using push = new Push();
    expect(await codeOf(() => push.send([]))).toBe("EINVAL");
    expect(await codeOf(() => push.send(["a", 7 as unknown as string]))).toBe("EINVAL");
    expect(await codeOf(() => push.trySend({} as unknown as string))).toBe("EINVAL");
  });
});

/** Resolves when a subscription has reached the publisher: the probe comes through. */
async function subscribed(publisher: Writable, subscriber: Subscriber, probe: string): Promise<void> {
  await until(() => {
    publisher.trySend(probe);
    return subscriber.tryReceive() !== undefined;
  });
  // Probes that were under way when the first came through.
  publisher.trySend([probe, "last"]);
  for (let message = await subscriber.receive(); message.length !== 2; message = await subscriber.receive());
}
