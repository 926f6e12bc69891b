import { expect, test } from "bun:test";
import { descriptorLimit } from "../../src/host/connections.ts";
import { HttpDoor, type HttpDoorOptions } from "../../src/host/http-door.ts";
import { LogBook } from "../principal/support.ts";

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

  /** Connects; the promise resolves when the server has closed the connection. */
  async hold(
    first = "",
  ): Promise<{ closed: Promise<void>; write: (text: string) => void; isClosed: () => boolean }> {
    const { promise: closed, resolve } = Promise.withResolvers<void>();
    let isClosed = false;
    const end = () => {
      isClosed = true;
      resolve();
    };
    const socket = await Bun.connect({
      hostname: "127.0.0.1",
      port: this.door.port,
      socket: { data() {}, close: end, error: end, end },
    });
    socket.write(first);
    return { closed, write: (text) => void socket.write(text), isClosed: () => isClosed };
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

test("of too many connections the oldest are ended; a request still gets its answer", async () => {
  await using open = new OpenDoor({ deadlineMs: 60_000 });
  const held = [];
  for (let n = 0; n < 20; n++) held.push(await open.hold("GET / HT"));
  await open.book.waitFor(/More than 8 HTTP connections .*the oldest are closed/);
  await Promise.any(held.map(({ closed }) => closed));
  expect(await (await fetch(open.url)).text()).toBe("0 bytes");
  expect(descriptorLimit()).toBeGreaterThan(100);
});
