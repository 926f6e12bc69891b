import { describe, expect, test } from "bun:test";
import { createServer } from "node:net";
import { encodeLogBatch } from "../../src/contract/log-line.ts";
import type { AgentReport } from "../../src/contract/messages.ts";
import { CdktrError, PrincipalUnreachableError, UnprocessableError, UsageError } from "../../src/errors.ts";
import { historyHere } from "../../src/history/in-process.ts";
import { Principal } from "../../src/principal/principal.ts";
import { DataDirectoryInUseError } from "../../src/storage/operational/store.ts";
import { Dealer, Push } from "../../src/zmq/index.ts";
import { RawPeer } from "../hostile/raw-peer.ts";
import { keptAliveAt } from "../support/connections.ts";
import { until } from "../support/until.ts";
import { failure, required, TestPrincipal } from "./support.ts";

/** A port that is already in use. */
async function takenPort(): Promise<{ port: number; [Symbol.asyncDispose](): Promise<void> }> {
  const server = createServer();
  await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  return { port, [Symbol.asyncDispose]: () => new Promise((closed) => server.close(() => closed())) };
}

test("the kernel asks the silent peers of every port whether they are still there", async () => {
  await using cluster = await new TestPrincipal().start();
  for (const port of Object.values(cluster.ports)) {
    const peer = await RawPeer.connect(port);
    await until("the connection is watched", () => keptAliveAt(port) > 0);
    peer?.reset();
  }
});

describe("a principal that cannot start", () => {
  for (const setting of [
    "CDKTR_PRINCIPAL_PORT",
    "CDKTR_LOGS_LISTENING_PORT",
    "CDKTR_LOGS_PUBLISHING_PORT",
  ] as const) {
    test(`says that the port of ${setting} is taken`, async () => {
      await using taken = await takenPort();
      await using cluster = new TestPrincipal({ config: { [setting]: taken.port } });
      const error = await failure(cluster.start());
      expect(error).toBeInstanceOf(CdktrError);
      expect(error.message).toContain(`Port ${taken.port} of 127.0.0.1 is taken`);
      expect((error as CdktrError).hint).toContain(setting);
    });
  }

  test("refuses to be open to others without keys, and says what that would mean", async () => {
    await using cluster = new TestPrincipal();
    for (const host of ["0.0.0.0", "10.0.0.1", "::", "example.org"]) {
      const principal = new Principal({
        history: historyHere(),
        config: { ...cluster.config, CDKTR_PRINCIPAL_HOST: host },
        log: cluster.book.log,
      });
      const error = await failure(principal.start());
      expect(error).toBeInstanceOf(UsageError);
      expect(error.message).toContain("could run any command");
      expect((error as CdktrError).hint).toContain("--insecure");
    }
    const open = new Principal({
      history: historyHere(),
      config: { ...cluster.config, CDKTR_PRINCIPAL_HOST: "0.0.0.0" },
      log: cluster.book.log,
      insecure: true,
    });
    await open.start();
    await open.stop();
  });

  test("names an address that is not of this machine", async () => {
    await using cluster = new TestPrincipal();
    const principal = new Principal({
      history: historyHere(),
      config: { ...cluster.config, CDKTR_PRINCIPAL_HOST: "192.0.2.1" },
      log: cluster.book.log,
      insecure: true,
    });
    const error = await failure(principal.start());
    expect(error.message).toContain("192.0.2.1 is not an address of this machine");
  });

  test("because another works on the same data directory leaves that one alone", async () => {
    await using cluster = await new TestPrincipal().start();
    const second = new Principal({ history: historyHere(), config: cluster.config, log: cluster.book.log });
    const error = await failure(second.start());
    expect(error).toBeInstanceOf(DataDirectoryInUseError);
    expect((error as CdktrError).hint).toContain("CDKTR_APP_DATA_DIRECTORY");
    await cluster.client().runTask("hello", { dedupe_key: "x" });
  });
});

describe("a principal that stops", () => {
  test("answers those who wait, keeps what waits, and has everything in the history", async () => {
    await using cluster = await new TestPrincipal().start();
    const client = cluster.client();
    const agent = await cluster.agent();
    const { workflow_instance_id: done } = await client.runTask("hello", { dedupe_key: "1" });
    await agent.execute(required(await agent.fetch()));
    const { workflow_instance_id: id } = await client.runTask("hello", { dedupe_key: "2" });
    const session = { agent_id: agent.id, session_id: agent.sessionId, wait_ms: 30_000 };
    using raw = new Dealer({ linger: 0, receiveTimeout: 20_000 });
    raw.connect(`tcp://127.0.0.1:${cluster.ports.api}`);
    await agent.fetch();
    for (const request of [
      `WAITRUN\x01{"workflow_instance_id":"${id}","wait_ms":30000}`,
      `FETCHWORKFLOW\x01${agent.id}\x01${JSON.stringify(session)}`,
      `AGENTHEARTBEAT\x01${JSON.stringify({ ...session, running: [], running_tasks: 0 })}`,
      "PING",
    ]) {
      await raw.send(["", request]);
    }
    // Requests of a connection are taken in order: with this answer all have arrived.
    expect((await raw.receive())[1]?.toString()).toBe("PONG");
    const principal = required(cluster.principal);
    await Promise.all([principal.stop(), principal.stop()]);
    const replies = [await raw.receive(), await raw.receive(), await raw.receive()];
    const kinds = replies.map(([, reply]) => required(reply).toString().split("\x01")[0]);
    expect(kinds.sort()).toEqual(["OK", "OK", "SUCCESS"]);

    await cluster.stop();
    await cluster.start();
    const again = cluster.client();
    // The agent was given it.
    expect((await again.getRun(id)).status).toBe("RUNNING");
    expect((await again.getRun(done)).status).toBe("COMPLETED");
    const { rows } = await again.queryDatabase({ sql: "SELECT count(*) FROM workflow_run_status" });
    expect(rows).toEqual([[5]]);
  });

  test("does not wait for statements and exports, however long they would take", async () => {
    await using cluster = await new TestPrincipal().start();
    const client = cluster.client(20_000);
    const endless = "SELECT count(*) FROM range(1000000000000) t(i) WHERE i % 7 = 3";
    // Once they have met, the requests of a client are sent at once, and taken in order: with the answer to the second, both have arrived.
    await client.ping();
    const asked = failure(client.queryDatabase({ sql: endless }));
    await client.queryDatabase({ sql: "SELECT 1" });
    const began = performance.now();
    await required(cluster.principal).stop();
    expect(performance.now() - began).toBeLessThan(20_000);
    const error = await asked;
    // A peer that is too busy to read it in time loses the last reply, see LAST_REPLIES_MS, and asks again.
    if (!(error instanceof PrincipalUnreachableError)) {
      expect(error).toBeInstanceOf(UnprocessableError);
      expect(error.message).toContain("The principal is stopping.");
    }
  }, 180_000);

  test("before it started, or twice, does nothing", async () => {
    await using cluster = new TestPrincipal();
    const principal = new Principal({
      history: historyHere(),
      config: cluster.config,
      log: cluster.book.log,
    });
    await principal.stop();
    await principal.stop();
    await cluster.start();
  });

  test("while it starts, leaves nothing open: the next one starts on the same files", async () => {
    await using cluster = new TestPrincipal();
    const principal = new Principal({
      history: historyHere(),
      config: cluster.config,
      log: cluster.book.log,
    });
    const started = principal.start();
    await principal.stop();
    await started;
    await cluster.start();
    await cluster.client().ping();
  });
});

test("a log whose last lines have not arrived says so, and by which agent they are", async () => {
  await using cluster = await new TestPrincipal().start();
  const client = cluster.client();
  const agent = await cluster.agent();
  await client.runTask("hello", { dedupe_key: "1" });
  const run = required(await agent.fetch());
  await agent.execute(run, "RUNNING");
  await agent.send({ ...agent.runReport(run, "COMPLETED"), log_seq: 3 } as AgentReport);
  const workflow_instance_id = run.workflow_instance_id;
  const missing = `The end of the log is not shown: up to 3 lines have not arrived from agent ${agent.id}.`;
  expect(await client.searchLogs({ workflow_instance_id })).toMatchObject({
    rows: [],
    warning: expect.stringContaining(missing),
  });
  const lines = await client.call("QUERYLOGS", { workflow_instance_id });
  expect(lines).toEqual([expect.stringContaining(`[WARN] cdktr: ${missing}`)]);
  using push = new Push({ linger: 0 });
  push.connect(`tcp://127.0.0.1:${cluster.ports.logsListening}`);
  const text = `hello\x01Hello\x01${workflow_instance_id}\x01Only\x01t-1\x01${Date.now()}\x01INFO\x01text`;
  const batch = { agent_id: agent.id, stream_id: agent.streamId, first_seq: 1, lines: [text, text, text] };
  await push.send(encodeLogBatch(batch));
  const page = await client.searchLogs({ workflow_instance_id });
  expect(page.rows).toHaveLength(3);
  expect(page.warning).toBeNull();
});

test("a principal describes itself", async () => {
  await using cluster = await new TestPrincipal().start();
  const info = await cluster.client().info();
  expect(info).toMatchObject({
    principal_id: cluster.principal?.id,
    pid: process.pid,
    api_port: cluster.ports.api,
    logs_listening_port: cluster.ports.logsListening,
    workflows: 1,
    invalid_workflow_files: [],
    runs: { pending: 0, running: 0 },
    history: { available: true, error: null },
  });
});
