import { afterEach, describe, expect, test } from "bun:test";
import { freePorts } from "../../scripts/support/ports.ts";
import { encodeReply, type ReplyKind } from "../../src/contract/wire.ts";
import { PrincipalUnreachableError } from "../../src/errors.ts";
import {
  PrincipalClient,
  PrincipalFailedError,
  RequestRefusedError,
  RequestUnprocessableError,
} from "../../src/protocol/client.ts";
import { Router } from "../../src/zmq/index.ts";

type Handler = (text: string, reply: (kind: ReplyKind, payload?: string) => void) => void;

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});

/** The other end: a ROUTER that echoes the envelope, as a principal does. */
async function listen(
  handler: Handler,
  endpoint = "tcp://127.0.0.1:*",
): Promise<{ port: number; close: () => void }> {
  const router = new Router({ linger: 0 });
  await router.bind(endpoint);
  const port = Number(router.lastEndpoint.split(":").at(-1));
  void (async () => {
    for await (const parts of router) {
      const envelope = parts.slice(0, -1);
      const frame = parts.at(-1);
      if (frame === undefined) continue;
      handler(Buffer.from(frame).toString(), (kind, payload) => {
        if (!router.closed) router.trySend([...envelope, encodeReply(kind, payload)]);
      });
    }
  })();
  const close = () => router.close();
  closers.push(close);
  return { port, close };
}

function connect(port: number, options: { timeoutMs?: number; attempts?: number } = {}): PrincipalClient {
  const client = new PrincipalClient({ host: "127.0.0.1", port, timeoutMs: 5000, ...options });
  closers.push(() => client.close());
  return client;
}

describe("PrincipalClient", () => {
  test("matches replies to requests whatever their order", async () => {
    const held: (() => void)[] = [];
    const { port } = await listen((text, reply) => {
      held.push(() => reply("OK", JSON.stringify({ workflow_instance_id: text.split("\x01")[1] })));
      if (held.length === 20) for (const answer of held.reverse()) answer();
    });
    const client = connect(port);
    const ids = Array.from({ length: 20 }, (_, i) => `w${i}`);
    const replies = await Promise.all(ids.map((id) => client.runTask(id, { dedupe_key: id })));
    expect(replies.map((reply) => reply.workflow_instance_id)).toEqual(ids);
  });

  test("error replies become typed errors with the text of the principal", async () => {
    const { port } = await listen((text, reply) => {
      const [, kind] = text.split("\x01");
      reply(kind as ReplyKind, "because");
    });
    const client = connect(port);
    await expect(client.request("RUNTASK", ["CLIENTERROR"])).rejects.toThrow(RequestRefusedError);
    await expect(client.request("RUNTASK", ["UNPROC"])).rejects.toThrow(RequestUnprocessableError);
    await expect(client.request("RUNTASK", ["SERVERERROR"])).rejects.toThrow(PrincipalFailedError);
    await expect(client.request("RUNTASK", ["CLIENTERROR"])).rejects.toThrow("because");
  });

  test("no principal: unreachable after all attempts, with the address in the message", async () => {
    const { port, close } = await listen(() => {});
    close();
    const client = connect(port, { timeoutMs: 40, attempts: 2 });
    const failure = client.ping();
    await expect(failure).rejects.toThrow(PrincipalUnreachableError);
    await expect(failure).rejects.toThrow(`127.0.0.1:${port} within 0.08 s`);
  });

  test("a principal that returns is found, and gets no expired request", async () => {
    const [port = 0] = await freePorts(1);
    const first = await listen((_, reply) => reply("PONG"), `tcp://127.0.0.1:${port}`);
    const client = connect(port);
    await client.ping();
    first.close();
    for (let i = 0; i < 5; i++) {
      await expect(client.request("RUNTASK", [`stale${i}`], { timeoutMs: 20 })).rejects.toThrow(
        PrincipalUnreachableError,
      );
    }
    const seen: string[] = [];
    await listen((text, reply) => {
      seen.push(text);
      reply("PONG");
    }, `tcp://127.0.0.1:${port}`);
    await client.ping({ attempts: 100, timeoutMs: 200 });
    expect(seen.filter((text) => text.includes("stale"))).toEqual([]);
  });

  test("a late reply to the first attempt answers the request", async () => {
    let first: (() => void) | undefined;
    const { port } = await listen((_, reply) => {
      if (first === undefined) first = () => reply("OK", "first");
      else first();
    });
    const client = connect(port);
    const reply = await client.request("RUNTASK", ["w"], { timeoutMs: 100, attempts: 50 });
    expect(reply).toEqual({ kind: "OK", payload: "first" });
  });

  test("abort and close give requests up", async () => {
    const { port } = await listen(() => {});
    const client = connect(port);
    const aborter = new AbortController();
    const aborted = client.request("PING", [], { signal: aborter.signal });
    aborter.abort(new Error("enough"));
    await expect(aborted).rejects.toThrow("enough");
    const waiting = client.ping();
    await client.close();
    await expect(waiting).rejects.toThrow("closed");
    await expect(client.ping()).rejects.toThrow("closed");
  });

  test("a peer that is not a principal is recognized", async () => {
    const { port } = await listen((_, reply) => reply("HELLO" as ReplyKind));
    await expect(connect(port).ping()).rejects.toThrow("it is not a principal");
  });
});
