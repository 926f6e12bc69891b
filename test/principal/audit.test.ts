/** Who did what: one row for each change, in its commit, and for each request that is refused. */
import { expect, setDefaultTimeout, test } from "bun:test";
import type { AuditRow } from "../../src/contract/history-rows.ts";
import type { VerbEntry } from "../../src/contract/verb-entry.ts";
import { VERB_NAMES, VERBS, type Verb } from "../../src/contract/verbs.ts";
import { AuditLog } from "../../src/principal/audit/audit-log.ts";
import type { PrincipalClient } from "../../src/protocol/client.ts";
import type { OperationalTx } from "../../src/storage/operational/store.ts";
import { curveKeyPair, curvePublicKey } from "../../src/zmq/index.ts";
import { silent, TestStores } from "../storage/operational-support.ts";
import { ManualClock } from "../support/manual-clock.ts";
import { refusal, Secured } from "./secured.ts";
import { TestPrincipal, workflowText } from "./support.ts";

setDefaultTimeout(60_000);

const WORKFLOWS = {
  "hello.yml": `params: {who: all}\n${workflowText()}`,
  "daily.yml": `cron: "0 2 * * *"\n${workflowText()}`,
  "ask.yml": "tasks: {go: {config: !Approval {message: really?}}}",
};

const QUIET = { wake: () => {}, ticket: () => ({ wait: async () => "timeout" as const, drop: () => {} }) };

const COLUMNS = ["actor", "role", "action", "subject", "detail", "outcome", "source"] as const;

/** The audit log, oldest row first. */
async function auditLog(client: PrincipalClient): Promise<AuditRow[]> {
  const { rows } = await client.queryDatabase({
    sql: `SELECT ${COLUMNS.join(", ")} FROM audit_log ORDER BY rowid`,
    max_rows: 1000,
  });
  return rows.map(
    (row) => Object.fromEntries(COLUMNS.map((name, n) => [name, row[n]])) as unknown as AuditRow,
  );
}

const detailOf = (row: AuditRow | undefined) => JSON.parse(row?.detail ?? "{}");

test("each change by a request is recorded once, with who made it, and a repeated request is not", async () => {
  await using secured = new Secured(new TestPrincipal({ workflows: WORKFLOWS }));
  secured.store.init(Date.now());
  await secured.test.start();
  const ada = secured.client(await secured.add("ada", "client"));
  const admin = secured.client(secured.keys("admin"));
  await secured.agent(await secured.add("worker", "agent"), "worker-1");
  const run = async (workflow: string, key: string) =>
    (
      await ada.runTask(workflow, {
        dedupe_key: key,
        params: workflow === "hello" ? { who: "x".repeat(3000) } : {},
      })
    ).workflow_instance_id;
  const id = await run("hello", "one");
  expect(await run("hello", "one")).toBe(id);
  const first = await auditLog(ada);
  expect(first).toEqual([
    {
      actor: "ada",
      role: "client",
      action: "run.trigger",
      subject: "hello",
      detail: expect.any(String),
      outcome: "done",
      source: "local",
    },
  ] as unknown as AuditRow[]);
  // Long values are cut; the history of the run has them as a whole.
  expect(detailOf(first[0])).toEqual({
    trigger: "api",
    params: { who: `${"x".repeat(1024)}…` },
    workflow_instance_id: id,
  });

  await ada.setPriority(id, 8);
  await ada.setPriority(id, 8);
  await ada.cancelRun(id);
  await ada.cancelRun(id);
  const retried = await ada.retryRun({ workflow_instance_id: id, dedupe_key: "r" });
  await ada.retryRun({ workflow_instance_id: id, dedupe_key: "r" });
  const asked = await run("ask", "two");
  const answer = { workflow_instance_id: asked, answer: "approve", note: "fine", dedupe_key: "a" } as const;
  await admin.answerApproval(answer);
  await admin.answerApproval(answer);
  for (let times = 0; times < 2; times++) {
    await ada.pauseWorkflow({ workflow_id: "hello", reason: "tests" });
    await ada.resumeWorkflow({ workflow_id: "hello" });
    await ada.resumeWorkflow({ workflow_id: "hello" });
    await admin.setPool("db", 4);
    await admin.setSecret("KEY", "hunter2");
    await admin.drainAgent("worker-1");
  }
  await admin.removeSecret("KEY");
  await admin.removeSecret("KEY");
  const plan = { workflow_id: "daily", from: "2025-01-01", to: "2025-01-03", dedupe_key: "b" };
  const { backfill } = await ada.call("CREATEBACKFILL", plan);
  await ada.call("CREATEBACKFILL", plan);
  for (const to of ["PAUSED", "PAUSED", "ACTIVE", "CANCELLED"] as const)
    await ada.call("CHANGEBACKFILL", { backfill_id: backfill.backfill_id, to });
  const token = secured.store.createToken({ role: "viewer", ttlMs: 60_000, uses: 1, nowMs: Date.now() });
  const { serverKey, secretKey } = token;
  const host = secured.client({ serverKey, secretKey, publicKey: curvePublicKey(secretKey), name: "token" });
  const { publicKey: public_key } = curveKeyPair();
  for (let times = 0; times < 2; times++) await host.call("JOIN", { public_key, name: "office" });
  const rows = (await auditLog(ada)).slice(1);
  expect(rows.map(({ actor, action, subject }) => [actor, action, subject])).toEqual([
    ["ada", "run.priority", id],
    ["ada", "run.cancel", id],
    ["ada", "run.retry", id],
    ["ada", "run.trigger", "ask"],
    ["admin", "approval.answer", asked],
    ["ada", "workflow.pause", "hello"],
    ["ada", "workflow.resume", "hello"],
    ["admin", "pool.set", "db"],
    ["admin", "secret.set", "KEY"],
    ["admin", "agent.drain", "worker-1"],
    ["ada", "workflow.pause", "hello"],
    ["ada", "workflow.resume", "hello"],
    ["admin", "secret.set", "KEY"],
    ["admin", "secret.remove", "KEY"],
    ["ada", "backfill.create", "daily"],
    ["ada", "backfill.pause", backfill.backfill_id],
    ["ada", "backfill.resume", backfill.backfill_id],
    ["ada", "backfill.cancel", backfill.backfill_id],
    [`join token ${token.id}`, "key.join", "office"],
  ]);
  expect(rows.every(({ outcome, source }) => outcome === "done" && source === "local")).toBe(true);
  expect(detailOf(rows[0])).toEqual({ priority: 8, before: 5, workflow_id: "hello" });
  expect(detailOf(rows[2])).toEqual({
    workflow_id: "hello",
    workflow_instance_id: retried.workflow_instance_id,
  });
  expect(detailOf(rows[4])).toEqual({ answer: "approve", note: "fine", workflow_id: "ask", task: "go" });
  expect(JSON.stringify(await auditLog(ada))).not.toContain("hunter2");
});

test("what is refused is recorded, with who asked for it", async () => {
  await using secured = new Secured(new TestPrincipal({ workflows: WORKFLOWS }));
  secured.store.init(Date.now());
  await secured.test.start();
  const viewer = secured.client(await secured.add("screen", "viewer"));
  const admin = secured.client(secured.keys("admin"));
  // Each verb that is recorded at all, by somebody who may only read, with a request that nobody can read.
  const audited = VERB_NAMES.filter((verb) => {
    const { audit }: VerbEntry = VERBS[verb];
    return audit !== undefined && audit !== "none";
  });
  expect(audited.length).toBeGreaterThan(10);
  for (const verb of audited)
    expect(await refusal(viewer.request(verb, ["\u0000", "{"]))).toContain("needs a");
  const refused = await auditLog(admin);
  expect(refused.map(({ outcome }) => outcome)).toEqual(
    audited.map((verb) => expect.stringContaining(`refused: ${verb} needs a`)),
  );
  const action = (verb: Verb) => {
    const { audit }: VerbEntry = VERBS[verb];
    return typeof audit === "object" && typeof audit.action === "string" ? audit.action : verb;
  };
  expect(refused.map((row) => row.action)).toEqual(audited.map(action));
  expect(
    refused.every(({ actor, role, subject }) => actor === "screen" && role === "viewer" && subject === null),
  ).toBe(true);

  // What cannot be read may be a secret.
  expect(await refusal(admin.request("SETSECRET", ['{"name": "KEY", "value": hunter2}']))).toContain("JSON");
  expect(await refusal(admin.runTask("nothing", { dedupe_key: "x" }))).toContain("no workflow");
  await refusal(admin.runTask("hello", { dedupe_key: "y", params: { wrong: "1" } }));
  const token = `cdktr-join-${"x".repeat(80)}`;
  await refusal(admin.runTask(token, { dedupe_key: "z" }));
  expect((await auditLog(admin)).at(-1)).toMatchObject({
    subject: "cdktr-join-…",
    outcome: expect.not.stringContaining("xxx"),
  });
  await refusal(admin.runTask("y".repeat(1_000_000), { dedupe_key: "large" }));
  const large = (await auditLog(admin)).at(-1);
  expect([large?.subject?.length, (large?.outcome.length ?? 0) < 2000]).toEqual([1025, true]);
  // Reading is nobody's business, and an unknown verb is nothing.
  await refusal(admin.getRun("nothing"));
  const rows = (await auditLog(admin)).slice(audited.length);
  expect(rows.map(({ action, subject, outcome }) => [action, subject, outcome])).toEqual([
    ["secret.set", null, "refused: the request is invalid"],
    ["run.trigger", "nothing", expect.stringMatching(/^refused: There is no workflow/)],
    ["run.trigger", "hello", expect.stringMatching(/^refused: .*wrong/)],
    ["run.trigger", "cdktr-join-…", expect.anything()],
    ["run.trigger", expect.anything(), expect.anything()],
  ]);
});

test("without keys the user is known; schedules and listeners of the principal are nobody", async () => {
  await using cluster = await new TestPrincipal({ workflows: WORKFLOWS }).start();
  const client = cluster.client();
  await client.runTask("hello", { dedupe_key: "1" });
  await client.runTask("hello", { dedupe_key: "2", trigger: "listener:files" });
  await client.runTask("hello", { dedupe_key: "3", trigger: "cron", scheduled_time_ms: 1 });
  await refusal(client.runTask("nothing", { dedupe_key: "4", trigger: "listener:files" }));
  expect(await auditLog(client)).toMatchObject([
    { actor: expect.any(String), role: null, action: "run.trigger", source: "local", outcome: "done" },
  ]);
});

test("of many refused requests of one actor in a minute the first are recorded, and then how many more there were", async () => {
  await using stores = new TestStores();
  const store = await stores.open();
  const clock = new ManualClock();
  const woken: string[] = [];
  const log = new AuditLog({
    store,
    dataDirectory: stores.directory,
    clock,
    log: silent,
    polls: { ...QUIET, wake: (topic) => void woken.push(topic) },
  });
  await log.start();
  const refuse = (user: string) =>
    log.refused(
      "CANCELRUN",
      () => ({ workflow_instance_id: "a", hooks: false }),
      { sender: undefined, user },
      {
        error: new Error("no"),
        text: "it is over",
      },
    );
  for (let n = 0; n < 100; n++) await refuse("ada");
  await refuse("bob");
  const rows = async () =>
    (await store.takeStatuses(0, 1000)).flatMap(({ table, row }) => (table === "audit_log" ? [row] : []));
  expect((await rows()).map(({ actor }) => actor)).toEqual([
    ...Array.from({ length: 60 }, () => "ada"),
    "bob",
  ]);
  expect(woken).toHaveLength(61);
  clock.advance(60_000);
  await log.stop();
  expect((await rows()).slice(61)).toMatchObject([
    { actor: "ada", action: "refused", subject: null, outcome: "refused: 40 more within a minute" },
  ]);
  await store.stop();
});

test("the audit log is read with patterns, which are text whatever they contain; a follower hears of further rows", async () => {
  await using cluster = await new TestPrincipal({ workflows: WORKFLOWS }).start();
  const client = cluster.client();
  await client.pauseWorkflow({ workflow_id: "hello" });
  await refusal(client.runTask("it's 100%_\\", { dedupe_key: "1" }));
  await client.resumeWorkflow({ workflow_id: "hello" });
  const actions = async (list: Parameters<PrincipalClient["listAudit"]>[0]) =>
    (await client.listAudit(list)).rows.map(({ action }) => action);
  expect(await actions({})).toEqual(["workflow.pause", "run.trigger", "workflow.resume"]);
  expect(await actions({ limit: 1 })).toEqual(["workflow.resume"]);
  expect(await client.listAudit({ limit: 2 })).toMatchObject({ more: true, warning: null });
  expect(await client.listAudit({ limit: 3 })).toMatchObject({ more: false });
  expect(await actions({ action: "workflow.*" })).toEqual(["workflow.pause", "workflow.resume"]);
  expect(await actions({ action: "workflow.%" })).toEqual([]);
  expect(await actions({ subject: "it's 100%_\\" })).toEqual(["run.trigger"]);
  expect(await actions({ subject: "*'s 100%_\\*" })).toEqual(["run.trigger"]);
  expect(await actions({ subject: "it's 100%_\\'; DROP TABLE audit_log; --" })).toEqual([]);
  expect(await actions({ subject: "it_s*" })).toEqual([]);
  expect(await actions({ refused: true })).toEqual(["run.trigger"]);
  expect(await actions({ refused: false, actor: "nobody*" })).toEqual([]);
  expect(await actions({ until_ms: 1 })).toEqual([]);

  const { revision } = await client.listAudit({});
  const waiting = client.listAudit({ revision, wait_ms: 60_000, limit: 1 });
  await client.pauseWorkflow({ workflow_id: "daily" });
  expect((await waiting).rows).toMatchObject([{ action: "workflow.pause", subject: "daily" }]);
  // What was written since the revision is there at once, and so it is for a revision of another process.
  for (const outdated of [revision, "another 1"])
    expect((await client.listAudit({ revision: outdated, wait_ms: 60_000 })).rows).toHaveLength(4);
});

test("a unit of work that fails leaves neither the change nor its row", async () => {
  await using stores = new TestStores();
  const store = await stores.open();
  const log = new AuditLog({
    store,
    dataDirectory: stores.directory,
    clock: new ManualClock(),
    log: silent,
    polls: QUIET,
  });
  const audit = log.of("SETPOOL", { name: "db", size: 3 }, { sender: undefined, user: "ada" });
  for (let failing = 1; ; failing++) {
    stores.failStatement(failing);
    const done = await store
      .transact(async (tx) => {
        await tx.setPool("db", 3, "ada", 1);
        await audit(tx);
      })
      .then(
        () => true,
        () => false,
      );
    stores.failStatement(null);
    const pools = await store.read((tx) => tx.listPools());
    const rows = (await store.takeStatuses(0, 10)).filter(({ table }) => table === "audit_log");
    expect([pools.length, rows.length]).toEqual(done ? [1, 1] : [0, 0]);
    if (done) break;
  }
});

test("recording a trigger costs one statement of the commit that makes the run", async () => {
  await using stores = new TestStores();
  const store = await stores.open();
  const log = new AuditLog({
    store,
    dataDirectory: stores.directory,
    clock: new ManualClock(),
    log: silent,
    polls: QUIET,
  });
  const { request } = VERBS.RUNTASK;
  const parsed = request.parse({ workflow_id: "hello", options: { params: { day: "1" } } });
  const audit = log.of("RUNTASK", parsed, { sender: undefined, user: "ada", address: "10.0.0.7" });
  const cost = async (work: (tx: OperationalTx) => Promise<void>) => {
    const before = stores.statements;
    await store.transact(work);
    return stores.statements - before;
  };
  const record = (tx: OperationalTx) => audit(tx, { detail: { workflow_instance_id: "one" } });
  // The first one of a start reads the last id.
  await cost(record);
  expect((await cost(record)) - (await cost(async () => {}))).toBe(1);
  const row = (await store.takeStatuses(0, 1))[0]?.row;
  expect(row).toEqual({
    timestamp_ms: 0,
    actor: "ada",
    role: null,
    action: "run.trigger",
    subject: "hello",
    detail: '{"trigger":"api","params":{"day":"1"},"workflow_instance_id":"one"}',
    outcome: "done",
    source: "10.0.0.7",
  });
});
