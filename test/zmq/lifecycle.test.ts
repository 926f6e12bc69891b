import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { Dealer, Publisher, Pull, Push, Reply, Router, Subscriber } from "../../src/zmq/index.ts";
import { reactor } from "../../src/zmq/reactor.ts";
import { ANY_PORT, codeOf, openDescriptors, text, until } from "./support.ts";

setDefaultTimeout(60_000);

describe("closing", () => {
  test("a receive that waits is rejected, an iterator that waits ends", async () => {
    const first = new Pull();
    await first.bind(ANY_PORT);
    const receiving = codeOf(() => first.receive());
    first.close();
    expect(await receiving).toBe("ETERM");

    const batch = new Pull();
    const batching = codeOf(() => batch.receiveBatch(10));
    batch.close();
    expect(await batching).toBe("ETERM");

    const second = new Pull();
    let ended = false;
    const iterating = (async () => {
      for await (const _ of second);
      ended = true;
    })();
    second.close();
    await iterating;
    expect(ended).toBe(true);
  });

  test("sends that wait are rejected, each of them", async () => {
    const push = new Push();
    const sends = [codeOf(() => push.send("a")), codeOf(() => push.send("b"))];
    push.close();
    expect(await Promise.all(sends)).toEqual(["ETERM", "ETERM"]);
  });

  test("every operation on a closed socket fails with ENOTSOCK, and closing twice is harmless", async () => {
    const socket = new Dealer();
    expect(socket.closed).toBe(false);
    socket.close();
    socket.close();
    expect(socket.closed).toBe(true);
    const operations: (() => unknown)[] = [
      () => socket.send("a"),
      () => socket.trySend("a"),
      () => socket.receive(),
      () => socket.receiveBatch(2),
      () => socket.tryReceive(),
      () => socket.tryReceiveBatch(2),
      () => socket.bind(ANY_PORT),
      () => socket.unbind("tcp://127.0.0.1:1"),
      () => socket.connect("tcp://127.0.0.1:1"),
      () => socket.disconnect("tcp://127.0.0.1:1"),
      () => socket.linger,
      () => socket.events,
    ];
    for (const operation of operations) expect(await codeOf(operation)).toBe("ENOTSOCK");
    const subscriber = new Subscriber();
    subscriber.close();
    expect(await codeOf(() => subscriber.subscribe("a"))).toBe("ENOTSOCK");
  });

  test("iterating after close ends at once, and messages that were not taken are gone", async () => {
    using push = new Push();
    const pull = new Pull();
    await pull.bind("inproc://iterate-after-close");
    push.connect("inproc://iterate-after-close");
    await push.send("one");
    await push.send("two");
    const seen: string[] = [];
    for await (const [part] of pull) {
      seen.push(String(part));
      pull.close();
    }
    for await (const [part] of pull) seen.push(String(part));
    expect(seen).toEqual(["one"]);
  });

  test("leaving a loop does not close the socket; the next loop goes on", async () => {
    using push = new Push();
    using pull = new Pull();
    await pull.bind("inproc://leave-loop");
    push.connect("inproc://leave-loop");
    for (let i = 0; i < 3; i++) await push.send(String(i));
    const seen: string[] = [];
    for (let i = 0; i < 3; i++) {
      for await (const [part] of pull) {
        seen.push(String(part));
        break;
      }
    }
    expect(seen).toEqual(["0", "1", "2"]);
  });

  test("closing in the middle of a flood of both directions is safe", async () => {
    for (let round = 0; round < 20; round++) {
      const a = new Dealer({ sendHighWaterMark: 10, receiveHighWaterMark: 10, linger: 0 });
      const b = new Dealer({ sendHighWaterMark: 10, receiveHighWaterMark: 10, linger: 0 });
      await a.bind(ANY_PORT);
      b.connect(a.lastEndpoint);
      const body = Buffer.alloc(5_000, round);
      const sends = [a, b].flatMap((socket) =>
        Array.from({ length: 200 }, () => codeOf(() => socket.send(body))),
      );
      let received = 0;
      const loops = [a, b].map(async (socket) => {
        for await (const [part] of socket) {
          expect(part.length).toBe(5_000);
          if (++received === 50 + round) {
            a.close();
            b.close();
          }
        }
      });
      await Promise.all(loops);
      const codes = new Set(await Promise.all(sends));
      for (const code of codes) expect(["none", "ETERM"]).toContain(code);
    }
  });
});

describe("many sockets", () => {
  test("1,000 sockets at once, each in use, leave no descriptor behind", async () => {
    const open = async () => {
      using router = new Router();
      await router.bind("inproc://thousand");
      const dealers = Array.from({ length: 1_000 }, () => new Dealer({ linger: 0 }));
      for (const dealer of dealers) {
        dealer.connect("inproc://thousand");
        await dealer.send("hello");
      }
      const answers = dealers.map((dealer) => dealer.receive());
      for (let i = 0; i < dealers.length; i++) {
        const [id] = await router.receive();
        await router.send([id, "hello yourself"]);
      }
      for (const answer of await Promise.all(answers)) expect(text(answer)).toEqual(["hello yourself"]);
      for (const dealer of dealers) dealer.close();
    };
    // The context, its threads and the Worker stay, so the count is taken after a socket has waited.
    await codeOf(() => using_(new Pull({ receiveTimeout: 50 }), (pull) => pull.receive()));
    await until(() => reactor().worker !== undefined);
    const before = openDescriptors();
    await open();
    await until(() => openDescriptors() <= before);
  });

  test("1,000 opened and closed one after the other, over TCP and with monitors, leave no memory behind", async () => {
    using router = new Router();
    await router.bind(ANY_PORT);
    const cycle = async (count: number) => {
      for (let i = 0; i < count; i++) {
        using dealer = new Dealer({ linger: 0 });
        if (i % 10 === 0) dealer.events.on("connected", () => {});
        dealer.connect(router.lastEndpoint);
        await dealer.send(Buffer.alloc(1_000));
        const [id] = await router.receive();
        await router.send([id, "back"]);
        await dealer.receive();
      }
      Bun.gc(true);
    };
    await cycle(200);
    const descriptors = openDescriptors();
    const memory = process.memoryUsage.rss();
    await cycle(1_000);
    // Sockets that are being closed may still be there; a leak would be 1,000 of them.
    await until(() => openDescriptors() <= descriptors + 5);
    expect(process.memoryUsage.rss() - memory).toBeLessThan(30 * 1024 * 1024);
  });

  test("a publisher reaches subscribers that come and go", async () => {
    using publisher = new Publisher();
    await publisher.bind(ANY_PORT);
    for (let i = 0; i < 20; i++) {
      using subscriber = new Subscriber();
      subscriber.subscribe("");
      subscriber.connect(publisher.lastEndpoint);
      const received = subscriber.receive();
      let done = false;
      received.then(() => {
        done = true;
      });
      await until(() => {
        publisher.trySend(`tick ${i}`);
        return done;
      });
      expect(text(await received)).toEqual([`tick ${i}`]);
    }
  });

  test("a server keeps answering while its clients are closed", async () => {
    using reply = new Reply();
    await reply.bind(ANY_PORT);
    const serving = (async () => {
      for await (const message of reply) await reply.send(message);
    })();
    for (let i = 0; i < 50; i++) {
      const client = new Dealer({ linger: 0 });
      client.connect(reply.lastEndpoint);
      await client.send(["", `request ${i}`]);
      if (i % 3 === 0) expect(text(await client.receive())).toEqual(["", `request ${i}`]);
      client.close();
    }
    reply.close();
    await serving;
  });
});

async function using_<T extends Disposable>(
  resource: T,
  use: (resource: T) => Promise<unknown>,
): Promise<void> {
  using held = resource;
  await use(held);
}
