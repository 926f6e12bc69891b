import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { authenticate, curveKeyPair, Dealer, Pull, Push, Router } from "../../src/zmq/index.ts";
import { ANY_PORT } from "./support.ts";

setDefaultTimeout(60_000);

describe("authentication", () => {
  test("messages say who sent them, strangers are refused, and each domain decides for itself", async () => {
    const server = curveKeyPair();
    const friend = curveKeyPair();
    const stranger = curveKeyPair();
    const asked: string[] = [];
    const endFirst = await authenticate("first", ({ publicKey, address }) => {
      asked.push(address);
      return publicKey === friend.publicKey ? `known ${publicKey}` : undefined;
    });
    const endSecond = await authenticate("second", () => {
      throw new Error("cannot decide");
    });
    const curveServer = { curveServer: true, curveSecretKey: server.secretKey };
    using router = new Router({ ...curveServer, zapDomain: "first" });
    using closed = new Pull({ ...curveServer, zapDomain: "second" });
    using unknown = new Pull({ ...curveServer, zapDomain: "third" });
    for (const socket of [router, closed, unknown]) await socket.bind(ANY_PORT);
    const keysOf = (pair: { publicKey: string; secretKey: string }) => ({
      curveServerKey: server.publicKey,
      curvePublicKey: pair.publicKey,
      curveSecretKey: pair.secretKey,
      linger: 0,
    });

    using admitted = new Dealer(keysOf(friend));
    admitted.connect(router.lastEndpoint);
    await admitted.send(["", "hello"]);
    const message = await router.receive();
    expect(message.userId).toBe(`known ${friend.publicKey}`);
    expect(asked).toEqual(["127.0.0.1"]);

    const refusals = [
      [stranger, router],
      [friend, closed],
      [friend, unknown],
    ] as const;
    for (const [pair, socket] of refusals) {
      using refused = socket === router ? new Dealer(keysOf(pair)) : new Push(keysOf(pair));
      const failed = new Promise<string | undefined>((resolve) =>
        refused.events.on("handshakeFailed", ({ error }) => resolve(error?.code)),
      );
      refused.connect(socket.lastEndpoint);
      expect(await failed).toBe("EACCES");
    }

    endFirst();
    endSecond();
    // The handler has gone, and can come again.
    (await authenticate("first", () => undefined))();
  });

  test("on sockets without CURVE no message has a sender", async () => {
    using pull = new Pull();
    await pull.bind(ANY_PORT);
    using push = new Push();
    push.connect(pull.lastEndpoint);
    await push.send("x");
    expect((await pull.receive()).userId).toBeUndefined();
  });
});
