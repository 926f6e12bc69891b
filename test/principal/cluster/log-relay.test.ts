import { expect, test } from "bun:test";
import { encodeLogBatch } from "../../../src/contract/log-line.ts";
import { curveOptions } from "../../../src/protocol/client.ts";
import { KeyStore } from "../../../src/protocol/doors/key-store.ts";
import { curveKeysOf, readKeyFile } from "../../../src/protocol/key-file.ts";
import { type LiveBatch, LogSubscription } from "../../../src/protocol/log-subscription.ts";
import { Push } from "../../../src/zmq/index.ts";
import { line } from "../../history/database-support.ts";
import { until } from "../../support/until.ts";
import { FakeAgent, required, TestPrincipal } from "../support.ts";
import { leads, TestMember } from "./members.ts";

const NEVER_MS = 600_000;

const batch = (from: number, to: number, of: Partial<FakeAgent> = {}) =>
  encodeLogBatch({
    agent_id: of.id ?? "agent-1",
    stream_id: of.streamId ?? "s",
    first_seq: from,
    lines: Array.from({ length: to - from + 1 }, (_, i) => line({ payload: `${from + i}` })),
  });

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => `${from + i}`);

/** The payloads of the lines of a subscription, until there are enough. */
async function payloads(batches: AsyncGenerator<LiveBatch>, enough: (found: string[]) => boolean) {
  const found: string[] = [];
  let connection = 0;
  while (!enough(found)) {
    const { value, done } = await batches.next();
    if (done) throw new Error("the subscription has ended");
    found.push(...value.lines.map(({ payload }: { payload: string }) => payload));
    connection = value.connection;
  }
  return { found, connection };
}

async function stored(member: TestMember): Promise<string[]> {
  const sql = "SELECT payload FROM logstore WHERE stream_id = 's' ORDER BY rowid";
  const { rows } = await member.client().queryDatabase({ sql });
  return rows.map((row) => String(row[0]));
}

test("lines that agents deliver to a member reach the history and all subscribers, once and in order", async () => {
  await using first = await new TestMember("first").start();
  await using second = await (await new TestMember("second").start()).relaying();
  await using principal = await new TestPrincipal({ member: (config) => first.parts(config) }).start();
  first.leadsAs(principal.ports);
  using agent = new Push({ linger: 0 });
  agent.connect(`tcp://127.0.0.1:${second.relay.ports.listening}`);
  // Nobody leads yet, as far as the second one knows.
  await agent.send(batch(1, 3));
  const live = new LogSubscription({
    client: second.client(),
    port: second.relay.ports.publishing,
    workflowId: undefined,
  });
  const connecting = live.connect(NEVER_MS);
  leads(first, first, second);
  expect(await connecting).toBe(true);
  await until("the first lines are stored", async () => (await stored(second)).length === 3);
  await agent.send(batch(4, 200));
  // Sent again.
  await agent.send(batch(100, 300));
  const { found } = await payloads(live.batches(), (all) => all.at(-1) === "300");
  // The first three may have been published before the subscription was in force.
  expect(found.slice(found.indexOf("4"))).toEqual(range(4, 300));
  expect(await stored(second)).toEqual(range(1, 300));
  live.close();
});

test("when the leader changes, subscribers get another connection, and lines go to the new one", async () => {
  await using first = await new TestMember("first").start();
  await using second = await (await new TestMember("second").start()).relaying();
  await using third = await new TestMember("third").start();
  const before = await new TestPrincipal({ member: (config) => first.parts(config) }).start();
  await using state = before;
  first.leadsAs(before.ports);
  leads(first, first, second, third);
  const client = second.client();
  const live = new LogSubscription({ client, port: second.relay.ports.publishing, workflowId: undefined });
  expect(await live.connect(NEVER_MS)).toBe(true);
  const batches = live.batches();
  using agent = new Push({ linger: 0 });
  agent.connect(`tcp://127.0.0.1:${second.relay.ports.listening}`);
  await agent.send(batch(1, 2));
  expect(await payloads(batches, (all) => all.length === 2)).toEqual({ found: ["1", "2"], connection: 1 });
  leads(null, first, second, third);
  await required(state.principal).stop();
  await using after = new TestPrincipal({ member: (config) => third.parts(config), config: before.config });
  await after.start();
  third.leadsAs(after.ports);
  leads(third, first, second, third);
  // The subscription of the new connection is in force before a line is published.
  expect((await batches.next()).value).toEqual({ connection: 2, lines: [] });
  await agent.send(batch(3, 5));
  expect(await payloads(batches, (all) => all.length === 3)).toEqual({
    found: ["3", "4", "5"],
    connection: 2,
  });
  expect(await stored(second)).toEqual(range(1, 5));
  live.close();
});

test("with keys, the leader knows who delivers: nobody can write into the log of another agent", async () => {
  await using principal = new TestPrincipal();
  const store = new KeyStore(principal.config.CDKTR_APP_DATA_DIRECTORY);
  store.init(Date.now());
  for (const name of ["good", "bad"]) store.add(name, "agent", Date.now());
  store.add("person", "client", Date.now());
  const keys = (name: string) => curveKeysOf(readKeyFile(`${store.directory}/${name}.key`));
  await using first = await new TestMember("first", { store }).start();
  await using second = await (await new TestMember("second", { store }).start()).relaying();
  await using leading = new TestPrincipal({ member: (of) => first.parts(of), config: principal.config });
  await leading.start();
  first.leadsAs(leading.ports);
  leads(first, first, second);
  const good = new FakeAgent(second.client(keys("good")), "agent-good");
  await good.register();
  const person = second.client(keys("person"));
  await person.runTask("hello", { trigger: "cli", dedupe_key: "1" });
  const run = required(await good.fetch());
  await good.send(good.runReport(run, "RUNNING"));
  const of = (from: number, payload: string) =>
    encodeLogBatch({
      agent_id: good.id,
      stream_id: good.streamId,
      first_seq: from,
      lines: [line({ workflow_id: "hello", workflow_instance_id: run.workflow_instance_id, payload })],
    });
  const live = new LogSubscription({
    client: person,
    port: second.relay.ports.publishing,
    workflowId: "hello",
  });
  expect(await live.connect(NEVER_MS)).toBe(true);
  using liar = new Push({ linger: 0, ...curveOptions(keys("bad")) });
  liar.connect(`tcp://127.0.0.1:${second.relay.ports.listening}`);
  await liar.send(of(1, "a lie"));
  // As if another member had passed it on.
  await liar.send([keys("good").publicKey, of(1, "another lie")]);
  await second.book.waitFor(/1 messages with log lines were dropped/);
  using other = new Push({ linger: 0, ...curveOptions(keys("bad")) });
  other.connect(`tcp://127.0.0.1:${leading.ports.logsListening}`);
  await other.send([keys("good").publicKey, of(1, "a third lie")]);
  await leading.book.waitFor(
    /log lines or messages were dropped, .*(?:A log message has 1 part|may not act)/,
  );
  using agent = new Push({ linger: 0, ...curveOptions(keys("good")) });
  agent.connect(`tcp://127.0.0.1:${second.relay.ports.listening}`);
  await agent.send(of(1, "the truth"));
  expect((await payloads(live.batches(), (all) => all.length === 1)).found).toEqual(["the truth"]);
  live.close();
});
