/** What becomes of each kind of trigger while its workflow is paused, and after that. Units of work are repeated. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import type { RunTaskOptions } from "../../src/contract/messages.ts";
import type { PrincipalClient } from "../../src/protocol/client.ts";
import { RequestUnprocessableError } from "../../src/protocol/client.ts";
import { required, TestPrincipal } from "./support.ts";

const RUN = '{config: !Subprocess {cmd: "true"}';
const ONE = `tasks: {a: ${RUN}}}\n`;
const CATCHUPS = ["none", "latest", "all"] as const;

describe("of a paused workflow", () => {
  let cluster: TestPrincipal;
  let client: PrincipalClient;

  beforeAll(async () => {
    const files = CATCHUPS.map((catchup) => [`${catchup}.yml`, `catchup: ${catchup}\n${ONE}`] as const);
    cluster = await new TestPrincipal({
      workflows: {
        ...Object.fromEntries(files),
        "own.yml": ONE,
        "calls.yml": "tasks: {child: {config: !Workflow {workflow: own}}}\n",
        "params.yml": `params: {day: {required: true}}\ncatchup: all\n${ONE}`,
        "placed.yml": `tasks: {a: ${RUN}, runs_on: {zone: eu}}}\n`,
        "split.yml": `tasks: {a: ${RUN}, runs_on: {zone: eu}}, b: ${RUN}, runs_on: {zone: us}}}\n`,
      },
    }).start();
    client = cluster.client();
  });
  afterEach(async () => {
    for (const { workflow_instance_id: id } of await client.listRuns({ status: "PENDING", limit: 100 }))
      await client.cancelRun(id);
  });
  afterAll(() => cluster[Symbol.asyncDispose]());

  const trigger = (id: string, options: Partial<RunTaskOptions> = {}) =>
    client.runTask(id, { dedupe_key: crypto.randomUUID(), ...options });
  const pause = (workflow_id: string, reason?: string) =>
    client.pauseWorkflow({ workflow_id, ...(reason === undefined ? {} : { reason }) });
  const resume = (workflow_id: string) => client.resumeWorkflow({ workflow_id });
  const idsOf = async (workflow_id: string) =>
    (await client.listRuns({ workflow_id, limit: 100 })).map((run) => run.workflow_instance_id).reverse();

  for (const catchup of CATCHUPS)
    for (const kind of ["listener:webhook", "listener:file", "listener:own", "workflow"])
      test(`an event (${kind}) is answered, and follows catchup: ${catchup}`, async () => {
        const before = await idsOf(catchup);
        await pause(catchup);
        const made: string[] = [];
        for (const dedupe_key of ["one", "two", "two", "three"]) {
          const key = `${kind} ${dedupe_key}`;
          const reply = await trigger(catchup, { trigger: kind, dedupe_key: key, trigger_depth: 1 });
          expect(reply).toEqual({ workflow_instance_id: reply.workflow_instance_id, missed: "paused" });
          made.push(reply.workflow_instance_id);
        }
        const [one = "", two = "", again = "", three = ""] = made;
        expect(again).toBe(two);
        expect(await idsOf(catchup)).toEqual(before);
        const kept = { none: [], latest: [three], all: [one, two, three] }[catchup];
        expect(await resume(catchup)).toMatchObject({ held_runs: 0, event_runs: kept.length });
        expect(await idsOf(catchup)).toEqual([...before, ...kept]);
        // The same event again is the same run, or none.
        const last = await trigger(catchup, { trigger: kind, dedupe_key: `${kind} three`, trigger_depth: 1 });
        expect(last).toEqual({ workflow_instance_id: three });
        expect(await idsOf(catchup)).toEqual([...before, ...kept]);
        for (const id of kept) expect((await client.getRun(id)).trigger).toBe(kind);
      });

  test("a firing of its schedule is not accepted now", async () => {
    await pause("own");
    const fire = trigger("own", { trigger: "cron", scheduled_time_ms: 1000, dedupe_key: "cron:own:1000" });
    const refusal = await fire.catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(RequestUnprocessableError);
    expect(String(refusal)).toContain("Workflow own is paused.");
    await resume("own");
    const id = await trigger("own", {
      trigger: "cron",
      scheduled_time_ms: 1000,
      dedupe_key: "cron:own:1000",
    });
    expect(await idsOf("own")).toContain(id.workflow_instance_id);
  });

  test("what people ask for is held, with the reason, and can be cancelled; the rest goes on in order", async () => {
    await pause("own", "migration");
    const ids: string[] = [];
    for (const kind of ["cli", "tui", "api"]) {
      const { workflow_instance_id: id, notes, missed } = await trigger("own", { trigger: kind });
      expect([notes, missed]).toEqual([
        [
          expect.stringMatching(
            /^Workflow own is paused since \S+Z( by \S+)?: migration\. This run waits until it is resumed: cdktr workflow resume own$/,
          ),
        ],
        undefined,
      ]);
      ids.push(id);
    }
    const [first = "", second = ""] = ids;
    const run = await client.getRun(first);
    expect([run.status, run.hold, run.waits]).toEqual(["PENDING", "pause", undefined]);
    expect(run.holds).toEqual([
      {
        kind: "pause",
        reason: expect.stringMatching(/^workflow own is paused since \S+Z( by \S+)?: migration$/),
        hint: "To go on: cdktr workflow resume own",
        since_ms: expect.any(Number),
      },
    ]);
    expect((await client.cancelRun(second)).status).toBe("CANCELLED");
    const again = await client.retryRun({ workflow_instance_id: second, dedupe_key: "again" });
    expect(again.notes?.[0]).toMatch(/^Workflow own is paused/);
    const later = await trigger("own", { trigger: "cli", start_in_ms: 300 });
    expect(later.notes).toBeUndefined();
    const parent = (await trigger("calls")).workflow_instance_id;
    const waiting = await client.waitRun(parent, 0);
    expect(waiting.status).not.toBe("FAILED");
    for (;;) {
      const all = await client.listRuns({ workflow_id: "own", status: "PENDING", limit: 100 });
      if (all.filter(({ hold }) => hold === "pause").length === 5) break;
    }
    const agent = await cluster.agent("own", { protocol: 3 });
    // Others are not held up.
    const other = (await trigger("none")).workflow_instance_id;
    for (let got = required(await agent.fetch()); ; got = required(await agent.fetch())) {
      await agent.execute(got);
      expect(got.workflow_id).not.toBe("own");
      if (got.workflow_instance_id === other) break;
    }
    expect(await agent.fetch(0)).toBeNull();
    expect(await resume("own")).toMatchObject({ held_runs: 5 });
    const order: string[] = [];
    for (let n = 0; n < 5; n++) {
      const got = required(await agent.fetch());
      order.push(got.workflow_instance_id);
      await agent.execute(got);
    }
    expect(order.slice(0, 3)).toEqual([first, ids[2] ?? "", again.workflow_instance_id]);
    expect((await client.waitRun(parent, 10_000)).status).toBe("COMPLETED");
  });

  test("runs that wait for an agent are held, whole and split; those that have begun go on", async () => {
    const begun = (await trigger("split")).workflow_instance_id;
    const us = await cluster.agent("us", { protocol: 3, labels: { zone: "us" } });
    const b = required(await us.fetch());
    expect([b.workflow_instance_id, b.tasks]).toEqual([begun, ["b"]]);
    const [split, placed] = [await trigger("split"), await trigger("placed")].map(
      (made) => made.workflow_instance_id,
    );
    const told = [await pause("split"), await pause("placed")];
    expect(told.map(({ held_runs, begun_runs }) => [held_runs, begun_runs])).toEqual([
      [1, 1],
      [1, 0],
    ]);
    for (const id of [split, placed]) {
      const { holds = [], waits = [], hold } = await client.getRun(id ?? "");
      expect([hold, holds.length, waits]).toEqual([undefined, 1, []]);
      expect(holds[0]?.reason).toMatch(/^workflow (split|placed) is paused since/);
    }
    const eu = await cluster.agent("eu", { protocol: 3, labels: { zone: "eu" } });
    const a = required(await eu.fetch());
    expect([a.workflow_instance_id, a.tasks]).toEqual([begun, ["a"]]);
    await us.execute(b);
    await eu.execute(a);
    expect((await client.waitRun(begun, 10_000)).status).toBe("COMPLETED");
    expect([await eu.fetch(0), await us.fetch(0)]).toEqual([null, null]);
    // An agent that asks is given them in the commit that resumes the workflow.
    const waiting = [eu.fetch(), us.fetch()];
    await resume("split");
    const next = (await Promise.all(waiting)).map(required);
    expect(next.map(({ workflow_instance_id }) => workflow_instance_id)).toEqual([split ?? "", split ?? ""]);
    await resume("placed");
    const last = required(await eu.fetch());
    expect(last.workflow_instance_id).toBe(placed ?? "");
  });

  test("events get the workflow as it is when it goes on; one that does not fit any more is refused", async () => {
    await pause("params");
    await trigger("params", { trigger: "listener:x", params: { day: "1" } });
    await trigger("params", { trigger: "listener:x" });
    expect(await resume("params")).toMatchObject({ event_runs: 1 });
    const [id = ""] = await idsOf("params");
    expect((await client.getRun(id)).params).toEqual({ day: "1" });
    const { params: shown } = await client.listWorkflows();
    expect(shown?.refused).toMatchObject({
      trigger: "listener:x",
      message: expect.stringContaining('missing parameter "day"'),
    });
  });

  test("everything that lists workflows says that it is paused, until it goes on", async () => {
    const revision = await client.watchWorkflows({});
    const changed = client.watchWorkflows({ revision, wait_ms: 60_000 });
    await client.pauseWorkflow({ workflow_id: "own", reason: "why", until_ms: 8e12 });
    expect(await changed).not.toBe(revision);
    const { own, none } = await client.listWorkflows();
    expect(own?.paused).toMatchObject({ reason: "why", until_ms: 8e12, auto: false });
    expect(none?.paused).toBeUndefined();
    expect((await client.getWorkflow("own")).summary.paused?.reason).toBe("why");
    await resume("own");
    expect((await client.listWorkflows()).own?.paused).toBeUndefined();
    expect(await resume("own")).toMatchObject({ was_paused: false, held_runs: 0 });
  });
});
