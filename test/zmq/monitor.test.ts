import { describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  curveKeyPair,
  Dealer,
  Pull,
  Push,
  Reply,
  type SocketEvent,
  type SocketEvents,
} from "../../src/zmq/index.ts";
import { startProgram } from "./program.ts";
import { ANY_PORT, codeOf } from "./support.ts";

setDefaultTimeout(60_000);

/** Waits for the next event of a type. */
async function next(events: AsyncIterator<SocketEvent>, type: string): Promise<SocketEvent> {
  for (;;) {
    const { value, done } = await events.next();
    if (done) throw new Error(`the events ended before ${type}`);
    if (value.type === type) return value;
  }
}

const iterate = (events: SocketEvents) => events[Symbol.asyncIterator]();

describe("events of a socket", () => {
  test("both ends see a connection come, its handshake, its loss, and the attempts to get it back", async () => {
    const server = new Reply();
    const serverEvents = iterate(server.events);
    using client = new Dealer({ reconnectInterval: 5, linger: 0 });
    const clientEvents = iterate(client.events);
    await server.bind(ANY_PORT);
    const endpoint = server.lastEndpoint;
    expect((await next(serverEvents, "listening")).address).toBe(endpoint);
    client.connect(endpoint);
    expect((await next(clientEvents, "connected")).address).toBe(endpoint);
    expect((await next(serverEvents, "accepted")).address).toBe(endpoint);
    await next(clientEvents, "handshake");
    await next(serverEvents, "handshake");
    server.close();
    await next(clientEvents, "disconnected");
    expect((await next(clientEvents, "connectRetried")).interval).toBeGreaterThan(0);
    using again = new Reply();
    await again.bind(endpoint);
    await next(clientEvents, "handshake");
  });

  test("a bind that fails is an event too", async () => {
    using first = new Reply();
    await first.bind(ANY_PORT);
    using second = new Reply();
    const events = iterate(second.events);
    expect(await codeOf(() => second.bind(first.lastEndpoint))).toBe("EADDRINUSE");
    const event = await next(events, "bindError");
    expect(event.error?.code).toBe("EADDRINUSE");
    expect(first.lastEndpoint).toEndWith(event.address);
  });

  test("the reason why a bind fails is not lost to the monitor", async () => {
    using first = new Reply();
    await first.bind(ANY_PORT);
    using second = new Reply();
    second.events.on("bindError", () => {});
    const codes = new Set<string>();
    for (let n = 0; n < 400; n++) {
      codes.add(await codeOf(() => second.bind(first.lastEndpoint)));
      // libzmq looks into its mailbox once a millisecond at most.
      await Bun.sleep(2);
    }
    expect([...codes]).toEqual(["EADDRINUSE"]);
  });

  test("a client without the key, and one with the wrong key, are told apart from one that gets in", async () => {
    const keys = curveKeyPair();
    using server = new Pull({ curveServer: true, curveSecretKey: keys.secretKey });
    await server.bind(ANY_PORT);
    const events = iterate(server.events);
    const own = curveKeyPair();
    const client = {
      curvePublicKey: own.publicKey,
      curveSecretKey: own.secretKey,
      reconnectInterval: -1,
      linger: 0,
    };

    using plain = new Push({ reconnectInterval: -1, linger: 0 });
    plain.connect(server.lastEndpoint);
    expect((await next(events, "handshakeFailed")).error?.message).toContain("shake hands");

    using wrong = new Push({ ...client, curveServerKey: curveKeyPair().publicKey });
    wrong.connect(server.lastEndpoint);
    expect((await next(events, "handshakeFailed")).error?.code).toBe("EPROTO");

    using right = new Push({ ...client, curveServerKey: keys.publicKey });
    right.connect(server.lastEndpoint);
    await next(events, "handshake");
    await right.send("secret");
    expect(String((await server.receive())[0])).toBe("secret");
  });

  test("iterators end when the socket is closed, every iterator gets every event, listeners too", async () => {
    const server = new Reply();
    const lists = [0, 1].map(async () => {
      const types: string[] = [];
      for await (const event of server.events) types.push(event.type);
      return types;
    });
    const heard: string[] = [];
    const twice = new Promise<void>((resolve) => {
      server.events.on("listening", function listener(event) {
        if (heard.push(event.type) < 2) return;
        server.events.off("listening", listener);
        resolve();
      });
    });
    await server.bind(ANY_PORT);
    await server.bind(ANY_PORT);
    await twice;
    await server.bind(ANY_PORT);
    server.close();
    for (const types of await Promise.all(lists)) {
      expect(types.filter((type) => type === "listening").length).toBe(3);
    }
    expect(heard).toEqual(["listening", "listening"]);
    for await (const _ of server.events) throw new Error("an event after the end");
  });

  test("an iterator that was left does not hold others up", async () => {
    using server = new Reply();
    const left = iterate(server.events);
    const stays = iterate(server.events);
    await left.return?.();
    expect((await left.next()).done).toBe(true);
    await server.bind(ANY_PORT);
    await next(stays, "listening");
  });

  test("thousands of events that nobody can read yet block nothing", async () => {
    using program = startProgram(`
      const server = new zmq.Pull();
      let heard = 0;
      const all = Promise.withResolvers();
      server.events.on("listening", () => { if (++heard === 3000) all.resolve(); });
      // All in one turn: no event can be read meanwhile.
      for (let i = 0; i < 3000; i++) {
        void server.bind("tcp://127.0.0.1:*");
        void server.unbind(server.lastEndpoint);
      }
      await all.promise;
      console.log("all heard");
      server.close();
    `);
    expect(await program.line()).toBe("all heard");
    expect(await program.end()).toEqual({ status: 0, stderr: "" });
  });
});
