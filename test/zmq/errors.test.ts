import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { CdktrError } from "../../src/errors.ts";
import { Dealer, Publisher, Pull, Push, Reply, Request, Router, ZmqError } from "../../src/zmq/index.ts";
import { ANY_PORT, codeOf, text, until } from "./support.ts";

setDefaultTimeout(60_000);

describe("endpoints", () => {
  test("an address in use is refused with a message that says what to do", async () => {
    using first = new Reply();
    using second = new Reply();
    await first.bind(ANY_PORT);
    const error = await second.bind(first.lastEndpoint).catch((caught) => caught);
    expect(error).toBeInstanceOf(ZmqError);
    expect(error).toBeInstanceOf(CdktrError);
    expect(error.code).toBe("EADDRINUSE");
    expect(error.endpoint).toBe(first.lastEndpoint);
    expect(error.message).toBe(`cannot bind ${first.lastEndpoint}: the address is in use (EADDRINUSE)`);
    expect(error.hint).toContain("another port");
  });

  test("an address can be bound again at once after close and after unbind", async () => {
    const first = new Reply();
    await first.bind(ANY_PORT);
    const endpoint = first.lastEndpoint;
    first.close();
    for (let i = 0; i < 20; i++) {
      using next = new Reply();
      await next.bind(endpoint);
      await next.unbind(endpoint);
      await next.bind(endpoint.replace("127.0.0.1", "localhost"));
    }
  });

  test("endpoints that cannot be are refused", async () => {
    using socket = new Reply();
    expect(await codeOf(() => socket.bind("nonsense"))).toBe("EINVAL");
    expect(await codeOf(() => socket.bind("tcp://127.0.0.1"))).toBe("EINVAL");
    expect(await codeOf(() => socket.bind("tcp://127.0.0.1:99999"))).toBe("EINVAL");
    expect(await codeOf(() => socket.bind("http://127.0.0.1:80"))).toBe("EPROTONOSUPPORT");
    expect(await codeOf(() => socket.bind("tcp://203.0.113.7:1"))).toMatch(/^E(ADDRNOTAVAIL|NODEV)$/);
    expect(await codeOf(() => socket.connect("nonsense"))).toBe("EINVAL");
    expect(await codeOf(() => socket.connect(""))).toBe("EINVAL");
    expect(await codeOf(() => socket.connect("tcp://127.0.0.1:1\0:2"))).toBe("EINVAL");
    expect(await codeOf(() => socket.connect("tcp://127.0.0.1:1\0"))).toBe("EINVAL");
    expect(await codeOf(() => socket.unbind("tcp://127.0.0.1:1"))).toBe("ENOENT");
    expect(await codeOf(() => socket.disconnect("tcp://127.0.0.1:1"))).toBe("ENOENT");
  });

  test("lastEndpoint has the real port, and stays after close", async () => {
    const socket = new Reply();
    expect(socket.lastEndpoint).toBe("");
    await socket.bind(ANY_PORT);
    const endpoint = socket.lastEndpoint;
    expect(endpoint).toMatch(/^tcp:\/\/127\.0\.0\.1:[1-9]\d+$/);
    socket.close();
    expect(socket.lastEndpoint).toBe(endpoint);
  });
});

describe("states", () => {
  test("REQ and REP out of turn fail with EFSM and stay usable", async () => {
    using reply = new Reply();
    using request = new Request();
    await reply.bind(ANY_PORT);
    request.connect(reply.lastEndpoint);
    expect(await codeOf(() => request.receive())).toBe("EFSM");
    expect(await codeOf(() => reply.send("too early"))).toBe("EFSM");
    expect(await codeOf(() => reply.trySend("too early"))).toBe("EFSM");
    await request.send("one");
    expect(await codeOf(() => request.send("two"))).toBe("EFSM");
    expect(text(await reply.receive())).toEqual(["one"]);
    expect(await codeOf(() => reply.receive())).toBe("EFSM");
    await reply.send("fine");
    expect(text(await request.receive())).toEqual(["fine"]);
  });

  test("a relaxed REQ with correlation drops the reply to an earlier request", async () => {
    using router = new Router();
    using request = new Request({ relaxed: true, correlate: true });
    await router.bind(ANY_PORT);
    request.connect(router.lastEndpoint);
    await request.send("first");
    const first = await router.receive();
    await request.send("second");
    const second = await router.receive();
    const answer = request.receive();
    await router.send([...first.slice(0, -1), "late"]);
    await router.send([...second.slice(0, -1), "right"]);
    expect(text(await answer)).toEqual(["right"]);
  });

  test("a mandatory ROUTER says when nobody has the id; any other drops the message", async () => {
    using mandatory = new Router({ mandatory: true });
    using other = new Router();
    await mandatory.bind(ANY_PORT);
    const error = await mandatory.send(["nobody", "hello"]).catch((caught) => caught);
    expect(error.code).toBe("EHOSTUNREACH");
    expect(error.message).toContain("routing id");
    expect(await codeOf(() => mandatory.trySend(["nobody", "hello"]))).toBe("EHOSTUNREACH");
    expect(await codeOf(() => other.send(["nobody", "hello"]))).toBe("none");
    using dealer = new Dealer({ routingId: "somebody" });
    dealer.connect(mandatory.lastEndpoint);
    await dealer.send("here I am");
    await mandatory.receive();
    await mandatory.send(["somebody", "hello"]);
    expect(text(await dealer.receive())).toEqual(["hello"]);
  });

  test("a mandatory ROUTER waits for a full peer while others have room", async () => {
    using router = new Router({ mandatory: true, sendHighWaterMark: 5 });
    await router.bind("inproc://full-peer");
    using slow = new Dealer({ routingId: "slow", receiveHighWaterMark: 5 });
    using quick = new Dealer({ routingId: "quick", receiveHighWaterMark: 5 });
    for (const dealer of [slow, quick]) {
      dealer.connect("inproc://full-peer");
      await dealer.send("hello");
      await router.receive();
    }
    let sent = 0;
    while (router.trySend(["slow", String(sent)])) sent++;
    const order: string[] = [];
    const waiting = router.send(["slow", "waited"]).then(() => order.push("sent"));
    // The same socket, but another peer: it has room, and yet must not overtake.
    const behind = router.send(["quick", "behind"]);
    for (let i = 0; i < sent; i++) expect(text(await slow.receive())).toEqual([String(i)]);
    await Promise.all([waiting, behind]);
    expect(text(await slow.receive())).toEqual(["waited"]);
    expect(text(await quick.receive())).toEqual(["behind"]);
    expect(order).toEqual(["sent"]);
  });

  test("handover lets a peer with the same id take over; without it the first keeps the id", async () => {
    for (const handover of [true, false]) {
      using router = new Router({ handover });
      await router.bind(`inproc://handover-${handover}`);
      using first = new Dealer({ routingId: "same" });
      using second = new Dealer({ routingId: "same" });
      first.connect(router.lastEndpoint);
      await first.send("first");
      await router.receive();
      second.connect(router.lastEndpoint);
      await second.send("second");
      if (handover) await router.receive();
      await router.send(["same", "for you"]);
      expect(text(await (handover ? second : first).receive())).toEqual(["for you"]);
    }
  });

  test("a second receive is refused while one waits, and the first still gets its message", async () => {
    using pull = new Pull();
    using push = new Push();
    await pull.bind(ANY_PORT);
    const waiting = pull.receive();
    expect(await codeOf(() => pull.receive())).toBe("EBUSY");
    expect(await codeOf(() => pull.receiveBatch(5))).toBe("EBUSY");
    expect(await codeOf(() => pull.tryReceive())).toBe("EBUSY");
    expect(await codeOf(() => pull[Symbol.asyncIterator]().next())).toBe("EBUSY");
    push.connect(pull.lastEndpoint);
    await push.send("for the first");
    expect(text(await waiting)).toEqual(["for the first"]);
  });
});

describe("waiting", () => {
  test("a send that would block fails at once with sendTimeout 0, after it with a longer one", async () => {
    using push = new Push({ sendTimeout: 0 });
    expect(await codeOf(() => push.send("nobody is there"))).toBe("EAGAIN");
    expect(push.trySend("nobody is there")).toBe(false);
    push.sendTimeout = 20;
    const start = performance.now();
    expect(await codeOf(() => push.send("nobody is there"))).toBe("EAGAIN");
    expect(performance.now() - start).toBeGreaterThanOrEqual(19);
  });

  test("a send waits at the high-water mark, sends that wait keep their order, and trySend does not overtake", async () => {
    using pull = new Pull({ receiveHighWaterMark: 10 });
    using push = new Push({ sendHighWaterMark: 10 });
    await pull.bind("inproc://high-water");
    push.connect("inproc://high-water");
    let sent = 0;
    while (push.trySend(String(sent))) sent++;
    expect(sent).toBe(20);
    const waiting = Array.from({ length: 100 }, () => push.send(String(sent++)));
    expect(push.trySend("overtaking")).toBe(false);
    const seen: string[] = [];
    for await (const [part] of pull) if (seen.push(String(part)) === 120) break;
    await Promise.all(waiting);
    expect(seen).toEqual(Array.from({ length: 120 }, (_, i) => String(i)));
  });

  test("trySend sees at once that there is room again", async () => {
    using pull = new Pull({ receiveHighWaterMark: 10 });
    using push = new Push({ sendHighWaterMark: 10 });
    await pull.bind("inproc://room-again");
    push.connect("inproc://room-again");
    for (let round = 0; round < 50; round++) {
      while (push.trySend("full"));
      expect(pull.tryReceiveBatch(100).length).toBeGreaterThan(10);
      expect(push.trySend("room")).toBe(true);
    }
  });

  test("a send that timed out is not sent later, and those behind it are", async () => {
    using push = new Push({ sendTimeout: 15 });
    using pull = new Pull();
    const gone = push.send("gone");
    push.sendTimeout = -1;
    const kept = push.send("kept");
    expect(await codeOf(() => gone)).toBe("EAGAIN");
    await pull.bind("inproc://timed-out");
    push.connect("inproc://timed-out");
    await kept;
    expect(text(await pull.receive())).toEqual(["kept"]);
    expect(pull.tryReceive()).toBeUndefined();
  });

  test("a send without peers waits for the first one", async () => {
    using push = new Push({ immediate: true });
    using pull = new Pull();
    const sending = push.send("at last");
    await pull.bind(ANY_PORT);
    push.connect(pull.lastEndpoint);
    await sending;
    expect(text(await pull.receive())).toEqual(["at last"]);
  });

  test("receive times out and then works on", async () => {
    using pull = new Pull({ receiveTimeout: 15 });
    using push = new Push();
    await pull.bind(ANY_PORT);
    expect(await codeOf(() => pull.receive())).toBe("EAGAIN");
    pull.receiveTimeout = 0;
    expect(await codeOf(() => pull.receive())).toBe("EAGAIN");
    pull.receiveTimeout = -1;
    push.connect(pull.lastEndpoint);
    await push.send("now");
    expect(text(await pull.receive())).toEqual(["now"]);
  });

  test("a time-out longer than a timer can be does not fire at once", async () => {
    using pull = new Pull({ receiveTimeout: 10_000_000_000 });
    using push = new Push();
    await pull.bind(ANY_PORT);
    const waiting = pull.receive();
    // Timers fire in the order in which they are due: one that is due at once has fired before this one.
    await Bun.sleep(20);
    push.connect(pull.lastEndpoint);
    await push.send("came");
    expect(text(await waiting)).toEqual(["came"]);
  });

  test("the size of a batch is checked", async () => {
    using pull = new Pull();
    for (const size of [0, -1, 1.5, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(await codeOf(() => pull.receiveBatch(size))).toBe("EINVAL");
      expect(await codeOf(() => pull.tryReceiveBatch(size))).toBe("EINVAL");
    }
  });

  test("PUB never waits", async () => {
    using publisher = new Publisher({ sendHighWaterMark: 1 });
    await publisher.bind(ANY_PORT);
    for (let i = 0; i < 2_000; i++) await publisher.send("into the void");
  });
});

describe("options", () => {
  test("bad values and unknown names are refused by name, and leave no socket behind", async () => {
    expect(await codeOf(() => new Push({ linger: 1.5 }))).toBe("EINVAL");
    expect(await codeOf(() => new Push({ sendHighWaterMark: -5 }))).toBe("EINVAL");
    expect(await codeOf(() => new Router({ routingId: "" }))).toBe("EINVAL");
    expect(await codeOf(() => new Push({ nonsense: 1 } as never))).toBe("EINVAL");
    expect(() => new Push({ linger: "soon" as never })).toThrow("linger");
    expect(() => new Push({ sendTimeout: Number.NaN })).toThrow("sendTimeout");
    expect(() => new Pull({ receiveTimeout: -2 })).toThrow("receiveTimeout");
  });

  test("a secret key is not shown in the error about it", () => {
    const secret = "x".repeat(39);
    expect(() => new Push({ curveSecretKey: secret })).toThrow(/curveSecretKey/);
    try {
      new Push({ curveSecretKey: secret }).close();
    } catch (error) {
      expect(String(error)).not.toContain(secret);
    }
  });

  test("every documented option is accepted", () => {
    using socket = new Router({
      sendHighWaterMark: 5,
      receiveHighWaterMark: 0,
      linger: 0,
      reconnectInterval: 10,
      reconnectMaxInterval: 100,
      connectTimeout: 100,
      handshakeInterval: 100,
      heartbeatInterval: 100,
      heartbeatTimeout: 100,
      heartbeatTimeToLive: 100,
      maxMessageSize: 1 << 24,
      immediate: true,
      ipv6: true,
      backlog: 10,
      sendBufferSize: 65_536,
      receiveBufferSize: 65_536,
      tcpKeepalive: 1,
      tcpKeepaliveCount: 3,
      tcpKeepaliveIdle: 60,
      tcpKeepaliveInterval: 10,
      tcpMaxRetransmitTimeout: 1000,
      zapDomain: "cdktr",
      routingId: "router",
      mandatory: true,
      handover: true,
    });
    expect(socket.linger).toBe(0);
    socket.linger = 5;
    expect(socket.linger).toBe(5);
  });

  test("conflate keeps the last message only", async () => {
    using pull = new Pull({ conflate: true });
    using push = new Push();
    await pull.bind(ANY_PORT);
    push.connect(pull.lastEndpoint);
    for (let i = 0; i <= 1_000; i++) await push.send(String(i));
    let count = 0;
    await until(() => {
      const message = pull.tryReceive();
      if (message !== undefined) count++;
      // libzmq can hold the last one back until another comes.
      else push.trySend("1000");
      return String(message?.[0]) === "1000";
    });
    expect(count).toBeLessThan(1_001);
  });

  test("a peer that sends more than maxMessageSize is dropped, others are served", async () => {
    using pull = new Pull({ maxMessageSize: 1_000 });
    await pull.bind(ANY_PORT);
    const events = pull.events[Symbol.asyncIterator]();
    using push = new Push({ reconnectInterval: -1 });
    push.connect(pull.lastEndpoint);
    await push.send(Buffer.alloc(1_000, "a"));
    expect((await pull.receive())[0].length).toBe(1_000);
    await push.send(Buffer.alloc(1_001, "b"));
    for await (const event of events) if (event.type === "disconnected") break;
    using other = new Push();
    other.connect(pull.lastEndpoint);
    await other.send("small");
    expect(text(await pull.receive())).toEqual(["small"]);
  });
});
