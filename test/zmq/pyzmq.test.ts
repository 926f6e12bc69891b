import { beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { join } from "node:path";
import {
  curveKeyPair,
  Dealer,
  type Message,
  Publisher,
  Pull,
  Push,
  Reply,
  Request,
  Router,
  Subscriber,
} from "../../src/zmq/index.ts";
import { PYZMQ, pythonWith } from "../support/python.ts";
import { type Program, start } from "./program.ts";
import { ANY_PORT, codeOf, take, text, until } from "./support.ts";

setDefaultTimeout(120_000);

const PEER = join(import.meta.dir, "peer.py");
let python: string;

beforeAll(async () => {
  python = await pythonWith([PYZMQ]);
}, 300_000);

function peer(role: string, endpoint: string, ...rest: (string | number)[]): Program {
  return start([python, PEER, role, endpoint, ...rest.map(String)]);
}

const SUCCESS = { status: 0, stderr: "" };

describe("pyzmq at the other end", () => {
  test("our REQ asks its REP", async () => {
    using program = peer("reply", "bind");
    using request = new Request();
    request.connect(await program.line());
    for (let i = 0; i < 200; i++) {
      await request.send(["a", `${i}`]);
      expect(text(await request.receive())).toEqual([`${i}`, "a"]);
    }
  });

  test("our REP answers its REQ", async () => {
    using reply = new Reply();
    await reply.bind(ANY_PORT);
    using program = peer("request", reply.lastEndpoint, 50);
    for (let i = 0; i < 50; i++) {
      expect(text(await reply.receive())).toEqual(["question", `${i}`]);
      await reply.send(["answer", `${i}`]);
      expect(await program.line()).toBe(`answer ${i}`);
    }
    expect(await program.end()).toEqual(SUCCESS);
  });

  test("our ROUTER answers its REQs late and out of order", async () => {
    using router = new Router();
    await router.bind(ANY_PORT);
    const programs = [1, 2, 3].map(() => peer("request", router.lastEndpoint, 1));
    const waiting: Message[] = [];
    for await (const message of router) if (waiting.push(message) === programs.length) break;
    for (const message of waiting.reverse()) {
      expect(text(message.slice(1))).toEqual(["", "question", "0"]);
      await router.send([...message.slice(0, 2), "late", "answer"]);
    }
    for (const program of programs) {
      expect(await program.line()).toBe("late answer");
      expect(await program.end()).toEqual(SUCCESS);
    }
  });

  test("our DEALER speaks with its ROUTER", async () => {
    using program = peer("router", "bind");
    using dealer = new Dealer({ routingId: "bun-dealer" });
    dealer.connect(await program.line());
    for (let i = 0; i < 100; i++) await dealer.send([`${i}`, ""]);
    for (let i = 0; i < 100; i++) {
      for (const copy of ["1", "2", "3"]) {
        expect(text(await dealer.receive())).toEqual([copy, "bun-dealer", `${i}`, ""]);
      }
    }
  });

  test("our ROUTER speaks with its DEALER", async () => {
    using router = new Router({ mandatory: true });
    await router.bind(ANY_PORT);
    using program = peer("dealer", router.lastEndpoint, 100);
    for (let i = 0; i < 100; i++) {
      const message = await router.receive();
      const [id, empty, body] = take(message, 3);
      expect(text(message)).toEqual(["python-dealer", "", `from python-dealer ${i}`]);
      await router.send([id, empty, `to ${body}`]);
    }
    for (let i = 0; i < 100; i++) expect(await program.line()).toBe(`to from python-dealer ${i}`);
    expect(await program.end()).toEqual(SUCCESS);
  });

  for (const binds of ["ours", "theirs"]) {
    test(`our PUSH feeds its PULL, ${binds} bound`, async () => {
      using push = new Push();
      if (binds === "ours") await push.bind(ANY_PORT);
      using program = peer("pull", binds === "ours" ? push.lastEndpoint : "bind", 5_000);
      if (binds === "theirs") push.connect(await program.line());
      for (let i = 0; i < 5_000; i++) await push.send([`${i}`, "x".repeat(i % 100)]);
      expect(await program.line()).toBe("in order");
      expect(await program.end()).toEqual(SUCCESS);
    });

    test(`our PULL is fed by its PUSH, ${binds} bound`, async () => {
      using pull = new Pull();
      if (binds === "ours") await pull.bind(ANY_PORT);
      using program = peer("push", binds === "ours" ? pull.lastEndpoint : "bind", 5_000);
      if (binds === "theirs") pull.connect(await program.line());
      let expected = 0;
      for await (const parts of pull) {
        expect(text(parts)).toEqual([`${expected}`, "x".repeat(expected % 100)]);
        if (++expected === 5_000) break;
      }
      program.write("thanks");
      expect(await program.end()).toEqual(SUCCESS);
    });
  }

  test("our PUB reaches its SUB, which filters by prefix", async () => {
    using publisher = new Publisher();
    const accepted = publisher.events[Symbol.asyncIterator]();
    await publisher.bind(ANY_PORT);
    using program = peer("sub", publisher.lastEndpoint, "etl.daily\x01", "probe", "end");
    for await (const event of accepted) if (event.type === "handshake") break;
    let subscribed = false;
    const probed = program.line().then(() => {
      subscribed = true;
    });
    await until(() => {
      publisher.trySend("probe");
      return subscribed;
    });
    await probed;
    await publisher.send(["etl.daily\x01one", "two"]);
    await publisher.send("etl.daily2\x01not this");
    await publisher.send("other");
    await publisher.send("end");
    let line = await program.line();
    while (line === "probe") line = await program.line();
    expect(line).toBe("etl.daily\x01one two");
    expect(await program.line()).toBe("end");
    expect(await program.end()).toEqual(SUCCESS);
  });

  test("our SUB hears its PUB, filters by prefix", async () => {
    using program = peer("pub", "bind");
    using subscriber = new Subscriber();
    subscriber.subscribe("a.", "probe");
    subscriber.connect(await program.line());
    await until(() => {
      program.write("probe");
      return subscriber.tryReceive() !== undefined;
    });
    for (const line of ["a.1 part", "b.1 part", "a.2 part"]) program.write(line);
    const seen: (string[] | undefined)[] = [];
    for await (const message of subscriber) {
      if (String(message[0]) !== "probe" && seen.push(text(message)) === 2) break;
    }
    expect(seen).toEqual([
      ["a.1", "part"],
      ["a.2", "part"],
    ]);
  });

  test("16 MiB go to it and come back the same", async () => {
    using router = new Router({ maxMessageSize: 16 * 1024 * 1024 });
    await router.bind(ANY_PORT);
    using program = peer("large", router.lastEndpoint, 16 * 1024 * 1024);
    await router.send(await router.receive());
    expect(await program.line()).toBe("same");
    expect(await program.end()).toEqual(SUCCESS);
  });

  test("a peer that sends more than maxMessageSize is dropped, and the next one is served", async () => {
    using router = new Router({ maxMessageSize: 1024 * 1024 });
    await router.bind(ANY_PORT);
    const events = router.events[Symbol.asyncIterator]();
    using greedy = peer("large", router.lastEndpoint, 1024 * 1024 + 256);
    for await (const event of events) if (event.type === "disconnected") break;
    greedy.process.kill();
    await greedy.end();
    using modest = peer("large", router.lastEndpoint, 1024 * 1024);
    const message = await router.receive();
    await router.send(message);
    expect(await modest.line()).toBe("same");
  });

  test("CURVE: it gets in with the key of our server, and not without", async () => {
    const keys = curveKeyPair();
    using reply = new Reply({ curveServer: true, curveSecretKey: keys.secretKey });
    await reply.bind(ANY_PORT);
    const events = reply.events[Symbol.asyncIterator]();
    using outside = peer("request", reply.lastEndpoint, 1);
    for await (const event of events) if (event.type === "handshakeFailed") break;
    outside.process.kill();
    using inside = peer("request", reply.lastEndpoint, 1, `curve:${keys.publicKey}`);
    expect(text(await reply.receive())).toEqual(["question", "0"]);
    await reply.send("welcome");
    expect(await inside.line()).toBe("welcome");
    expect(await inside.end()).toEqual(SUCCESS);
  });

  test("killed and started again on its port, it is found again; the loss and the return are events", async () => {
    let program = peer("reply", "bind");
    const endpoint = await program.line();
    using request = new Request({
      reconnectInterval: 10,
      heartbeatInterval: 100,
      receiveTimeout: 60_000,
      relaxed: true,
      correlate: true,
    });
    const events = request.events[Symbol.asyncIterator]();
    request.connect(endpoint);
    await request.send("before");
    expect(text(await request.receive())).toEqual(["before"]);
    program.process.kill("SIGKILL");
    await program.end();
    for await (const event of events) if (event.type === "disconnected") break;
    program = start([
      python,
      "-c",
      `import zmq; s = zmq.Context().socket(zmq.REP); s.bind(${JSON.stringify(endpoint)}); s.send(s.recv())`,
    ]);
    for await (const event of events) if (event.type === "handshake") break;
    await request.send("after");
    expect(text(await request.receive())).toEqual(["after"]);
    expect(await program.end()).toEqual(SUCCESS);
  });

  test("one that stops answering is noticed by heartbeats", async () => {
    using program = peer("reply", "bind");
    using request = new Request({ heartbeatInterval: 50, heartbeatTimeout: 150, receiveTimeout: 60_000 });
    const events = request.events[Symbol.asyncIterator]();
    request.connect(await program.line());
    await request.send("hello");
    await request.receive();
    program.process.kill("SIGSTOP");
    for await (const event of events) if (event.type === "disconnected") break;
    expect(await codeOf(() => request.trySend("still usable"))).toBe("none");
  });
});
