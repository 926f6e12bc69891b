import { expect, test } from "bun:test";
import { endConnections } from "../../src/host/connections.ts";
import { HttpDoor, type HttpDoorOptions } from "../../src/host/http-door.ts";
import { LogBook } from "../principal/support.ts";

interface Held {
  readonly closed: Promise<string>;
  write(text: string): void;
  /** Sends nothing more. */
  finish(): void;
  isClosed(): boolean;
}

/** A server for a test. */
class OpenDoor implements AsyncDisposable {
  readonly book = new LogBook();
  readonly door: HttpDoor;

  constructor(options: Partial<HttpDoorOptions>) {
    this.door = new HttpDoor({
      hostname: "127.0.0.1",
      port: 0,
      mostConnections: 8,
      log: this.book.log,
      fetch: async (request) => new Response(`${(await request.arrayBuffer()).byteLength} bytes`),
      ...options,
    });
  }

  get url(): string {
    return `http://127.0.0.1:${this.door.port}/`;
  }

  /** Connects; the promise resolves, with what came, when the server has closed the connection. */
  async hold(first = ""): Promise<Held> {
    const { promise: closed, resolve } = Promise.withResolvers<string>();
    let text = "";
    let isClosed = false;
    const end = () => {
      isClosed = true;
      resolve(text);
    };
    const socket = await Bun.connect({
      hostname: "127.0.0.1",
      port: this.door.port,
      allowHalfOpen: true,
      socket: {
        data: (_, bytes) => {
          text += bytes.toString("latin1");
        },
        close: end,
        error: end,
        end: (ended) => {
          ended.end();
          end();
        },
      },
    });
    socket.write(first);
    return {
      closed,
      write: (more) => void socket.write(more),
      finish: () => socket.shutdown(),
      isClosed: () => isClosed,
    };
  }

  /** Connections that the server holds. */
  get accepted(): number {
    let count = 0;
    endConnections(new Set([this.door.port]), () => {
      count++;
      return false;
    });
    return count;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.door.stop();
  }
}

test("a request that is sent too slowly is ended, whether in its head or in its body; others are answered", async () => {
  await using open = new OpenDoor({ deadlineMs: 400 });
  const slow = [
    await open.hold("POST / HTTP/1.1\r\nHost: x\r\nX-A: "),
    await open.hold("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n"),
  ];
  const dripping = setInterval(() => {
    for (const one of slow) one.write("a");
  }, 20);
  const answer = await fetch(open.url, { method: "POST", body: "four" });
  expect([await answer.text(), answer.headers.get("connection")]).toEqual(["4 bytes", "close"]);
  await Promise.all(slow.map(({ closed }) => closed));
  clearInterval(dripping);
});

test("a flood gets no more connections than there may be, and a request its answer, at every moment", async () => {
  await using open = new OpenDoor({ deadlineMs: 60_000 });
  const held: Held[] = [];
  for (let round = 0; round < 10; round++) {
    held.push(...(await Promise.all(Array.from({ length: 30 }, () => open.hold("GET / HT")))));
    expect(await (await fetch(open.url)).text()).toBe("0 bytes");
    // The server has accepted all those that came before this request.
    expect(open.accepted).toBeLessThanOrEqual(8);
  }
  expect(open.book.count(/More than 8 HTTP connections .*the oldest are closed/)).toBe(1);
  // The oldest went first.
  expect(held.slice(0, 250).every((one) => one.isClosed())).toBe(true);
});

test("connections whose bodies never come make room, although their requests are being handled", async () => {
  await using open = new OpenDoor({ deadlineMs: 60_000 });
  const started = "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n";
  const held = await Promise.all(Array.from({ length: 8 }, () => open.hold(started)));
  const answer = await fetch(open.url, { method: "POST", body: "four" });
  expect(await answer.text()).toBe("4 bytes");
  expect(held.filter((one) => one.isClosed())).toHaveLength(1);
});

test("a request that is being answered is not ended for another connection", async () => {
  const gate = Promise.withResolvers<void>();
  let asked = 0;
  await using open = new OpenDoor({
    deadlineMs: 60_000,
    fetch: async () => {
      asked++;
      await gate.promise;
      return new Response("done");
    },
  });
  const waiting = Array.from({ length: 8 }, () => fetch(open.url));
  while (asked < 8) await new Promise((turn) => setImmediate(turn));
  const refused = await open.hold("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  expect(await refused.closed).toBe("");
  gate.resolve();
  for (const answer of await Promise.all(waiting)) expect(await answer.text()).toBe("done");
  expect(asked).toBe(8);
});

test("a client that closes its side after the request, and one that waits to be told to go on, get their answers", async () => {
  await using open = new OpenDoor({});
  const one = await open.hold("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nfour");
  one.finish();
  expect(await one.closed).toMatch(/^HTTP\/1\.1 200 OK\r\n.*\r\n\r\n4 bytes$/s);
  const head = "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n";
  const other = await open.hold(head);
  other.write("ab");
  expect(await other.closed).toMatch(/^HTTP\/1\.1 100 Continue\r\n\r\nHTTP\/1\.1 200 OK\r\n.*2 bytes$/s);
  const gone = await open.hold("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nfo");
  gone.finish();
  expect(await gone.closed).toBe("");
});

test("an answer before the end of the body arrives, and so does a large one at a slow reader", async () => {
  await using refusing = new OpenDoor({ fetch: async () => new Response("no", { status: 401 }) });
  const early = await fetch(refusing.url, { method: "POST", body: "x".repeat(900_000) });
  expect([early.status, await early.text()]).toEqual([401, "no"]);
  await using large = new OpenDoor({ fetch: async () => new Response("y".repeat(20_000_000)) });
  const answer = await fetch(large.url);
  let size = 0;
  for await (const piece of answer.body ?? []) size += piece.length;
  expect(size).toBe(20_000_000);
});

test("a handler that fails is answered for, and a body that is too long is refused while it is read", async () => {
  await using open = new OpenDoor({
    fetch: async () => {
      throw new Error("broken");
    },
    error: (error) => new Response(error.message, { status: 500 }),
  });
  const broken = await fetch(open.url);
  expect([broken.status, await broken.text()]).toEqual([500, "broken"]);
  await using small = new OpenDoor({ maxRequestBodySize: 10 });
  const chunked = await small.hold("POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n");
  chunked.write("8\r\n12345678\r\n3\r\n");
  expect(await chunked.closed).toMatch(/^HTTP\/1\.1 413 .*longer than 10 bytes/s);
});

test("a door that stops lets requests in progress finish, and no other", async () => {
  const gate = Promise.withResolvers<void>();
  const asked = Promise.withResolvers<void>();
  const open = new OpenDoor({
    fetch: async () => {
      asked.resolve();
      await gate.promise;
      return new Response("done");
    },
  });
  const idle = await open.hold("GET /");
  const answer = fetch(open.url);
  await asked.promise;
  const stopped = open.door.stop(60_000);
  expect(await idle.closed).toBe("");
  gate.resolve();
  expect(await (await answer).text()).toBe("done");
  await stopped;
  expect(await fetch(open.url).catch(() => "refused")).toBe("refused");
});
