import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { encodeReply } from "../../../src/contract/wire.ts";
import type { ApiCall } from "../../../src/principal/api/api-target.ts";
import type { Handlers } from "../../../src/principal/api/handlers.ts";
import { LocalTarget } from "../../../src/principal/api/local-target.ts";
import { type PrincipalClient, PrincipalFailedError } from "../../../src/protocol/client.ts";
import { KeyStore } from "../../../src/protocol/doors/key-store.ts";
import { curveKeysOf, readKeyFile } from "../../../src/protocol/key-file.ts";
import { pause } from "../../../src/timer.ts";
import { Dealer, Request } from "../../../src/zmq/index.ts";
import { refusal } from "../secured.ts";
import { FakeAgent, LogBook, required, TestPrincipal } from "../support.ts";
import { HandMade, leads, TestMember } from "./members.ts";

function trigger(client: PrincipalClient, workflowId: string) {
  return client.runTask(workflowId, { trigger: "cli", dedupe_key: crypto.randomUUID() });
}

async function asked(target: HandMade, count: number): Promise<void> {
  await target.signals.until("asked", () => target.calls.length >= count);
}

describe("a member that does not lead", () => {
  let leader: TestMember;
  let follower: TestMember;
  let principal: TestPrincipal;
  beforeAll(async () => {
    leader = await new TestMember("first").start();
    follower = await new TestMember("second").start();
    principal = await new TestPrincipal({ member: (config) => leader.parts(config) }).start();
    leads(leader, leader, follower);
  });
  afterAll(async () => {
    await principal[Symbol.asyncDispose]();
    await leader[Symbol.asyncDispose]();
    await follower[Symbol.asyncDispose]();
  });

  test("answers as the leader does", async () => {
    const there = follower.client();
    const here = leader.client();
    const { workflow_instance_id: id } = await trigger(there, "hello");
    expect(await there.getRun(id)).toEqual(await here.getRun(id));
    expect(await there.listWorkflows()).toEqual(await here.listWorkflows());
    expect((await there.cancelRun(id)).status).toBe("CANCELLED");
    expect(await refusal(there.getWorkflow("helo"))).toBe(await refusal(here.getWorkflow("helo")));
    expect(await refusal(there.getWorkflow("helo"))).toContain('did you mean "hello"');
  });

  test("says where it is itself, and which principal it speaks for", async () => {
    const there = await follower.client().info();
    const here = await leader.client().info();
    expect(there).toMatchObject({
      principal_id: here.principal_id,
      member: "second",
      host: "127.0.0.1",
      api_port: follower.port,
      logs_listening_port: 1,
      logs_publishing_port: 2,
    });
    expect(here.api_port).toBe(leader.port);
  });

  test("names in the audit log who asked it", async () => {
    const of = async (client: PrincipalClient) => {
      const { workflow_instance_id: id } = await trigger(client, "hello");
      const { rows } = await leader.client().listAudit({ limit: 100 });
      return rows
        .filter(({ detail }) => detail?.includes(id))
        .map(({ actor, source }) => ({ actor, source }));
    };
    const [asked] = await of(leader.client());
    expect(asked).toMatchObject({ actor: expect.any(String), source: "local" });
    expect(await of(follower.client())).toEqual([required(asked)]);
  });

  test("passes on what plain REQ clients send, and what is malformed", async () => {
    using socket = new Request({ linger: 0, receiveTimeout: 60_000 });
    socket.connect(`tcp://127.0.0.1:${follower.port}`);
    const ask = async (frame: string) => {
      await socket.send(frame);
      return String((await socket.receive())[0]);
    };
    expect(await ask("RUNTASK\x01hello")).toMatch(/^OK\x01\{"workflow_instance_id":/);
    expect(JSON.parse((await ask("LSWORKFLOWS")).slice(8)).hello.dag.task_map.only).toBeDefined();
    expect(await ask("RUNTASK\x01hello\x01{")).toMatch(/^CLIENTERROR\x01options is not JSON/);
    expect(await ask("LISTWORKFLOWS")).toMatch(/^CLIENTERROR\x01There is no verb "LISTWORKFLOWS"/);
    expect(await ask("REGISTERAGENT\x01agent-1")).toBe("OK");
  });

  test("many requests at once, each with its reply, and one of 15 MiB", async () => {
    const client = follower.client();
    const runs = Array.from({ length: 300 }, () => trigger(client, "hello"));
    const large = trigger(client, "x".repeat(15 * 1024 * 1024));
    const ids = (await Promise.all(runs)).map((run) => run.workflow_instance_id);
    expect(new Set(ids).size).toBe(300);
    expect(await refusal(large)).toContain('There is no workflow "xxx');
  });
});

describe("requests while the leader changes", () => {
  test("those in flight at a follower and at the leader are asked of the next one, with the same key", async () => {
    await using first = await new TestMember("first").start();
    await using second = await new TestMember("second").start();
    await using third = await new TestMember("third").start();
    const members = [first, second, third];
    const dying = new HandMade();
    await first.door.serving(dying).start();
    leads(first, ...members);
    const replies = members.map((member) => trigger(member.client(), "hello"));
    await asked(dying, 3);
    first.door.endTerm();
    leads(null, ...members);
    dying.release();
    const next = new HandMade(async () => encodeReply("OK", '{"workflow_instance_id":"run-1"}'));
    leads(second, ...members);
    await second.door.serving(next).start();
    expect((await Promise.all(replies)).map((run) => run.workflow_instance_id)).toEqual(
      Array(3).fill("run-1"),
    );
    const keys = (calls: readonly ApiCall[]) => calls.map(({ key }) => required(key)).sort();
    expect(keys(next.calls)).toEqual(keys(dying.calls));
    expect(new Set(keys(next.calls)).size).toBe(3);
  });

  test("those that come while nobody leads wait; a plain client's run is started once", async () => {
    await using first = await new TestMember("first").start();
    await using second = await new TestMember("second").start();
    await using state = new TestPrincipal({ member: (config) => first.parts(config) });
    using socket = new Request({ linger: 0, receiveTimeout: 60_000 });
    socket.connect(`tcp://127.0.0.1:${second.port}`);
    await socket.send("RUNTASK\x01hello");
    const client = second.client();
    // Answered by the member itself: what came before has been read.
    await client.ping();
    await state.start();
    leads(first, first, second);
    const id = JSON.parse(String((await socket.receive())[0]).slice(3)).workflow_instance_id;
    expect((await client.listRuns({ limit: 10 })).map((run) => run.workflow_instance_id)).toEqual([id]);
  });

  test("a long poll is held from one leader to the next, which has the state of the one before", async () => {
    await using first = await new TestMember("first").start();
    await using second = await new TestMember("second").start();
    await using before = await new TestPrincipal({ member: (config) => first.parts(config) }).start();
    leads(first, first, second);
    const client = second.client();
    const { workflow_instance_id: id } = await trigger(client, "hello");
    const ended = client.waitRun(id, 30_000);
    const waits = first.client().waitRun(id, 30_000);
    first.door.endTerm();
    leads(null, first, second);
    await required(before.principal).stop();
    await using after = new TestPrincipal({
      member: (config) => second.parts(config),
      config: before.config,
    });
    await after.start();
    leads(second, first, second);
    await second.client().cancelRun(id);
    expect((await ended).status).toBe("CANCELLED");
    expect((await waits).status).toBe("CANCELLED");
  });

  test("a leader whose lease has lapsed answers nothing until it is renewed, or another one leads", async () => {
    await using first = await new TestMember("first").start();
    await using second = await new TestMember("second").start();
    let hasLapsed = false;
    const stale = new HandMade();
    await first.door.serving(stale, () => hasLapsed).start();
    leads(first, first, second);
    const client = first.client();
    const before = client.pools();
    await asked(stale, 1);
    // As if the process had been stopped for a while.
    hasLapsed = true;
    const during = client.pools();
    stale.release();
    await client.ping();
    expect(stale.calls.length).toBe(1);
    hasLapsed = false;
    await asked(stale, 3);
    stale.release();
    expect(await Promise.all([before, during])).toEqual([[], []]);
    hasLapsed = true;
    const after = client.pools();
    await client.ping();
    const next = new HandMade(async () => encodeReply("SUCCESS", "[]"));
    await second.door.serving(next).start();
    first.door.endTerm();
    leads(second, first, second);
    expect(await after).toEqual([]);
    expect([stale.calls.length, next.calls.length]).toEqual([3, 1]);
  });

  test("a leader that stops answers what it took, and leaves what comes then to the next one", async () => {
    await using first = await new TestMember("first").start();
    await using second = await new TestMember("second").start();
    const stopping = new HandMade();
    const service = first.door.serving(stopping);
    await service.start();
    leads(first, first, second);
    const taken = second.client().listAudit({ limit: 1 });
    await asked(stopping, 1);
    first.door.hold();
    const later = [first, second].map((member) => member.client().pools());
    const stopped = service.stop();
    stopping.release();
    await taken.catch(() => {});
    await stopped;
    expect(stopping.calls.length).toBe(1);
    const next = new HandMade(async () => encodeReply("SUCCESS", "[]"));
    await second.door.serving(next).start();
    leads(second, first, second);
    expect(await Promise.all(later)).toEqual([[], []]);
  });

  test("a member that is asked although it does not lead says so, and the one that does is asked", async () => {
    await using first = await new TestMember("first").start();
    await using second = await new TestMember("second").start();
    await using third = await new TestMember("third").start();
    const target = new HandMade(async () => encodeReply("SUCCESS", "[]"));
    await third.door.serving(target).start();
    // The second one does not know yet that the first one does not lead any more.
    leads(first, second);
    leads(third, first, third);
    const pools = second.client().pools();
    await second.client().ping();
    leads(third, second);
    expect(await pools).toEqual([]);
  });

  test("when the connection breaks, what is in flight is sent again", async () => {
    await using first = await new TestMember("first").start();
    await using second = await new TestMember("second").start();
    const target = new HandMade();
    await first.door.serving(target).start();
    leads(first, first, second);
    const pools = second.client().pools();
    await asked(target, 1);
    // As if the process had been killed and were there again, in the same term.
    const { port } = first;
    await first.stop();
    await using again = await new TestMember("first", { port }).start();
    const answering = new HandMade(async () => encodeReply("SUCCESS", "[]"));
    await again.door.serving(answering).start();
    leads(again, again);
    expect(await pools).toEqual([]);
  });

  test("without a leader for so long, a request is refused and says why", async () => {
    await using alone = await new TestMember("alone", { waitMs: 50 }).start();
    const client = alone.client();
    expect(await refusal(client.pools())).toMatch(
      /^No principal leads(?: for \d+ s)?: this one, alone, waits until one does\. \(One takes over as soon as it reaches the database \(CDKTR_STORE_URL\)/,
    );
  });

  test("a member that hears nothing of the leader says so; agents get no reply, so that they turn to another member", async () => {
    // Somebody that never answers.
    using silent = Bun.listen({ hostname: "127.0.0.1", port: 0, socket: { data() {} } });
    await using mute = await new TestMember("mute").start();
    await using second = await new TestMember("second", { waitMs: 50 }).start();
    mute.view.port = silent.port;
    leads(mute, second);
    const client = second.client();
    const agent = client.call("AGENTHEARTBEAT", {
      agent_id: "a",
      session_id: "s",
      wait_ms: 0,
      running: [],
      running_tasks: 0,
    });
    let isAnswered = false;
    agent.then(
      () => {
        isAnswered = true;
      },
      () => {},
    );
    expect(await refusal(client.pools())).toMatch(
      /^This member of the installation cannot reach the leader, mute at .*CDKTR_PRINCIPALS lists them/,
    );
    await client.ping();
    expect(isAnswered).toBe(false);
    await using first = await new TestMember("first").start();
    const target = new HandMade(async () => encodeReply("SUCCESS", "[]"));
    await first.door.serving(target).start();
    leads(first, first, second);
    expect(await client.pools()).toEqual([]);
  });

  test("while nobody leads for long, an agent is not told that it is unknown", async () => {
    await using alone = await new TestMember("alone", { waitMs: 50 }).start();
    const request = { agent_id: "a", session_id: "s", wait_ms: 0, running: [], running_tasks: 0 };
    const error = await alone
      .client()
      .call("AGENTHEARTBEAT", request)
      .catch((thrown) => thrown);
    expect(error).toBeInstanceOf(PrincipalFailedError);
    expect(error.message).toContain("No principal leads");
    expect(alone.book.count(/^error/)).toBe(0);
  });

  test("a member that stops leaves requests to the others", async () => {
    await using first = await new TestMember("first").start();
    await using second = await new TestMember("second").start();
    const target = new HandMade();
    await first.door.serving(target).start();
    leads(first, first, second);
    let isAnswered = false;
    void second
      .client()
      .pools()
      .then(
        () => {
          isAnswered = true;
        },
        () => {},
      );
    await asked(target, 1);
    await second.stop();
    expect(isAnswered).toBe(false);
    target.release();
  });
});

test("a member may have more requests in flight for its peers than a peer may", async () => {
  await using first = await new TestMember("first").start();
  await using second = await new TestMember("second").start();
  const target = new HandMade();
  await first.door.serving(target).start();
  leads(first, first, second);
  const requests = [second.client(), second.client()].flatMap((client) =>
    Array.from({ length: 3000 }, () => client.pools()),
  );
  await asked(target, 6000);
  target.release();
  for (const pools of await Promise.all(requests)) expect(pools).toEqual([]);
});

describe("a request that was held", () => {
  test("is as old as it is: an agent's clock is not behind because of it", async () => {
    await using first = await new TestMember("first").start();
    await using principal = new TestPrincipal({ member: (config) => first.parts(config) });
    await principal.start();
    leads(first, first);
    using socket = new Dealer({ linger: 0, receiveTimeout: 60_000 });
    socket.connect(`tcp://127.0.0.1:${first.port}`);
    const agent = new FakeAgent(first.client(), "agent-1");
    await agent.register();
    const beat = async (heldMs: number) => {
      const { id: agent_id, sessionId: session_id } = agent;
      // Sent a minute ago.
      const now_ms = Date.now() - 60_000;
      const of = { agent_id, session_id, now_ms, wait_ms: 0, running: [], running_tasks: 0 };
      const from = JSON.stringify({ held_ms: heldMs });
      await socket.send(["1", "", `FORWARD\x01${from}`, `AGENTHEARTBEAT\x01${JSON.stringify(of)}`]);
      expect(String((await socket.receive())[2])).toStartWith("OK");
      const [known] = await first.client().registeredAgents();
      return known?.clock_ahead_ms;
    };
    for (let n = 0; n < 4; n++) expect(await beat(60_000)).toBeUndefined();
    for (let n = 0; n < 3; n++) await beat(0);
    expect(await beat(0)).toBeLessThan(-50_000);
  });

  test("is answered as soon as its sender expects it", async () => {
    const waits: unknown[] = [];
    const WAITRUN = (request: object) => {
      waits.push(request);
      return null;
    };
    const handlers = { WAITRUN } as unknown as Handlers;
    const target = new LocalTarget({ handlers, log: new LogBook().log });
    const fields = ['{"workflow_instance_id":"run-1","wait_ms":5000}'];
    for (const heldMs of [undefined, 2000, 9000]) {
      const traits = { isPlain: false, isNameless: false, heldMs };
      const request = { verb: "WAITRUN", fields } as const;
      await target.answer({ request, frame: new Uint8Array(), userId: undefined, traits });
    }
    expect(waits).toMatchObject([{ wait_ms: 5000 }, { wait_ms: 3000 }, { wait_ms: 0 }]);
  });

  test("says how long it was held", async () => {
    await using first = await new TestMember("first").start();
    await using second = await new TestMember("second").start();
    const held = [first, second].map((member) => member.client().pools());
    await Promise.all([first, second].map((member) => member.client().ping()));
    // Time passes.
    await pause(100);
    const target = new HandMade(async () => encodeReply("SUCCESS", "[]"));
    await first.door.serving(target).start();
    leads(first, first, second);
    await Promise.all(held);
    expect(target.calls.every(({ traits }) => (traits.heldMs ?? 0) > 0)).toBe(true);
  });
});

describe("with keys", () => {
  test("the leader knows whose request it is, and only members may pass requests on", async () => {
    await using principal = new TestPrincipal();
    const store = new KeyStore(principal.config.CDKTR_APP_DATA_DIRECTORY);
    store.init(Date.now());
    store.add("worker", "agent", Date.now());
    store.add("person", "client", Date.now());
    const keys = (name: string) => curveKeysOf(readKeyFile(`${store.directory}/${name}.key`));
    await using first = await new TestMember("first", { store }).start();
    await using second = await new TestMember("second", { store }).start();
    await using leading = new TestPrincipal({
      member: (config) => first.parts(config),
      config: principal.config,
    });
    await leading.start();
    leads(first, first, second);
    const person = second.client(keys("person"));
    const { workflow_instance_id: id } = await trigger(person, "hello");
    const { rows } = await first.client(keys("person")).listAudit({ limit: 10 });
    expect(rows).toMatchObject([{ actor: "person", role: "client", action: "run.trigger" }]);
    expect(await refusal(trigger(second.client(keys("worker")), "hello"))).toBe(
      await refusal(trigger(first.client(keys("worker")), "hello")),
    );

    // A client that says that it is a member.
    const { serverKey, publicKey, secretKey } = keys("person");
    using socket = new Dealer({
      linger: 0,
      receiveTimeout: 60_000,
      curveServerKey: serverKey,
      curvePublicKey: publicKey,
      curveSecretKey: secretKey,
    });
    socket.connect(`tcp://127.0.0.1:${first.port}`);
    const admin = required(first.access).ownKeys.publicKey;
    await socket.send(["1", "", `FORWARD\x01${JSON.stringify({ public_key: admin })}`, "LSSECRETS\x01{}"]);
    expect(String((await socket.receive())[2])).toMatch(/^CLIENTERROR\x01The message has 2 frames/);

    const polls = person.waitRun(id, 30_000);
    await second.client(keys("person")).ping();
    store.revoke("person", Date.now());
    expect(await refusal(polls)).toMatch(/revoked|closed|broke|refuses/);
  });
});
