import { describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  cpSync,
  existsSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { createConsola } from "consola";
import { systemClock } from "../../src/clock.ts";
import { encodeLogBatch } from "../../src/contract/log-line.ts";
import type { Role } from "../../src/contract/roles.ts";
import { VERB_NAMES, VERBS } from "../../src/contract/verbs.ts";
import { type CurveClientKeys, curveOptions, PrincipalClient } from "../../src/protocol/client.ts";
import { Access } from "../../src/protocol/doors/access.ts";
import { KeyStore, tokenStatus } from "../../src/protocol/doors/key-store.ts";
import { decodeJoinToken, encodeJoinToken } from "../../src/protocol/join-token.ts";
import { readKeyFile } from "../../src/protocol/key-file.ts";
import { curveKeyPair, curvePublicKey, Push, Subscriber } from "../../src/zmq/index.ts";
import { establishedAt } from "../support/connections.ts";
import { until } from "../support/until.ts";
import { refusal, Secured } from "./secured.ts";
import { FakeAgent, required, TestPrincipal, temporaryDirectory, workflowText } from "./support.ts";

setDefaultTimeout(60_000);

function accessOf(store: KeyStore): Access {
  return new Access({ store, clock: systemClock, log: createConsola({ level: 0 }) });
}

describe("a secured principal", () => {
  test("answers whom it knows, and tells everybody else what is wrong", async () => {
    await using secured = await Secured.start();
    const admin = secured.keys("admin");
    await secured.client(admin).ping();
    // The scheduler and the principal's own announcement use a key that is nowhere on disk.
    const own = secured.test.principal?.ownKeys;
    expect((await secured.client(own).info()).api_port).toBe(secured.test.ports.api);

    expect(await refusal(secured.client(undefined).ping())).toContain(
      "is secured, and this client has no key",
    );
    const stranger = { ...curveKeyPair(), serverKey: admin.serverKey, name: "mallory" };
    expect(await refusal(secured.client(stranger).ping())).toMatch(/refuses the key mallory: .*not known/);
    const elsewhere = { ...admin, serverKey: curveKeyPair().publicKey };
    expect(await refusal(secured.client(elsewhere).ping())).toMatch(
      /breaks off every handshake with the key admin in .*admin\.key: probably it is not the principal/,
    );
    await using open = await new TestPrincipal().start();
    const misled = new PrincipalClient({
      host: "127.0.0.1",
      port: open.ports.api,
      timeoutMs: 10_000,
      curve: admin,
    });
    expect(await refusal(misled.ping())).toContain("is not secured, but this client has the key admin");
    await misled.close();
  });

  test("is the same client on every host that has its key, and nobody else is", async () => {
    await using secured = await Secured.start();
    using copy = temporaryDirectory();
    cpSync(secured.store.directory, join(copy.path, "keys"), { recursive: true });
    const member = accessOf(new KeyStore(copy.path));
    await member.start();
    await secured.client(member.ownKeys).ping();
    expect(member.ownKeys).toEqual(required(secured.test.principal?.ownKeys));
    await member.stop();

    using other = temporaryDirectory();
    const elsewhere = new KeyStore(other.path);
    elsewhere.init(Date.now());
    const stranger = accessOf(elsewhere);
    await stranger.start();
    const { serverKey } = secured.keys("admin");
    expect(await refusal(secured.client({ ...stranger.ownKeys, serverKey }).ping())).toMatch(/not known/);
    await stranger.stop();
  });

  test("enforces the role of each verb", async () => {
    await using secured = await Secured.start();
    const clients: Record<string, PrincipalClient> = {
      admin: secured.client(secured.keys("admin")),
      client: secured.client(await secured.add("ci", "client")),
      viewer: secured.client(await secured.add("screen", "viewer")),
      agent: secured.client(await secured.add("worker", "agent")),
    };
    for (const verb of VERB_NAMES) {
      for (const [role, client] of Object.entries(clients)) {
        // Fields that none of them takes: what is allowed fails, or answers, in another way.
        const text = await refusal(client.request(verb, ["?", "?", "?", "?", "?", "?", "?"]));
        const allowed = VERBS[verb].roles.includes(role as Role);
        const forbidden = /needs a key with the role|needs a join token/.test(text);
        expect(`${verb} as ${role}: ${forbidden ? "forbidden" : "allowed"}`).toBe(
          `${verb} as ${role}: ${allowed ? "allowed" : "forbidden"}`,
        );
      }
    }
    expect(
      await refusal(clients.client?.fetchWorkflow("x", { wait_ms: 0, fetch_id: "f" }) ?? Promise.resolve()),
    ).toBe(
      "FETCHWORKFLOW needs a key with the role agent; the key ci has the role client. (On the principal's host: cdktr keys add NAME --role agent)",
    );
    expect(await refusal(clients.viewer?.runTask("etl", { dedupe_key: "x" }) ?? Promise.resolve())).toBe(
      "RUNTASK needs a key with the role client; the key screen has the role viewer. (On the principal's host: cdktr keys add NAME --role client)",
    );
  });

  test("revoking closes connections on all three sockets and prevents new ones; other keys are not affected", async () => {
    await using secured = await Secured.start();
    const { ports, book } = secured.test;
    const worker = await secured.add("worker", "agent");
    const watcher = await secured.add("watcher", "client");
    const friend = await secured.add("friend", "client");
    const agent = await secured.agent(worker, "worker");
    // Waits through everything that follows, on one connection.
    const patient = secured.client(friend, 60_000);
    const revision = await patient.watchWorkflows({ wait_ms: 0 });
    const waitsOn = patient.watchWorkflows({ revision, wait_ms: 50_000 });
    using push = new Push(curveOptions(worker));
    push.connect(`tcp://127.0.0.1:${ports.logsListening}`);
    const send = (seq: number, text: string) =>
      push.send(
        encodeLogBatch({
          agent_id: "worker",
          stream_id: agent.streamId,
          first_seq: seq,
          lines: [`wf\x01Wf\x01run\x01task\x01t-1\x01${Date.now()}\x01INFO\x01${text}`],
        }),
      );
    const subscribe = async (curve: CurveClientKeys, heard: string[]) => {
      const socket = new Subscriber({ ...curveOptions(curve), linger: 0 });
      socket.subscribe("");
      const connected = new Promise<void>((done) => socket.events.on("handshake", () => done()));
      socket.connect(`tcp://127.0.0.1:${ports.logsPublishing}`);
      await connected;
      void (async () => {
        for await (const [frame] of socket) heard.push(String(frame).split("\x01")[7] ?? "");
      })();
      return socket;
    };
    const seen: string[] = [];
    const heard: string[] = [];
    using revokedSub = await subscribe(watcher, seen);
    using friendSub = await subscribe(friend, heard);
    let disturbed = 0;
    friendSub.events.on("disconnected", () => disturbed++);
    // Until the subscriptions have arrived, lines are published to nobody.
    let seq = 0;
    await until("both hear the lines", async () => {
      await send(++seq, `line ${seq}`);
      return seen.length > 0 && heard.length > 0;
    });
    expect(establishedAt(ports.logsPublishing)).toBe(2);

    const cut = new Promise<void>((done) => revokedSub.events.on("disconnected", () => done()));
    const refused = new Promise<string | undefined>((done) =>
      revokedSub.events.on("handshakeFailed", ({ error }) => done(error?.code)),
    );
    await secured.revoke("watcher");
    const sentBefore = seq;
    await send(++seq, `line ${seq}`);
    await cut;
    expect(await refused).toBe("EACCES");
    for (let count = 0; count < 20; count++) await send(++seq, `line ${seq}`);
    await until("the last line is heard", () => heard.at(-1) === `line ${seq}`);
    // Not one more for the revoked one; not one less for the other.
    expect(seen.filter((text) => Number(text.slice(5)) > sentBefore)).toEqual([]);
    const first = Number(heard[0]?.slice(5));
    expect(heard).toEqual(Array.from({ length: seq - first + 1 }, (_, index) => `line ${first + index}`));

    // A long poll that waits when its key is revoked gets no answer but that.
    const waiting = refusal(agent.fetch(60_000));
    // Requests of a connection are taken in order.
    await agent.client.ping();
    const apiConnections = establishedAt(ports.api);
    expect(establishedAt(ports.logsListening)).toBe(1);
    const intakeCut = new Promise<void>((done) => push.events.on("disconnected", () => done()));
    await secured.revoke("worker");
    expect(await waiting).toStartWith("The key worker was revoked");
    await intakeCut;
    await until("its connection is gone", () => establishedAt(ports.api) < apiConnections);
    push.trySend("forged");
    expect(await refusal(agent.client.ping())).toMatch(/refuses the key worker in .*: it was revoked/);
    // It may be there for a moment, until it is refused.
    await until("it is refused", () => establishedAt(ports.logsListening) === 0);
    expect(book.count(/Revoked: worker/)).toBe(1);

    // The long poll of somebody else was there all the time, and so was the live log.
    secured.test.write("another.yml", workflowText());
    expect(await waitsOn).not.toBe(revision);
    expect(disturbed).toBe(0);
    await until("one subscriber is left", () => establishedAt(ports.logsPublishing) === 1);
    expect(heard.includes("forged")).toBe(false);
  });

  test("a key that is created and revoked between two checks is reported as revoked, never as known", async () => {
    await using secured = await Secured.start();
    secured.store.add("brief", "agent", Date.now());
    await secured.revoke("brief");
    expect(secured.test.book.count(/key brief .* is now known/)).toBe(0);
    expect(await refusal(secured.client(secured.keys("brief"), 2000).ping())).toContain("refuses");
  });

  test("an agent's id belongs to the key that registered it: no other agent speaks for it, takes its work or writes its logs", async () => {
    await using secured = await Secured.start();
    const { ports, book } = secured.test;
    const good = await secured.add("good", "agent");
    const bad = await secured.add("bad", "agent");
    const admin = secured.client(secured.keys("admin"));
    // Two agents of one host, with one key.
    const first = await secured.agent(good, "host");
    const second = await secured.agent(good, "host-2");
    const { workflow_instance_id: runId } = await admin.runTask("hello", { dedupe_key: "1" });
    const run = required(await first.fetch());
    await first.send(first.runReport(run, "RUNNING"));
    const mallory = await secured.agent(bad, "mallory");

    const impostor = new FakeAgent(secured.client(bad), "host", {
      sessionId: first.sessionId,
      streamId: first.streamId,
    });
    const foreign = 'The agent id "host" belongs to the key good: the key bad may not act for it.';
    for (const attempt of [
      () => impostor.register(),
      () => impostor.fetch(0),
      () => impostor.heartbeat(),
      () => impostor.heartbeat([], 0, { state: "leaving" }),
      () => impostor.send(impostor.runReport(run, "FAILED")),
      () => impostor.client.request("REGISTERAGENT", ["host"]),
      () => impostor.client.request("FETCHWORKFLOW", ["host"]),
      () => impostor.client.request("AGENTWORKFLOWSTATUS", ["host", run.workflow_id, runId, "FAILED"]),
      () => impostor.client.request("AGENTTASKSTATUS", ["host", "only", "t-1", runId, "FAILED"]),
    ])
      expect(await refusal(attempt())).toStartWith(foreign);
    // Its own name, but the numbers of the other one's stream.
    const thief = new FakeAgent(secured.client(bad), "mallory", {
      sessionId: mallory.sessionId,
      streamId: first.streamId,
    });
    expect(await refusal(thief.register())).toBe('The stream of agent "mallory" is another agent\'s.');
    expect(await refusal(thief.send(thief.runReport(run, "FAILED")))).toBe(
      'The stream of agent "mallory" is another agent\'s.',
    );

    using watcher = new Subscriber(curveOptions(secured.keys("admin")));
    watcher.subscribe("");
    watcher.connect(`tcp://127.0.0.1:${ports.logsPublishing}`);
    const heard: string[] = [];
    void (async () => {
      for await (const [frame] of watcher) heard.push(String(frame).split("\x01")[7] ?? "");
    })();
    using goodPush = new Push(curveOptions(good));
    using badPush = new Push(curveOptions(bad));
    for (const push of [goodPush, badPush]) push.connect(`tcp://127.0.0.1:${ports.logsListening}`);
    const line = (text: string, of = runId) =>
      `hello\x01Hello\x01${of}\x01Only\x01t-1\x01${Date.now()}\x01INFO\x01${text}`;
    const batch = (agent: FakeAgent, seq: number, ...lines: string[]) =>
      encodeLogBatch({ agent_id: agent.id, stream_id: agent.streamId, first_seq: seq, lines });
    let seq = 0;
    await until("the lines are heard", async () => {
      await goodPush.send(batch(first, ++seq, line("true 1")));
      return heard.includes("true 1");
    });
    await badPush.send(batch(first, seq + 1, line("forged: its stream")));
    await badPush.send(
      batch({ ...mallory, id: "mallory", streamId: first.streamId } as FakeAgent, seq + 1, line("forged")),
    );
    await badPush.send(
      batch({ ...mallory, id: "mallory", streamId: "none" } as FakeAgent, 1, line("forged")),
    );
    // Between lines of which the numbers count, and after one that looks like those around it.
    await badPush.send(
      batch(
        mallory,
        1,
        line("own 1", "forgotten"),
        line("forged"),
        `x\x01${"forgotten"}\x01forgotten\x01T\x01t\x011\x01INFO\x01own 2`,
        `x\x01forgotten\x01${runId}\x01T\x01t\x011\x01INFO\x01forged`,
        line("own 3", "forgotten"),
      ),
    );
    await badPush.send(line("forged: without a number"));
    await until("the last one is heard", () => heard.includes("own 3"));
    await goodPush.send(batch(first, seq + 1, line("true 2")));
    await until("the true one is heard", () => heard.includes("true 2"));
    await book.waitFor(/may not act for agent "host"/);
    expect(heard.filter((text) => text !== "true 1")).toEqual(["own 1", "own 2", "own 3", "true 2"]);
    await until(
      "the principal knows that it has them",
      async () => (await first.heartbeat([run])).log_received_seq === seq + 1,
    );
    await first.execute(run);
    expect((await admin.getRun(runId)).status).toBe("COMPLETED");
    await second.heartbeat();
  });

  test("an agent's id outlives the principal and the agent; a revoked key gives it free, and an admin may take it", async () => {
    await using secured = await Secured.start();
    const old = await secured.add("old", "agent");
    const fresh = await secured.add("fresh", "agent");
    const agent = await secured.agent(old, "host");
    await agent.heartbeat([], 0, { state: "leaving" });
    await secured.restart();
    const successor = new FakeAgent(secured.client(fresh), "host");
    expect(await refusal(successor.register())).toMatch(
      /belongs to the key old: the key fresh may not act for it\. \(.*--suffix.*cdktr keys revoke old\)/,
    );
    expect(await refusal(successor.heartbeat())).toMatch(/belongs to the key old/);
    await secured.revoke("old");
    // Nobody's: it has to register first.
    expect(await refusal(successor.heartbeat())).toContain("register first");
    await successor.register();
    await successor.heartbeat();

    // An admin's own agent of that id, once the other is gone.
    await successor.heartbeat([], 0, { state: "leaving" });
    const taken = new FakeAgent(secured.client(secured.keys("admin")), "host");
    await taken.register();
    expect(await refusal(successor.heartbeat())).toContain("register first");
    expect(await refusal(successor.register())).toContain("agent id in use");
    await taken.heartbeat([], 0, { state: "leaving" });
    await successor.register();
  });

  test("an agent may not watch logs, a client may not deliver them", async () => {
    await using secured = await Secured.start();
    const { ports } = secured.test;
    const tries = [
      [new Subscriber(curveOptions(await secured.add("a", "agent"))), ports.logsPublishing],
      [new Push(curveOptions(await secured.add("c", "client"))), ports.logsListening],
    ] as const;
    for (const [socket, port] of tries) {
      const failed = new Promise<string | undefined>((done) =>
        socket.events.on("handshakeFailed", ({ error }) => done(error?.code)),
      );
      socket.connect(`tcp://127.0.0.1:${port}`);
      expect(await failed).toBe("EACCES");
      socket.close();
    }
  });

  test("a token only allows joining, within its uses and lifetime; the same host may repeat the request", async () => {
    await using secured = await Secured.start();
    const make = (options: { ttlMs?: number; uses?: number }) => {
      const made = secured.store.createToken({
        role: "agent",
        ttlMs: options.ttlMs ?? 3_600_000,
        uses: options.uses ?? 1,
        nowMs: Date.now(),
      });
      return { ...made, publicKey: curvePublicKey(made.secretKey) };
    };
    const known = (token: CurveClientKeys) => retryUntilKnown(secured, token);
    const token = make({});
    const client = await known(token);
    expect(await refusal(client.listWorkflows())).toContain("a join token is only good for joining");
    expect(await refusal(client.ping())).toContain("a join token is only good for joining");
    using push = new Push(curveOptions(token));
    const failed = new Promise<string | undefined>((done) =>
      push.events.on("handshakeFailed", ({ error }) => done(error?.code)),
    );
    push.connect(`tcp://127.0.0.1:${secured.test.ports.logsListening}`);
    expect(await failed).toBe("EACCES");

    const mine = curveKeyPair();
    const joined = await client.call("JOIN", { public_key: mine.publicKey, name: "host b/1" });
    expect(joined).toMatchObject({
      name: "host-b-1",
      role: "agent",
      logs_listening_port: secured.test.ports.logsListening,
    });
    expect(await client.call("JOIN", { public_key: mine.publicKey, name: "host b/1" })).toEqual(joined);
    expect(await refusal(client.call("JOIN", { public_key: curveKeyPair().publicKey, name: "b" }))).toMatch(
      /used up: host-b-1 joined with it at/,
    );
    expect(await refusal(secured.client({ ...mine, serverKey: token.serverKey }).ping())).toBe(
      "it was not refused",
    );

    const expired = await known(make({ ttlMs: 1 }));
    expect(await refusal(expired.call("JOIN", { public_key: mine.publicKey, name: "late" }))).toMatch(
      /expired at/,
    );
    const two = await known(make({ uses: 2 }));
    for (const name of ["host-b-1-2", "host-b-1-3"])
      expect((await two.call("JOIN", { public_key: curveKeyPair().publicKey, name: "host-b-1" })).name).toBe(
        name,
      );
  });
});

test("strangers, noise and half-open connections leave a secured principal as it was", async () => {
  await using secured = await Secured.start();
  const { ports } = secured.test;
  const admin = secured.client(secured.keys("admin"));
  const raw: { end(): unknown }[] = [];
  const strangers: Push[] = [];
  const serverKey = secured.keys("admin").serverKey;
  let refused = 0;
  for (let round = 0; round < 100; round++) {
    for (const port of [ports.api, ports.logsListening, ports.logsPublishing]) {
      const socket = await Bun.connect({ hostname: "127.0.0.1", port, socket: { data() {}, error() {} } });
      raw.push(socket);
      // Nothing, the greeting of CURVE and no more, or noise.
      if (round % 3 === 1) socket.write(Buffer.from(`ff00000000000000017f0300${"43555256450000"}`, "hex"));
      if (round % 3 === 2) socket.write(crypto.getRandomValues(new Uint8Array(4096)));
      const stranger = new Push({ ...curveOptions({ ...curveKeyPair(), serverKey }), linger: 0 });
      stranger.events.on("handshakeFailed", () => refused++);
      stranger.connect(`tcp://127.0.0.1:${port}`);
      strangers.push(stranger);
    }
    if (round % 20 === 0) await admin.ping();
  }
  await until("all strangers are refused", () => refused >= strangers.length);
  const run = await admin.runTask("hello", { dedupe_key: "x" });
  expect((await admin.getRun(run.workflow_instance_id)).status).toBe("PENDING");
  for (const socket of [...raw]) socket.end();
  for (const socket of strangers) socket.close();
});

async function retryUntilKnown(secured: Secured, token: CurveClientKeys): Promise<PrincipalClient> {
  for (;;) {
    const client = secured.client(token);
    if (!/refuses the key/.test(await refusal(client.ping()))) return client;
  }
}

describe("joining", () => {
  const HOUR = 3_600_000;
  const all: (error: Error) => never = (error) => {
    throw error;
  };

  test("a token does not affect existing keys, and does not become a key itself", async () => {
    await using secured = await Secured.start();
    const { store, test: principal } = secured;
    const alice = await secured.add("alice", "client");
    const make = () => {
      const made = store.createToken({ role: "agent", ttlMs: HOUR, uses: 2, nowMs: Date.now() });
      return { ...made, publicKey: curvePublicKey(made.secretKey) };
    };
    const token = make();
    const other = make();
    const client = await retryUntilKnown(secured, token);
    const admin = secured.keys("admin");
    for (const public_key of [admin.publicKey, alice.publicKey, token.publicKey, other.publicKey]) {
      expect(await refusal(client.call("JOIN", { public_key, name: "mallory" }))).toStartWith(
        "public_key belongs to someone else",
      );
    }
    expect(await refusal(client.call("JOIN", { public_key: '"'.repeat(40), name: "mallory" }))).toStartWith(
      "public_key is not a key",
    );
    expect(store.clients(all).map(({ name, role }) => `${name} ${role}`)).toEqual([
      "admin admin",
      "alice client",
    ]);
    expect(await refusal(secured.client(admin).request("DRAINAGENT", ['{"agent_id":"x"}']))).toContain(
      "There is no agent",
    );
    // Whatever a host calls itself: a name of a file, and not one that is taken.
    for (const [name, expected] of [
      ["../../admin", "admin-2"],
      ["\u0001\n", "host-"],
    ] as const)
      expect((await client.call("JOIN", { public_key: curveKeyPair().publicKey, name })).name).toStartWith(
        expected,
      );
    expect(principal.book.lines.join("\n")).not.toContain(token.secretKey);

    // Revoked: who has it learns so, also where the principal writes it at that very moment.
    store.revokeToken(other.id, Date.now());
    const late = await retryUntilKnown(secured, other);
    const mine = curveKeyPair();
    expect(await refusal(late.call("JOIN", { public_key: mine.publicKey, name: "late" }))).toMatch(
      /was revoked at/,
    );
    expect(() => store.revokeToken(other.id, Date.now())).toThrow(/is revoked already/);
    expect(() => store.revokeToken(token.id, Date.now())).toThrow(/is used up already/);
    expect(() => store.revokeToken("../x", Date.now())).toThrow(/There is no join token/);
    expect(
      store
        .tokens(Date.now(), all)
        .map((known) => tokenStatus(known, Date.now()))
        .sort(),
    ).toEqual(["revoked", "used up"]);
    expect(store.tokens(Date.now() + 32 * 86_400_000, all)).toEqual([]);
    expect(readdirSync(store.tokensDirectory)).toEqual([]);
  });

  test("after a crash at any point: the same host gets its key, and no other host uses the token again", () => {
    using directory = temporaryDirectory();
    const store = new KeyStore(directory.path);
    store.init(1);
    const { id, secretKey } = store.createToken({ role: "agent", ttlMs: HOUR, uses: 1, nowMs: 1 });
    const tokenKey = curvePublicKey(secretKey);
    const mine = curveKeyPair().publicKey;
    expect(store.join(tokenKey, mine, "b", 2)).toEqual({ name: "b", role: "agent" });
    // Killed between the two writes: the use is counted, and the key not there.
    rmSync(join(store.clientsDirectory, "b.json"));
    expect(() => store.join(tokenKey, curveKeyPair().publicKey, "b", 3)).toThrow(/is used up: b joined/);
    expect(store.join(tokenKey, mine, "b", 3)).toEqual({ name: "b", role: "agent" });
    expect(store.clients(all).map(({ name }) => name)).toEqual(["admin", "b"]);
    // And somebody took the name before it came again.
    rmSync(join(store.clientsDirectory, "b.json"));
    store.add("b", "client", 4);
    expect(store.join(tokenKey, mine, "b", 5)).toEqual({ name: "b-2", role: "agent" });
    expect(store.join(tokenKey, mine, "b", 6)).toEqual({ name: "b-2", role: "agent" });
    expect(store.tokens(6, all)[0]?.used).toEqual([{ public_key: mine, name: "b-2", at_ms: 5 }]);
    // A key that was revoked does not come back by the token that it came with.
    store.revoke("b-2", 7);
    expect(() => store.join(tokenKey, mine, "b", 8)).toThrow(/The key b-2, .* was revoked at/);
    // Files that a crash left half-made, or somebody broke, are nobody's, and keep nobody else out.
    writeFileSync(join(store.tokensDirectory, "broken.json"), "{", { mode: 0o600 });
    const half = join(store.tokensDirectory, `.new-${crypto.randomUUID()}`);
    writeFileSync(half, "{", { mode: 0o600 });
    store.removeLeftovers(Date.now());
    expect(existsSync(half)).toBe(true);
    store.removeLeftovers(Date.now() + 3_600_000);
    expect(existsSync(half)).toBe(false);
    writeFileSync(join(store.tokensDirectory, `${id}.revoked`), "", { mode: 0o600 });
    const second = store.createToken({ role: "client", ttlMs: HOUR, uses: 1, nowMs: 9 });
    expect(store.join(curvePublicKey(second.secretKey), curveKeyPair().publicKey, "c", 10)).toEqual({
      name: "c",
      role: "client",
    });
    expect(() => store.join(tokenKey, mine, "b", 11)).toThrow(/This join token was revoked at/);
  });
});

describe("files of keys", () => {
  test("are private, and refused when they are not", async () => {
    await using test = new TestPrincipal();
    const store = new KeyStore(test.config.CDKTR_APP_DATA_DIRECTORY);
    const path = store.init(Date.now());
    store.add("x", "client", Date.now());
    for (const directory of [store.directory, store.clientsDirectory, store.tokensDirectory]) {
      expect(statSync(directory).mode & 0o777).toBe(0o700);
      for (const file of readdirSync(directory, { withFileTypes: true }))
        if (file.isFile()) expect(statSync(join(directory, file.name)).mode & 0o777).toBe(0o600);
    }
    chmodSync(path, 0o640);
    expect(() => readKeyFile(path)).toThrow(/others than its owner have access to it \(0640\)/);
    chmodSync(path, 0o600);
    chmodSync(store.directory, 0o750);
    expect(await refusal(test.start())).toMatch(/others than its owner have access to it \(0750\)/);
  });

  test.skipIf(process.getuid?.() !== 0 && !process.env.CI)(
    "that root makes belong to the service whose directory it is",
    () => {
      using directory = temporaryDirectory();
      chownSync(directory.path, 65534, 65534);
      const store = new KeyStore(directory.path);
      store.init(1);
      store.add("x", "client", 2);
      const { id } = store.createToken({ role: "agent", ttlMs: 1000, uses: 1, nowMs: 3 });
      store.revokeToken(id, 4);
      const files = readdirSync(store.directory, { recursive: true, withFileTypes: true });
      expect(files.length).toBeGreaterThan(6);
      for (const { parentPath, name } of files)
        expect(`${name} ${statSync(join(parentPath, name)).uid}`).toBe(`${name} 65534`);
    },
  );

  test("keep secrets to themselves: of clients the principal has public keys, and errors quote nothing", () => {
    using directory = temporaryDirectory();
    const store = new KeyStore(directory.path);
    const path = store.init(Date.now());
    const { key } = readKeyFile(path);
    expect(readFileSync(join(store.clientsDirectory, "admin.json"), "utf8")).not.toContain(key.secret_key);
    writeFileSync(path, JSON.stringify({ ...key, public_key: "x" }));
    expect(() => readKeyFile(path)).toThrow(/public_key is invalid/);
    writeFileSync(path, `{"secret_key": ${key.secret_key}`);
    try {
      readKeyFile(path);
    } catch (error) {
      expect(String(error)).not.toContain(key.secret_key.slice(0, 5));
    }
    expect(() => store.init(Date.now())).toThrow(/There are keys already/);
    expect(() => store.add("admin", "client", Date.now())).toThrow(/already/);
    expect(() => store.add("../x", "client", Date.now())).toThrow(/cannot be named/);
    expect(existsSync(join(directory.path, "x.key"))).toBe(false);
  });

  test("a key with a revoked name can be created again, and is different", () => {
    using directory = temporaryDirectory();
    const store = new KeyStore(directory.path);
    store.init(Date.now());
    const first = readKeyFile(store.add("x", "client", Date.now())).key;
    store.revoke("x", Date.now());
    expect(() => store.revoke("x", Date.now())).toThrow(/revoked already/);
    const second = readKeyFile(store.add("x", "agent", Date.now())).key;
    expect(second.public_key).not.toBe(first.public_key);
    const known = store.clients(() => {}).find(({ name }) => name === "x");
    expect(known).toMatchObject({ role: "agent", public_key: second.public_key, revoked_at_ms: null });
  });

  test("tokens are whole or refused, and never quoted", () => {
    const token = {
      host: "10.0.0.5",
      port: 5561,
      serverKey: curveKeyPair().publicKey,
      secretKey: curveKeyPair().secretKey,
    };
    const line = encodeJoinToken(token);
    expect(line).not.toMatch(/\s/);
    expect(decodeJoinToken(` ${line}\n`)).toEqual(token);
    for (const bad of [line.slice(0, -1), `${line}A`, line.replace("cdktr-join-", ""), "", "cdktr-join-"]) {
      try {
        decodeJoinToken(bad);
        throw new Error(`accepted ${bad}`);
      } catch (error) {
        expect(String(error)).toMatch(/not a join token|damaged or incomplete/);
        if (bad !== "") expect(String(error)).not.toContain(bad.slice(-20));
      }
    }
  });
});
