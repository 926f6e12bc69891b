import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { VERB_NAMES } from "../../src/contract/verbs.ts";
import { Api } from "../../src/principal/api/api.ts";
import type { Handlers } from "../../src/principal/api/handlers.ts";
import { LocalTarget } from "../../src/principal/api/local-target.ts";
import { Dealer, Request } from "../../src/zmq/index.ts";
import { LogBook, required, TestPrincipal } from "./support.ts";

const MIB = 1024 * 1024;

/** A DEALER that sends the same frames as a REQ. */
class Raw implements Disposable {
  readonly socket = new Dealer({ linger: 0, receiveTimeout: 20_000 });

  constructor(port: number) {
    this.socket.connect(`tcp://127.0.0.1:${port}`);
  }

  async send(parts: (string | Uint8Array)[]): Promise<string[]> {
    await this.socket.send(parts);
    return (await this.socket.receive()).map((part) => part.toString());
  }

  /** The text of the reply to one frame. */
  async ask(frame: string | Uint8Array): Promise<string> {
    const [delimiter, reply, ...rest] = await this.send(["", frame]);
    expect([delimiter, rest]).toEqual(["", []]);
    return required(reply);
  }

  [Symbol.dispose](): void {
    this.socket.close();
  }
}

describe("the envelope of a request is in front of its reply", () => {
  test("of a REQ, with and without correlation", async () => {
    await using cluster = await new TestPrincipal().start();
    for (const options of [{}, { correlate: true, relaxed: true }]) {
      using socket = new Request({ ...options, linger: 0, receiveTimeout: 20_000 });
      socket.connect(`tcp://127.0.0.1:${cluster.ports.api}`);
      for (let i = 0; i < 3; i++) {
        await socket.send("PING");
        expect((await socket.receive()).map(String)).toEqual(["PONG"]);
      }
    }
  });

  test("of a DEALER, with an id, with several, with none, without a delimiter", async () => {
    await using cluster = await new TestPrincipal().start();
    using raw = new Raw(cluster.ports.api);
    expect(await raw.send(["17", "", "PING"])).toEqual(["17", "", "PONG"]);
    expect(await raw.send(["a", "b", "", "PING"])).toEqual(["a", "b", "", "PONG"]);
    expect(await raw.send(["", "PING"])).toEqual(["", "PONG"]);
    expect(await raw.send(["PING"])).toEqual(["PONG"]);
  });

  test("of each request, also of a peer that reads late, and of the largest ones", async () => {
    await using cluster = await new TestPrincipal().start();
    using late = new Dealer({
      linger: 0,
      receiveTimeout: 60_000,
      sendHighWaterMark: 0,
      receiveHighWaterMark: 1,
    });
    late.connect(`tcp://127.0.0.1:${cluster.ports.api}`);
    const ids = Array.from({ length: 4000 }, (_, i) => String(i));
    for (const id of ids) await late.send([id, "", "PING"]);
    using large = new Dealer({ linger: 0, receiveTimeout: 60_000 });
    large.connect(`tcp://127.0.0.1:${cluster.ports.api}`);
    for (let n = 0; n < 6; n++) await large.send([String(n), "", Buffer.alloc(16 * MIB + n, 1)]);
    const replies: string[] = [];
    for (let n = 0; n < 6; n++) replies.push(String((await large.receive())[0]));
    expect(replies).toEqual(["0", "1", "2", "3", "4", "5"]);
    // The replies to it have waited in queues until now.
    const read: string[] = [];
    for (const _ of ids) read.push(String((await late.receive())[0]));
    expect(read.toSorted((a, b) => Number(a) - Number(b))).toEqual(ids);
  });

  test("of requests at the same time, each with its own", async () => {
    await using cluster = await new TestPrincipal().start();
    using raw = new Raw(cluster.ports.api);
    const ids = Array.from({ length: 500 }, (_, i) => String(i));
    for (const id of ids) await raw.socket.send([id, "", id === "7" ? "NOVERB" : "PING"]);
    const replies: string[][] = [];
    for (const _ of ids) replies.push((await raw.socket.receive()).map(String));
    expect(replies.map(([id]) => required(id)).sort()).toEqual([...ids].sort());
    expect(replies.find(([id]) => id === "7")?.[2]).toStartWith("CLIENTERROR");
  });
});

describe("what is malformed gets a CLIENTERROR that says why", () => {
  const cases: [name: string, frame: string | Uint8Array, reply: RegExp][] = [
    ["an empty message", "", /is empty/],
    ["no verb", "\x01hello", /no verb/],
    ["an unknown verb", "LISTWORKFLOWS", /There is no verb "LISTWORKFLOWS": did you mean "LSWORKFLOWS"\?/],
    ["a verb in small letters", "ping", /did you mean "PING"/],
    ["a verb with control characters", "PI\x1b[31mNG\n", /no verb/],
    ["what is not UTF-8", new Uint8Array([0x50, 0xff, 0xfe]), /not valid UTF-8/],
    ["too many fields", "PING\x01x", /takes no fields/],
    ["a missing field", "RUNTASK", /RUNTASK needs workflow: workflow is missing/],
    ["missing fields", "AGENTTASKSTATUS\x01agent\x01task", /task run is missing/],
    ["an unknown status", "AGENTWORKFLOWSTATUS\x01a\x01w\x01r\x01RUNING", /did you mean "RUNNING"/],
    [
      "a task id that is none",
      "AGENTTASKSTATUS\x01a\x01a task\x01t\x01r\x01RUNNING",
      /"a task" is not a task id\./,
    ],
    ["an unknown run", "AGENTWORKFLOWSTATUS\x01a\x01w\x01r\x01RUNNING", /There is no run "r"/],
    ["options that are not JSON", "RUNTASK\x01hello\x01{", /options is not JSON/],
    ["options of another type", "RUNTASK\x01hello\x01[]", /options is invalid/],
    ["a field of the wrong type", 'RUNTASK\x01hello\x01{"params":{"a":1}}', /params\.a: /],
    ["an unknown trigger", 'RUNTASK\x01hello\x01{"trigger":"magic"}', /trigger: /],
    ["a JSON verb without its argument", "GETRUN", /workflow_instance_id: /],
    [
      "an agent id that is none",
      "REGISTERAGENT\x01an agent",
      /\x01"an agent" is not an agent id: use letters/,
    ],
    ["half a description", 'REGISTERAGENT\x01a\x01{"host":"h"}', /session_id: /],
    ["a time that is none", "QUERYLOGS\x01yesterday", /end ms is "yesterday"/],
    ["a flag that is none", "QUERYLOGS\x01\x01\x01\x01\x01maybe", /verbose is "maybe"/],
    ["a limit out of bounds", 'LSRUNS\x01{"limit":0}', /limit: /],
    ["far too many fields", `PING${"\x01x".repeat(1_000_000)}`, /takes no fields; there are 31 or more/],
    [
      "JSON of far too many values",
      `LSRUNS\x01{"limit":[${"{},".repeat(1_000_000)}{}]}`,
      /arguments has more than 250000 values; send them in several requests/,
    ],
    [
      "JSON that is far too deep",
      `LSRUNS\x01{"limit":${"[".repeat(100_000)}${"]".repeat(100_000)}}`,
      /arguments is nested more than 100 levels deep/,
    ],
    [
      "JSON with brackets in a long text",
      `LSRUNS\x01{"limit":"${'[\\"{,'.repeat(100_000)}"}`,
      /limit: Invalid input: expected number/,
    ],
    ["an unknown workflow", 'GETWORKFLOW\x01{"workflow_id":"helo"}', /did you mean "hello"/],
  ];
  let cluster: TestPrincipal;
  beforeAll(async () => {
    cluster = await new TestPrincipal().start();
  });
  afterAll(() => cluster[Symbol.asyncDispose]());

  for (const [name, frame, reply] of cases) {
    test(name, async () => {
      using raw = new Raw(cluster.ports.api);
      const text = await raw.ask(frame);
      expect(text).toMatch(/^CLIENTERROR\x01/);
      expect(text).toMatch(reply);
      expect(text).not.toMatch(/[\x00\x02-\x08\x0b-\x1f]/);
    });
  }

  test("several frames, one too large, one much too large", async () => {
    using raw = new Raw(cluster.ports.api);
    expect((await raw.send(["", "PING", "PING"]))[1]).toMatch(/^CLIENTERROR\x01The message has 2 frames/);
    expect((await raw.send(["", "", "PING"]))[1]).toMatch(/^CLIENTERROR\x01The message has 2 frames/);
    expect((await raw.send(["", ""]))[1]).toMatch(/^CLIENTERROR\x01The message is empty/);
    expect(await raw.ask(new Uint8Array(16 * MIB + 1))).toMatch(
      /^CLIENTERROR\x01The message has 16777217 bytes/,
    );
    expect(await raw.ask(new Uint8Array(60 * MIB))).toMatch(/^CLIENTERROR\x01The message has 62914560 bytes/);
    expect(await raw.ask(`RUNTASK\x01${"x".repeat(15 * MIB)}`)).toMatch(
      /^CLIENTERROR\x01There is no workflow "x{60}…"/,
    );
    expect(await raw.ask("PING")).toBe("PONG");
  });
});

describe("the socket", () => {
  /** An API with one handler for every verb. */
  async function apiWith(handler: () => Promise<null>) {
    const book = new LogBook();
    const handlers = Object.fromEntries(VERB_NAMES.map((verb) => [verb, handler])) as unknown as Handlers;
    const { log } = book;
    const api = new Api({ host: "127.0.0.1", port: 0, target: new LocalTarget({ handlers, log }), log });
    await api.start();
    return { api, book, [Symbol.asyncDispose]: () => api.stop() };
  }

  test("answers SERVERERROR when a handler fails, and logs it", async () => {
    await using served = await apiWith(async () => {
      throw new TypeError("something is undefined");
    });
    using raw = new Raw(served.api.port);
    expect(await raw.ask("PING")).toBe("SERVERERROR\x01Internal error: something is undefined");
    expect(served.book.count(/error.*PING failed/)).toBe(1);
  });

  test("stops once what it took is answered", async () => {
    const release = Promise.withResolvers<void>();
    const taken = Promise.withResolvers<void>();
    const served = await apiWith(async () => {
      taken.resolve();
      await release.promise;
      return null;
    });
    using raw = new Raw(served.api.port);
    const answer = raw.ask("PING");
    await taken.promise;
    const stopped = served.api.stop();
    release.resolve();
    expect(await answer).toBe("PONG");
    await stopped;
    await served.api.stop();
  });
});
