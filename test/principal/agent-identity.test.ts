/** Which process an agent's id belongs to: after restarts of the process and of its host, and when there are copies of it. */
import { describe, expect, test } from "bun:test";
import type { AgentDescription } from "../../src/contract/messages.ts";
import { PrincipalFailedError, RequestUnprocessableError } from "../../src/protocol/client.ts";
import { FakeAgent, failure, required, TestPrincipal } from "./support.ts";

/** A process that returns the tokens that it gets, as an agent does. */
class Process extends FakeAgent {
  token: string | undefined;

  async enter(follows?: AgentDescription["follows"], reportSeq?: number): Promise<this> {
    const orders = await this.register([], {
      ...(this.token === undefined ? {} : { last_token: this.token }),
      ...(follows === undefined ? {} : { follows }),
      ...(reportSeq === undefined ? {} : { report_seq: reportSeq }),
    });
    this.token = orders.contact_token;
    return this;
  }

  async beat(waitMs = 0): Promise<void> {
    const token = required(this.token);
    this.token = required((await this.heartbeat([], waitMs, { contact_token: token })).contact_token);
  }

  /** One with the same memory, as from a snapshot of its machine. */
  copy(cluster: TestPrincipal): Process {
    const copy = new Process(cluster.client(), this.id, this);
    copy.token = this.token;
    copy.seq = this.seq;
    return copy;
  }

  /** Sends heartbeats until told to end. */
  live(): () => Promise<void> {
    let lives = true;
    const living = (async () => {
      while (lives) await this.beat(30);
    })();
    return () => {
      lives = false;
      return living;
    };
  }
}

/** A process of the agent; with the outbox of another one if that is given. */
const start = (cluster: TestPrincipal, before?: Process) =>
  new Process(cluster.client(), "agent-1", before === undefined ? {} : { streamId: before.streamId });

const restarted = (session_id: string, up_ms = 0, boot_id = "a boot before") => ({
  session_id,
  in_place: false,
  restarted: { boot_id, up_ms },
});

describe("an agent whose host was restarted", () => {
  test("is taken at once, and delivers the end of a run before that run is given to others", async () => {
    await using cluster = await new TestPrincipal().start();
    const client = cluster.client();
    const { workflow_instance_id: done } = await client.runTask("hello", { dedupe_key: "done" });
    const { workflow_instance_id: broken } = await client.runTask("hello", { dedupe_key: "broken" });
    const former = await start(cluster).enter();
    const runs = [required(await former.fetch()), required(await former.fetch())];
    for (const run of runs) await former.send(former.runReport(run, "RUNNING"));
    const end = former.runReport(
      required(runs.find((run) => run.workflow_instance_id === done)),
      "COMPLETED",
    );

    const back = start(cluster, former);
    await back.enter(restarted(former.sessionId), end.seq);
    await cluster.book.waitFor(/The host of agent agent-1 was restarted: its former process .* has ended/);
    expect((await client.getRun(done)).status).toBe("RUNNING");
    await back.send(end);
    expect(await client.getRun(done)).toMatchObject({ status: "COMPLETED", attempt: 1 });
    expect(required(await back.fetch())).toMatchObject({ workflow_instance_id: broken, attempt: 2 });
    expect((await failure(former.fetch(0))).message).toContain("register first");
  });

  test("is taken at once with a new stream too, because nothing waited in its outbox", async () => {
    await using cluster = await new TestPrincipal().start();
    const former = await start(cluster).enter();
    const back = await start(cluster).enter(restarted(former.sessionId));
    await back.beat();
  });

  test("is not believed while its former process answers, nor if it was up when that was last heard", async () => {
    await using cluster = await new TestPrincipal().start();
    const original = await start(cluster).enter();
    const copy = start(cluster, original);
    const stop = original.live();
    const refused = await failure(copy.enter(restarted(original.sessionId)));
    expect(refused).toBeInstanceOf(RequestUnprocessableError);
    expect(refused.message).toContain("in use twice");
    await stop();
    const told = await failure(copy.enter(restarted(original.sessionId, 3_600_000)));
    expect(told).toBeInstanceOf(PrincipalFailedError);
    expect(told.message).toContain("may still be alive");
    await original.beat();
  });

  test("together with that of the principal is taken, however long it is up", async () => {
    await using cluster = await new TestPrincipal().start();
    const former = await start(cluster).enter();
    await cluster.stop();
    cluster.forgetBoot("the boot of both");
    await cluster.start();
    const back = start(cluster, former);
    expect((await failure(back.enter(restarted(former.sessionId, 1e9, "another")))).message).toContain(
      "alive",
    );
    await back.enter(restarted(former.sessionId, 1e9, "the boot of both"));
  });
});

describe("a copy of a process, which goes on from the same memory", () => {
  test("is refused while the original answers; the original notices nothing", async () => {
    await using cluster = await new TestPrincipal().start();
    const original = await start(cluster).enter();
    await original.beat();
    const copy = original.copy(cluster);
    for (let i = 0; i < 3; i++) await original.beat();
    for (const request of [copy.beat(), copy.heartbeat([], 0, { last_token: required(copy.token) })])
      expect((await failure(request)).message).toContain("register first");
    const stop = original.live();
    const refused = await failure(copy.enter());
    expect(refused).toBeInstanceOf(RequestUnprocessableError);
    expect(refused.message).toMatch(/agent-1" is in use twice: testhost pid 4711 answers/);
    // Neither is its next process, which follows the session of both in what looks like the place of both.
    const next = start(cluster, original);
    const follows = { session_id: original.sessionId, in_place: true };
    expect((await failure(next.enter(follows))).message).toContain("in use twice");
    await stop();
    await original.beat();
    // An ended original leaves the id to whoever follows.
    await next.enter(follows);
    await next.beat();
  });

  test("cannot fetch runs or report about them once the original is ahead", async () => {
    await using cluster = await new TestPrincipal().start();
    const { workflow_instance_id: id } = await cluster.client().runTask("hello", { dedupe_key: "x" });
    const original = await start(cluster).enter();
    await original.beat();
    const { token } = original;
    for (let i = 0; i < 3; i++) await original.beat();
    const last_token = required(token);
    const who = { session_id: original.sessionId, wait_ms: 0, labels: {}, fetch_id: "one" };
    expect(
      (await failure(original.client.fetchWorkflow("agent-1", { ...who, last_token }))).message,
    ).toContain("register first");
    const run = required(await original.fetch());
    const report = original.runReport(run, "COMPLETED");
    const batch = { agent_id: "agent-1", session_id: original.sessionId, stream_id: original.streamId };
    expect(
      (await failure(original.client.call("AGENTREPORT", { ...batch, last_token, reports: [report] })))
        .message,
    ).toContain("register first");
    // It was held for the agent when it was given.
    expect((await cluster.client().getRun(id)).status).toBe("RUNNING");
    await original.send(report);
    expect((await cluster.client().getRun(id)).status).toBe("COMPLETED");
  });

  test("of two that are at the same point, the second to return its token is behind", async () => {
    await using cluster = await new TestPrincipal().start();
    const one = await start(cluster).enter();
    const other = one.copy(cluster);
    await one.beat();
    await other.beat();
    await other.beat();
    expect((await failure(one.beat())).message).toContain("register first");
    const stop = other.live();
    expect((await failure(one.enter())).message).toContain("in use twice");
    await stop();
  });

  test("or a process that was put back in time, is taken when nobody else answers", async () => {
    await using cluster = await new TestPrincipal().start();
    const process = await start(cluster).enter();
    const earlier = process.copy(cluster);
    await process.beat();
    await process.beat();
    expect((await failure(earlier.beat())).message).toContain("register first");
    await earlier.enter();
    await earlier.beat();
    expect((await failure(process.beat())).message).toContain("register first");
  });
});

test("a process whose replies get lost stays the same process, also for a principal that was restarted", async () => {
  await using cluster = await new TestPrincipal().start();
  const process = await start(cluster).enter();
  const beat = (token: string) => process.heartbeat([], 0, { contact_token: token });
  const first = required(process.token);
  for (let lost = 0; lost < 200; lost++) await beat(first);
  const second = required((await beat(first)).contact_token);
  const third = required((await beat(second)).contact_token);
  await cluster.stop();
  await cluster.start();
  const back = new Process(cluster.client(), "agent-1", process);
  back.token = third;
  await back.beat();
  await back.enter();
  await back.beat();
});
