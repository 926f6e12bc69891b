import { afterEach, expect, test } from "bun:test";
import { createServer } from "node:net";
import type { TelemetryTarget } from "../../../src/contract/telemetry.ts";
import { Sender, type SenderOptions, shown } from "../../../src/history/telemetry/sender.ts";
import { isDoneWithin } from "../../../src/timer.ts";
import { LogBook } from "../../principal/support.ts";

/** A request that a receiver got. */
interface Got {
  readonly body: string;
  readonly headers: Headers;
}

/** A receiver that answers each request in turn; the last answer is repeated. */
class Receiver {
  readonly got: Got[] = [];
  readonly #answers: (() => Response | Promise<Response>)[];
  readonly #server: Bun.Server<undefined>;

  constructor(...answers: (() => Response | Promise<Response>)[]) {
    this.#answers = answers;
    this.#server = Bun.serve({
      hostname: "127.0.0.1",
      port: 0,
      fetch: async (request) => {
        const bytes = new Uint8Array(await request.arrayBuffer());
        const isZipped = request.headers.get("content-encoding") === "gzip";
        const body = new TextDecoder().decode(isZipped ? Bun.gunzipSync(bytes) : bytes);
        this.got.push({ body, headers: request.headers });
        const answer = this.#answers[Math.min(this.got.length, this.#answers.length) - 1];
        return answer?.() ?? OK();
      },
    });
  }

  get url(): string {
    return `http://127.0.0.1:${this.#server.port}/v1/traces`;
  }

  stop(): Promise<void> {
    return this.#server.stop(true);
  }
}

const OK = () => Response.json({});
const open: { stop(): Promise<void> | void }[] = [];
afterEach(async () => {
  for (const one of open.splice(0).reverse()) await one.stop();
});

function receiver(...answers: (() => Response | Promise<Response>)[]): Receiver {
  const made = new Receiver(...answers);
  open.push(made);
  return made;
}

async function sender(
  url: string,
  options: Partial<Omit<SenderOptions<string>, "target">> & { target?: Partial<TelemetryTarget> } = {},
) {
  const book = new LogBook();
  const { target, ...rest } = options;
  const made = new Sender<string>({
    what: "traces",
    encode: (batch) => Buffer.from(batch.join(" ")),
    log: book.log,
    queueLength: 100,
    queueBytes: 10_000,
    batchLength: 3,
    batchBytes: 1000,
    collectMs: 1,
    firstRetryMs: 1,
    ...rest,
    target: { url, headers: {}, encoding: "json", isCompressed: false, timeoutMs: 30_000, ...target },
  });
  await made.start();
  open.push(made);
  const add = (...items: string[]) => made.add(items.map((item) => ({ item, bytes: item.length })));
  /** Resolves after so many requests from now on. */
  const requests = async (count: number) => {
    for (let i = 0; i < count; i++) await made.signals.next("requested");
  };
  return { made, book, add, requests };
}

test("what is added is sent in batches, in order, with the headers of the target", async () => {
  const there = receiver();
  const { made, add, requests } = await sender(there.url, {
    target: { headers: { Authorization: "Bearer s3cret" }, encoding: "protobuf", isCompressed: true },
  });
  const sent = requests(2);
  add("a", "b", "c", "d");
  await sent;
  expect(there.got.map(({ body }) => body)).toEqual(["a b c", "d"]);
  const { headers } = there.got[0] as Got;
  expect(headers.get("authorization")).toBe("Bearer s3cret");
  expect(headers.get("content-type")).toBe("application/x-protobuf");
  expect(made.counts).toEqual({ exported: 4, dropped: 0, failures: 0, queued: 0 });
});

test("a request that fails is repeated with the same batch, and what came meanwhile follows", async () => {
  const there = receiver(
    () => new Response("busy", { status: 503 }),
    () => new Response("slow down", { status: 429, headers: { "Retry-After": "0" } }),
    OK,
  );
  const { made, book, add, requests } = await sender(there.url);
  const sent = requests(4);
  add("a");
  await made.signals.next("requested");
  add("b");
  await sent;
  expect(there.got.map(({ body }) => body)).toEqual(["a", "a", "a", "b"]);
  expect(made.counts).toEqual({ exported: 2, dropped: 0, failures: 2, queued: 0 });
  expect(book.count(/^warn : The traces cannot be sent to \S+: it answers with status 503\./)).toBe(1);
  expect(book.count(/cannot be sent/)).toBe(1);
  expect(book.count(/takes them again/)).toBe(1);
});

test("a receiver that says when is asked then", async () => {
  const there = receiver(
    () =>
      new Response("", {
        status: 429,
        headers: { "Retry-After": new Date(Date.now() - 5000).toUTCString() },
      }),
    OK,
  );
  // Its own delay would be a day.
  const { made, add, requests } = await sender(there.url, { firstRetryMs: 86_400_000 });
  const sent = requests(2);
  add("a");
  await sent;
  expect(made.counts.exported).toBe(1);
});

test("a receiver that asks for no delay, again and again, is not asked in a loop", async () => {
  const there = receiver(() => new Response("", { status: 429, headers: { "Retry-After": "0" } }), OK);
  const { add, requests } = await sender(there.url, { collectMs: 86_400_000, batchLength: 1 });
  const again = requests(2);
  add("a");
  // It never comes: however fast this machine is, nothing is missed.
  expect(await isDoneWithin(300, again)).toBe(false);
});

test("what is refused for good is lost, said, and does not hold up the rest", async () => {
  const there = receiver(() => new Response("no", { status: 401 }), OK);
  const { made, book, add, requests } = await sender(there.url);
  const sent = requests(2);
  add("a", "b", "c", "d");
  await sent;
  expect(there.got.map(({ body }) => body)).toEqual(["a b c", "d"]);
  expect(made.counts).toEqual({ exported: 1, dropped: 3, failures: 1, queued: 0 });
  expect(book.lines.find((line) => line.includes("did not get"))).toBe(
    `warn : 3 spans did not get to ${there.url}: it answers with status 401 (are the credentials in OTEL_EXPORTER_OTLP_HEADERS right?).`,
  );
});

test("a redirection is not followed: the headers are for one receiver", async () => {
  const other = receiver();
  const there = receiver(() => Response.redirect(other.url, 307));
  const { made, add, requests } = await sender(there.url);
  const sent = requests(1);
  add("a");
  await sent;
  expect(other.got).toEqual([]);
  expect(made.counts.dropped).toBe(1);
});

test("what a receiver refuses of a request that it accepts is counted", async () => {
  const there = receiver(() =>
    Response.json({ partialSuccess: { rejectedSpans: "2", errorMessage: "too old" } }),
  );
  const { made, book, add, requests } = await sender(there.url);
  const sent = requests(1);
  add("a", "b", "c");
  await sent;
  expect(made.counts).toEqual({ exported: 1, dropped: 2, failures: 0, queued: 0 });
  expect(book.count(/2 spans did not get to .*: too old/)).toBe(1);
});

test("when there is no space the oldest goes, and whoever adds never waits", async () => {
  const answered = Promise.withResolvers<Response>();
  const there = receiver(() => answered.promise, OK);
  const { made, book, add, requests } = await sender(there.url, { queueLength: 4, batchLength: 2 });
  add("a", "b");
  const sent = requests(3);
  add("c", "d", "e", "f", "g", "h");
  expect(made.counts).toEqual({ exported: 0, dropped: 2, failures: 0, queued: 6 });
  answered.resolve(OK());
  await sent;
  expect(there.got.map(({ body }) => body)).toEqual(["a b", "e f", "g h"]);
  expect(book.count(/2 spans did not get to .*: more came than could be sent/)).toBe(1);
  const large = requests(1);
  add("x".repeat(9000), "y".repeat(9000));
  await large;
  expect(made.counts.dropped).toBe(3);
});

test("a receiver that is not there, or goes away in the middle of its answer, is asked again", async () => {
  let connections = 0;
  // The first connection is closed at once, the second in the middle of an answer.
  const broken = createServer((socket) => {
    connections++;
    const isFirst = connections === 1;
    socket.on("error", () => {});
    if (isFirst) socket.destroy();
    else
      socket.once("data", () => {
        if (connections === 2) {
          socket.write("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{");
          socket.destroy();
        } else socket.end("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}");
      });
  });
  await new Promise<void>((done) => broken.listen(0, "127.0.0.1", done));
  open.push({ stop: () => void broken.close() });
  const { port } = broken.address() as { port: number };
  const { made, add } = await sender(`http://127.0.0.1:${port}/v1/logs`);
  add("a");
  while (made.counts.exported === 0) await made.signals.next("requested");
  expect(made.counts).toMatchObject({ exported: 1, dropped: 0, queued: 0 });
  expect(made.counts.failures).toBeGreaterThanOrEqual(2);
});

test("no answer is a failure after the time of the target", async () => {
  const never = new Promise<Response>(() => {});
  const there = receiver(() => never, OK);
  const { made, book, add } = await sender(there.url, { target: { timeoutMs: 300 } });
  add("a");
  while (made.counts.exported === 0) await made.signals.next("requested");
  expect(book.count(/cannot be sent to \S+: no answer within 0.3 s\./)).toBe(1);
});

test("a stop sends what is left, and does not wait for a receiver that does not answer", async () => {
  const there = receiver();
  const well = await sender(there.url, { collectMs: 86_400_000, batchLength: 100 });
  well.add("a", "b");
  await well.made.stop();
  expect(there.got.map(({ body }) => body)).toEqual(["a b"]);
  expect(well.made.counts).toMatchObject({ exported: 2, dropped: 0 });

  const silent = receiver(() => new Promise<Response>(() => {}));
  const ill = await sender(silent.url);
  ill.add("a", "b", "c", "d");
  // Ends although the target would be given half a minute.
  await ill.made.stop();
  expect(ill.made.counts).toMatchObject({ exported: 0, dropped: 4, queued: 0 });
});

test("a wait for another try ends with a stop", async () => {
  const there = receiver(() => new Response("", { status: 503 }));
  const { made, add } = await sender(there.url, { firstRetryMs: 86_400_000 });
  add("a");
  await made.signals.next("requested");
  await made.stop();
  expect(there.got).toHaveLength(2);
  expect(made.counts).toMatchObject({ dropped: 1, queued: 0 });
});

test("an address is shown without credentials", () => {
  expect(shown("https://user:secret@collector:4318/v1/traces?token=abc")).toBe(
    "https://collector:4318/v1/traces",
  );
});
