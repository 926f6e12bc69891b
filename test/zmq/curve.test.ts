import { describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  curveKeyPair,
  curvePublicKey,
  Dealer,
  has,
  isCurveKey,
  Reply,
  Request,
  Router,
  version,
} from "../../src/zmq/index.ts";
import { ANY_PORT, codeOf, text } from "./support.ts";

setDefaultTimeout(60_000);

describe("CURVE", () => {
  test("the library has it", () => {
    expect(has("curve")).toBe(true);
    expect(has("norm")).toBe(false);
    expect(version()).toMatch(/^4\.3\.\d+$/);
  });

  test("key pairs are random, well-formed, and the public key follows from the secret one", async () => {
    const pairs = Array.from({ length: 20 }, curveKeyPair);
    expect(new Set(pairs.map((pair) => pair.secretKey)).size).toBe(20);
    for (const { publicKey, secretKey } of pairs) {
      expect(isCurveKey(publicKey) && isCurveKey(secretKey)).toBe(true);
      expect(curvePublicKey(secretKey)).toBe(publicKey);
    }
    expect(await codeOf(() => curvePublicKey("short"))).toBe("EINVAL");
    expect(isCurveKey("not a key, but of forty characters, yes.")).toBe(false);
  });

  test("keys as text and as 32 bytes are the same; traffic goes both ways", async () => {
    const server = curveKeyPair();
    const client = curveKeyPair();
    using reply = new Reply({ curveServer: true, curveSecretKey: server.secretKey });
    using request = new Request({
      curveServerKey: server.publicKey,
      curvePublicKey: client.publicKey,
      curveSecretKey: z85decode(client.secretKey),
    });
    await reply.bind(ANY_PORT);
    request.connect(reply.lastEndpoint);
    await request.send("hello");
    expect(text(await reply.receive())).toEqual(["hello"]);
    await reply.send(Buffer.alloc(1_000_000, 7));
    expect((await request.receive())[0].every((byte) => byte === 7)).toBe(true);
  });

  test("a ZAP handler in this process decides who gets in", async () => {
    const server = curveKeyPair();
    const friend = curveKeyPair();
    const stranger = curveKeyPair();
    using zap = new Router();
    await zap.bind("inproc://zeromq.zap.01");
    (async () => {
      for await (const message of zap) {
        const [, , , , domain, , , mechanism, key] = message;
        const known = String(mechanism) === "CURVE" && key?.equals(z85decode(friend.publicKey));
        const allowed = known && String(domain) === "cdktr";
        await zap.send([...message.slice(0, 4), allowed ? "200" : "400", "", "", ""]);
      }
    })();
    using router = new Router({ curveServer: true, curveSecretKey: server.secretKey, zapDomain: "cdktr" });
    await router.bind(ANY_PORT);
    const connect = (keys: { publicKey: string; secretKey: string }) => {
      const dealer = new Dealer({
        curveServerKey: server.publicKey,
        curvePublicKey: keys.publicKey,
        curveSecretKey: keys.secretKey,
        linger: 0,
      });
      const events = dealer.events[Symbol.asyncIterator]();
      dealer.connect(router.lastEndpoint);
      return { dealer, events };
    };
    const refused = connect(stranger);
    const admitted = connect(friend);
    await admitted.dealer.send("it is me");
    expect(text((await router.receive()).slice(1))).toEqual(["it is me"]);
    for await (const event of refused.events) {
      if (event.type !== "handshakeFailed") continue;
      expect(event.error?.code).toBe("EACCES");
      break;
    }
    refused.dealer.close();
    admitted.dealer.close();
  });
});

function z85decode(text: string): Buffer {
  const alphabet = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";
  const bytes = Buffer.alloc((text.length / 5) * 4);
  for (let i = 0; i < text.length; i += 5) {
    let value = 0;
    for (const character of text.slice(i, i + 5)) value = value * 85 + alphabet.indexOf(character);
    bytes.writeUInt32BE(value, (i / 5) * 4);
  }
  return bytes;
}
