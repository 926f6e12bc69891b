import { expect, test } from "bun:test";
import type { MemberAddress } from "../../src/contract/messages.ts";
import { InvalidInputError, UnprocessableError } from "../../src/errors.ts";
import { EventHub } from "../../src/event-hub.ts";
import { RequestRefusedError } from "../../src/protocol/client.ts";
import {
  type LiveBatch,
  LogSubscription,
  type LogSubscriptionOptions,
} from "../../src/protocol/log-subscription.ts";
import type { Place } from "../../src/protocol/members.ts";
import { Push } from "../../src/zmq/index.ts";
import { line } from "../history/database-support.ts";
import { until } from "../support/until.ts";
import { lastingPorts, TestPrincipal } from "./support.ts";

const SOON_MS = 10_000;
const PLACE = { host: "127.0.0.1", port: 1, address: "127.0.0.1:1" };
const UNSECURED = {
  ...{ place: PLACE, places: [PLACE], curve: undefined, ping: async () => {} },
  signals: new EventHub<{ moved: Place; members: readonly MemberAddress[] }>(),
};

function subscribe(bench: TestPrincipal, options: Partial<LogSubscriptionOptions> = {}): LogSubscription {
  return new LogSubscription({
    client: bench.client(),
    port: bench.ports.logsPublishing,
    workflowId: undefined,
    ...options,
  });
}

/** The next batch for which `wanted` holds. */
async function next(
  batches: AsyncGenerator<LiveBatch>,
  wanted: (batch: LiveBatch) => boolean,
): Promise<LiveBatch> {
  for (;;) {
    const { value, done } = await batches.next();
    if (done) throw new Error("the subscription has ended");
    if (wanted(value)) return value;
  }
}

/**
 * A way to the publisher that lets the handshake through and holds what the subscriber sends after it, its subscriptions,
 * until they are let go. The handshake of ZMTP 3 without security: 64 bytes of greeting, then one short command frame
 * (https://rfc.zeromq.org/spec/23/).
 */
function holdSubscriptions(port: number) {
  const GREETING = 64;
  const held = Promise.withResolvers<void>();
  const letGo = Promise.withResolvers<void>();
  const listener = Bun.listen<{ sent: Buffer; up: Promise<Bun.Socket> }>({
    hostname: "127.0.0.1",
    port: 0,
    socket: {
      open(down) {
        const up = Bun.connect({
          hostname: "127.0.0.1",
          port,
          socket: { data: (_, bytes) => void down.write(bytes), close: () => void down.end() },
        });
        down.data = { sent: Buffer.alloc(0), up };
      },
      async data(down, bytes) {
        const { sent, up } = down.data;
        const all = Buffer.concat([sent, bytes]);
        down.data.sent = all;
        const end = all.length > GREETING + 1 ? GREETING + 2 + (all[GREETING + 1] ?? 0) : GREETING;
        (await up).write(all.subarray(sent.length, Math.max(sent.length, end)));
        if (all.length <= end) return;
        held.resolve();
        await letGo.promise;
        (await up).write(all.subarray(Math.max(sent.length, end)));
      },
      close: (down) => void down.data.up.then((up) => up.end()),
    },
  });
  return {
    port: listener.port,
    held: held.promise,
    letGo: () => letGo.resolve(),
    [Symbol.dispose]: () => listener.stop(true),
  };
}

test("being connected is not enough: it waits until its subscriptions are active", async () => {
  await using bench = await new TestPrincipal().start();
  using agent = new Push({ linger: 0 });
  agent.connect(`tcp://127.0.0.1:${bench.ports.logsListening}`);
  using way = holdSubscriptions(bench.ports.logsPublishing);
  const client = bench.client();
  const live = subscribe(bench, { port: way.port, client });
  let complete = false;
  const connecting = live.connect(SOON_MS).finally(() => {
    complete = true;
  });
  await way.held;
  await agent.send(line({ payload: "before" }));
  let stored = 0;
  while (stored === 0) {
    const { rows } = await client.queryDatabase({ sql: "SELECT count(*)::INTEGER FROM logstore" });
    stored = Number(rows[0]?.[0]);
  }
  expect(complete).toBe(false);
  way.letGo();
  expect(await connecting).toBe(true);
  await agent.send(line({ payload: "after" }));
  const { lines } = await next(live.batches(), (batch) => batch.lines.length > 0);
  expect(lines.map(({ payload }) => payload)).toEqual(["after"]);
  live.close();
});

test("a new connection is reported before its first line", async () => {
  const ports = await lastingPorts();
  await using bench = await new TestPrincipal({ config: ports }).start();
  const live = subscribe(bench);
  expect(await live.connect(SOON_MS)).toBe(true);
  const batches = live.batches();
  expect(await next(batches, () => true)).toEqual({ connection: 1, lines: [] });
  await bench.principal?.stop();
  await bench.start();
  expect(await next(batches, () => true)).toEqual({ connection: 2, lines: [] });
  using agent = new Push({ linger: 0 });
  agent.connect(`tcp://127.0.0.1:${ports.CDKTR_LOGS_LISTENING_PORT}`);
  await agent.send(line({ payload: "after" }));
  const { connection, lines } = await next(batches, () => true);
  expect([connection, lines[0]?.payload]).toEqual([2, "after"]);
  live.close();
  expect((await batches.next()).done).toBe(true);
});

test("with a principal that does not know the verb, being connected is enough", async () => {
  await using bench = await new TestPrincipal().start();
  const client = {
    ...UNSECURED,
    isSubscribed: () => Promise.reject(new RequestRefusedError("unknown verb")),
  };
  const live = subscribe(bench, { client });
  expect(await live.connect(SOON_MS)).toBe(true);
  live.close();
});

test("it is inactive while the API does not answer, and active as soon as it does", async () => {
  await using bench = await new TestPrincipal().start();
  let answers = false;
  const client = {
    ...UNSECURED,
    isSubscribed: (probe: string) =>
      answers ? bench.client().isSubscribed(probe) : Promise.reject(new UnprocessableError("away")),
  };
  const live = subscribe(bench, { client });
  expect(await live.connect(50)).toBe(false);
  answers = true;
  expect(await next(live.batches(), () => true)).toEqual({ connection: 1, lines: [] });
  live.close();
});

test("the principal knows a probe as long as its subscriber is there, and takes nothing else for one", async () => {
  await using bench = await new TestPrincipal().start();
  const client = bench.client();
  let probe = "";
  const live = subscribe(bench, {
    client: {
      ...UNSECURED,
      isSubscribed: (text) => {
        probe = text;
        return client.isSubscribed(text);
      },
    },
  });
  expect(await live.connect(SOON_MS)).toBe(true);
  expect(await client.isSubscribed(probe)).toBe(true);
  expect(await client.isSubscribed(`${probe.slice(0, -1)}_`)).toBe(false);
  const refusal = await client.isSubscribed("hello\x01").catch((error) => error);
  expect(refusal).toBeInstanceOf(InvalidInputError);
  live.close();
  await until("the probe is forgotten", async () => !(await client.isSubscribed(probe)));
});
