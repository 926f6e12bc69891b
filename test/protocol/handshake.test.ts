import { afterEach, expect, test } from "bun:test";
import { type AddressInfo, connect, createServer } from "node:net";
import { encodeReply } from "../../src/contract/wire.ts";
import { AccessRefusedError, PrincipalClient } from "../../src/protocol/client.ts";
import { curveKeyPair, Router } from "../../src/zmq/index.ts";

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

/** A principal with keys, behind a network that can break connections off while they shake hands. */
async function start() {
  const keys = curveKeyPair();
  const router = new Router({ linger: 0, curveServer: true, curveSecretKey: keys.secretKey });
  await router.bind("tcp://127.0.0.1:*");
  const port = Number(router.lastEndpoint.split(":").at(-1));
  void (async () => {
    for await (const parts of router) router.trySend([...parts.slice(0, -1), encodeReply("PONG")]);
  })();
  let broken = 0;
  let toBreak = 0;
  const ends = new Set<() => void>();
  const network = createServer((client) => {
    const server = connect(port, "127.0.0.1");
    const end = () => {
      client.destroy();
      server.destroy();
      ends.delete(end);
    };
    ends.add(end);
    for (const socket of [client, server]) socket.on("error", end).on("close", end);
    server.pipe(client);
    if (toBreak > broken)
      client.once("data", () => {
        broken++;
        end();
      });
    else client.pipe(server);
  });
  await new Promise<void>((ready) => network.listen(0, "127.0.0.1", ready));
  const client = new PrincipalClient({
    host: "127.0.0.1",
    port: (network.address() as AddressInfo).port,
    timeoutMs: 20_000,
    curve: { ...curveKeyPair(), serverKey: keys.publicKey, name: "own" },
  });
  closers.push(
    () => router.close(),
    () => network.close(),
    () => {
      for (const end of ends) end();
    },
    () => client.close(),
  );
  return {
    client,
    /** From now on connections are broken off, the next so many of them after their first bytes. */
    breakOff: (count: number) => {
      toBreak = broken + count;
      for (const end of ends) end();
    },
    broken: () => broken,
  };
}

test("a client whose handshakes are broken off for a while, as when keys are revoked, does not suspect another principal", async () => {
  const { client, breakOff, broken } = await start();
  await client.ping();
  breakOff(3);
  // The first request may be lost with the old connection.
  await client.ping({ timeoutMs: 500, attempts: 100 });
  expect(broken()).toBe(3);
});

test("one that never got through says what it knows, and what the cause probably is", async () => {
  const { client, breakOff } = await start();
  breakOff(1000);
  const refused = await client.ping().catch((error: unknown) => error);
  expect(refused).toBeInstanceOf(AccessRefusedError);
  expect(String(refused)).toMatch(
    /breaks off every handshake with the key own: probably it is not the principal that/,
  );
});
