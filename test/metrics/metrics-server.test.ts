import { afterEach, beforeEach, expect, test } from "bun:test";
import { freePorts } from "../../scripts/support/ports.ts";
import { MetricsServer, type MetricsServerOptions } from "../../src/metrics/metrics-server.ts";
import { LogBook } from "../principal/support.ts";

let port = 0;
let book: LogBook;
const servers: MetricsServer[] = [];

beforeEach(async () => {
  port = (await freePorts(1))[0] ?? 0;
  book = new LogBook();
});
afterEach(async () => {
  for (const server of servers.splice(0)) await server.stop();
});

function metrics(more: Partial<MetricsServerOptions> = {}): MetricsServer {
  const server = new MetricsServer({
    port,
    setting: "CDKTR_METRICS_PORT",
    page: async () => "up 1\n",
    health: async () => ({ listeners: 2 }),
    log: book.log,
    ...more,
  });
  servers.push(server);
  return server;
}

const get = (path: string, init?: RequestInit) => fetch(`http://127.0.0.1:${port}${path}`, init);

test("serves both pages, on loopback, and says where", async () => {
  await metrics().start();
  const page = await get("/metrics");
  expect([page.status, page.headers.get("content-type"), await page.text()]).toEqual([
    200,
    "text/plain; version=0.0.4; charset=utf-8",
    "up 1\n",
  ]);
  const health = await get("/healthz");
  expect([health.status, await health.json()]).toEqual([200, { status: "ok", listeners: 2 }]);
  const head = await get("/metrics", { method: "HEAD" });
  expect([head.status, await head.text()]).toEqual([200, ""]);
  expect(book.count(new RegExp(`http://127.0.0.1:${port} has /healthz and /metrics`))).toBe(1);
  // Another address of this host has the port free.
  const elsewhere = Bun.listen({ hostname: "127.0.0.2", port, socket: { data() {} } });
  elsewhere.stop(true);
});

test("other paths and methods are refused", async () => {
  await metrics().start();
  expect((await get("/")).status).toBe(404);
  expect((await get("/metrics/more")).status).toBe(404);
  const posted = await get("/metrics", { method: "POST", body: "x" });
  expect([posted.status, posted.headers.get("allow")]).toEqual([405, "GET, HEAD"]);
});

test("a page that cannot be created is answered with the reason, and the next one may succeed", async () => {
  let isWell = false;
  const work = async () => {
    if (!isWell) throw new Error("the history is locked");
    return "up 1\n";
  };
  await metrics({ page: work, health: async () => ({ page: await work() }) }).start();
  for (const path of ["/metrics", "/healthz"]) {
    const answer = await get(path);
    expect([answer.status, await answer.json()]).toEqual([
      503,
      { status: "failing", error: "the history is locked" },
    ]);
  }
  isWell = true;
  expect((await get("/metrics")).status).toBe(200);
  expect((await get("/healthz")).status).toBe(200);
});

test("port 0 is for none", async () => {
  const server = metrics({ port: 0 });
  let listens = false;
  server.signals.on("listening", () => {
    listens = true;
  });
  await server.start();
  expect([listens, book.lines]).toEqual([false, []]);
});

test("a port in use is reported, and bound when it is free", async () => {
  const other = Bun.serve({ hostname: "127.0.0.1", port, fetch: () => new Response("other") });
  const server = metrics({ retryMs: 1 });
  const listening = new Promise<void>((resolve) => server.signals.on("listening", resolve));
  await server.start();
  expect(book.count(/another program has the port.*needs a different CDKTR_METRICS_PORT/)).toBe(1);
  expect(await (await get("/metrics")).text()).toBe("other");
  await other.stop(true);
  await listening;
  expect(await (await get("/metrics")).text()).toBe("up 1\n");
  await book.waitFor(/has \/healthz and \/metrics now/);
});

test("a stopped one releases the port and does not bind it again", async () => {
  const first = metrics();
  await first.start();
  await first.stop();
  await using other = Bun.serve({ hostname: "127.0.0.1", port, fetch: () => new Response("other") });
  const waiting = metrics({ retryMs: 1 });
  await waiting.start();
  await waiting.stop();
  await other.stop(true);
  // A third one has it at once: neither of the two holds it or takes it.
  const third = metrics();
  await third.start();
  expect(await (await get("/metrics")).text()).toBe("up 1\n");
  expect(book.count(/cannot be served/)).toBe(1);
});
