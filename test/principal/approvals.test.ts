/** Tasks that wait for a person: the principal carries them out, and each is answered once. */
import { expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { RunDetails } from "../../src/contract/messages.ts";
import { PrincipalClient, type RequestUnprocessableError } from "../../src/protocol/client.ts";
import { startPrincipalProcess } from "./principal-process.ts";
import { refusal, Secured } from "./secured.ts";
import { required, TestPrincipal, temporaryDirectory } from "./support.ts";

const RUN = '{config: !Subprocess {cmd: "true"}';
/** An approval `go`, and `b` after it. */
const workflow = (approval: string, ...more: string[]) =>
  [
    "tasks:",
    `  go: {config: !Approval {message: Go on?${approval}}}`,
    `  b: ${RUN}, depends: [go]}`,
    ...more,
    "",
  ].join("\n");

async function start(text: string): Promise<TestPrincipal> {
  return new TestPrincipal({ workflows: { "w.yml": text } }).start();
}

async function trigger(client: PrincipalClient, id = "w"): Promise<string> {
  return (await client.runTask(id, { dedupe_key: crypto.randomUUID() })).workflow_instance_id;
}

const answer = (client: PrincipalClient, run: string, more: object = {}) =>
  client.answerApproval({
    workflow_instance_id: run,
    answer: "approve",
    dedupe_key: crypto.randomUUID(),
    ...more,
  });

const taskOf = (run: RunDetails, id: string) => required(run.tasks.find(({ task_id }) => task_id === id));

test("an approval shows what is asked, takes a form, and publishes it; until then no agent is held", async () => {
  const form =
    "{amount: {type: int, min: 1, description: How much}, day: {type: date, default: '2026-02-28'}, fast: {type: bool, default: false}, list: {type: json, default: [a]}}";
  await using cluster = await start(
    workflow(
      `, form: ${form}, timeout: 1h`,
      `  big: ${RUN}, depends: [go], when: "\${{ tasks.go.outputs.amount > 10 }}"}`,
    ),
  );
  const client = cluster.client();
  const id = await trigger(client);
  const agent = await cluster.agent("x", { protocol: 3 });
  expect(await agent.fetch(0)).toBeNull();
  const run = await client.getRun(id);
  const go = taskOf(run, "go");
  expect(go).toMatchObject({
    status: "WAITING",
    agent_id: null,
    next_attempt_ms: (go.started_at_ms ?? 0) + 3_600_000,
  });
  const [approval] = await client.listApprovals({});
  expect(required(approval)).toMatchObject({
    workflow_id: "w",
    workflow_instance_id: id,
    task_id: "go",
    message: "Go on?",
    form: {
      amount: { type: "int", min: "1", description: "How much", default: null },
      list: { default: '["a"]' },
    },
    since_ms: go.started_at_ms,
    due_ms: go.next_attempt_ms,
    on_timeout: "reject",
    four_eyes: false,
  });
  expect(run.approvals).toEqual([required(approval)]);
  expect(await refusal(answer(client, id, { params: { amont: "3", day: "soon" } }))).toBe(
    'the form of "go": unknown field "amont" (did you mean "amount"?); field "day" must be a date, not "soon" (such as 2026-02-28); missing field "amount" (give -P amount=VALUE)',
  );
  expect(
    await answer(client, id, { params: { amount: "011", fast: "TRUE" }, note: " as discussed " }),
  ).toEqual({
    workflow_id: "w",
    workflow_instance_id: id,
    task_id: "go",
    status: "COMPLETED",
  });
  const who = required((await client.getRun(id)).actor);
  const next = required(await agent.fetch());
  expect([...(next.tasks ?? [])].sort()).toEqual(["b", "big"]);
  await agent.execute(next);
  const over = await client.waitRun(id, 10_000);
  expect(over).toMatchObject({ status: "COMPLETED", tasks_done: 3 });
  expect(over.approvals).toBeUndefined();
  expect(await client.listApprovals({})).toEqual([]);
  expect(taskOf(await client.getRun(id, { outputs: true }), "go").outputs).toEqual({
    approved_by: who,
    note: "as discussed",
    amount: 11,
    day: "2026-02-28",
    fast: true,
    list: ["a"],
  });
});

test("a rejection fails the task, and says who rejected it and why", async () => {
  await using cluster = await start(
    workflow(
      "",
      `  undo: ${RUN}, depends: {go: failed}}`,
      "  maybe: {allow_failure: true, config: !Approval {message: And this?}}",
    ),
  );
  const client = cluster.client();
  const id = await trigger(client);
  const who = required((await client.getRun(id)).actor);
  expect(await answer(client, id, { task_id: "go", answer: "reject", note: "too late" })).toMatchObject({
    status: "FAILED",
  });
  await answer(client, id, { answer: "reject" });
  const agent = await cluster.agent("x", { protocol: 3 });
  await agent.execute(required(await agent.fetch()));
  const run = await client.waitRun(id, 10_000);
  expect(run).toMatchObject({ status: "FAILED", error: "failed: go", allowed_failures: 1 });
  expect(taskOf(run, "go")).toMatchObject({ status: "FAILED", error: `rejected by ${who}: too late` });
  expect(taskOf(run, "maybe")).toMatchObject({
    status: "FAILED",
    error: `rejected by ${who}`,
    is_allowed: true,
  });
  expect(taskOf(run, "undo").status).toBe("COMPLETED");
  expect(taskOf(run, "b").status).toBe("SKIPPED");
});

test("of two answers one counts, and the other is told; the same one again changes nothing", async () => {
  await using cluster = await start(workflow(""));
  const client = cluster.client();
  const id = await trigger(client);
  const once = { dedupe_key: "mine", note: "first" };
  const [mine, other] = await Promise.allSettled([
    answer(client, id, once),
    answer(client, id, { task_id: "go", answer: "reject" }),
  ]);
  expect(mine).toMatchObject({ status: "fulfilled", value: { status: "COMPLETED" } });
  const who = required((await client.getRun(id)).actor);
  const reason = (other as PromiseRejectedResult).reason as RequestUnprocessableError;
  expect(reason.message).toMatch(
    new RegExp(`^Task "go" is over already: COMPLETED at .*Z, approved by ${who}\\.$`),
  );
  expect(await answer(client, id, once)).toEqual((mine as PromiseFulfilledResult<never>).value);
  // Whatever else it says: it has been answered.
  expect(await answer(client, id, { dedupe_key: "mine", answer: "reject" })).toMatchObject({
    status: "COMPLETED",
  });
  expect(await refusal(answer(client, id))).toBe(`No task of run ${id} waits for an approval.`);
});

test("what cannot be answered says why", async () => {
  const text = workflow(
    "",
    "  pay: {config: !Approval {message: Pay?}}",
    "  later: {depends: [pay], config: !Approval {message: Later?}}",
    '  each: {foreach: [eu, us], key: "${{ item }}", config: !Approval {message: "Load ${{ item }}?"}}',
  );
  await using cluster = await start(text);
  const client = cluster.client();
  const id = await trigger(client);
  const say = (more: object) => refusal(answer(client, id, more));
  expect(await say({})).toBe(
    `Run ${id} waits for 4 approvals (each[eu], each[us], go, pay): name one of them.`,
  );
  expect(await say({ task_id: "each" })).toBe(
    '"each" is a fan-out: name one of its items, each[eu], each[us].',
  );
  expect(await say({ task_id: "goo" })).toBe(`Run ${id} has no task "goo". (did you mean "go"?)`);
  expect(await say({ task_id: "b" })).toBe('Task "b" asks nobody for an approval.');
  expect(await say({ task_id: "later" })).toBe(
    `Task "later" does not wait for an answer yet: what it depends on is not over. (cdktr runs why ${id} says for what it waits.)`,
  );
  expect(await refusal(answer(client, "0000dead"))).toBe('There is no run "0000dead".');
  const some = await client.listApprovals({ workflow_instance_id: id.slice(0, 13), limit: 2 });
  expect(some.map(({ task_id, item_key, message }) => ({ task_id, item_key, message }))).toEqual([
    { task_id: "each", item_key: "eu", message: "Load eu?" },
    { task_id: "each", item_key: "us", message: "Load us?" },
  ]);
  await answer(client, id, { task_id: "each", item_key: "eu" });
  await answer(client, id, { task_id: "each[us]", answer: "reject" });
  expect(await say({ task_id: "each", item_key: "eu" })).toStartWith(
    'Task "each[eu]" is over already: COMPLETED at ',
  );
  expect(taskOf(await client.getRun(id), "each")).toMatchObject({
    status: "FAILED",
    error: "failed: each[us]",
  });
  await client.cancelRun(id);
  expect(await say({})).toBe(`No task of run ${id} waits for an approval: it is over, CANCELLED.`);
});

test("an approval ends with its time: rejected, or approved with the defaults of its form", async () => {
  const text = workflow(
    ", timeout: 300ms",
    '  yes: {config: !Approval {message: And?, timeout: "${{ duration(\'200ms\') }}", on_timeout: approve, form: {n: {type: int, default: "${{ 1 + 2 }}"}}}}',
    '  wrong: {config: !Approval {message: And?, form: {n: {type: int, default: "${{ run.id }}"}}}}',
  );
  await using cluster = await start(text);
  const client = cluster.client();
  const run = await client.waitRun(await trigger(client), 10_000);
  expect(run).toMatchObject({ status: "FAILED", error: "failed: go, wrong" });
  expect(taskOf(run, "go").error).toBe("nobody answered within 300ms");
  expect(taskOf(run, "wrong").error).toBe("form.n.default: the value must be a whole number");
  const read = await client.getRun(run.workflow_instance_id, { outputs: true });
  expect(taskOf(read, "yes").outputs).toEqual({
    approved_by: "timeout",
    note: "nobody answered within 200ms",
    n: 3,
  });
});

test("an approval ends with its run, and outlives a restart and a retry", async () => {
  await using cluster = await start(workflow(", timeout: 1h"));
  const id = await trigger(cluster.client());
  await cluster.stop();
  await cluster.start();
  const client = cluster.client();
  expect((await client.listApprovals({ workflow_id: "w" })).map((each) => each.workflow_instance_id)).toEqual(
    [id],
  );
  expect(await client.listApprovals({ workflow_id: "v" })).toEqual([]);
  await answer(client, id, { note: "yes" });
  const agent = await cluster.agent("x", { protocol: 3 });
  const b = required(await agent.fetch());
  await agent.send(
    agent.runReport(b, "RUNNING"),
    agent.taskReport(b, "b", "RUNNING"),
    agent.taskReport(b, "b", "FAILED"),
    agent.runReport(b, "FAILED", "failed: b"),
  );
  expect((await client.waitRun(id, 10_000)).status).toBe("FAILED");
  const retry = await client.retryRun({ workflow_instance_id: id, dedupe_key: "again" });
  // It is not asked again.
  expect(await client.listApprovals({})).toEqual([]);
  const again = required(await agent.fetch());
  expect(again).toMatchObject({ tasks: ["b"], completed_tasks: ["go"] });
  const { tasks } = await client.getRun(retry.workflow_instance_id, { outputs: true });
  expect(tasks[0]).toMatchObject({ task_id: "go", status: "COMPLETED", outputs: { note: "yes" } });
  const other = await trigger(client);
  expect(await client.cancelRun(other)).toMatchObject({ status: "CANCELLED" });
  expect(taskOf(await client.getRun(other), "go")).toMatchObject({ status: "CANCELLED" });
  expect(await client.listApprovals({})).toEqual([]);
});

test("keys decide who may answer: roles, and four eyes", async () => {
  const workflows = {
    "w.yml": workflow(", four_eyes: true"),
    "a.yml": workflow(", roles: [admin]"),
    "first.yml": workflow(""),
    "follows.yml": `on: {workflow: {id: first, status: [CANCELLED]}}\n${workflow(", four_eyes: true")}`,
  };
  await using secured = new Secured(new TestPrincipal({ workflows }));
  secured.store.init(Date.now());
  await secured.test.start();
  const admin = secured.client(secured.keys("admin"));
  const [ada, bob] = [
    secured.client(await secured.add("ada", "client")),
    secured.client(await secured.add("bob", "client")),
  ];
  const id = await trigger(ada);
  expect((await bob.getRun(id)).actor).toBe("ada");
  const no = 'ada triggered this run, and "go" asks for four eyes: somebody else has to answer.';
  expect(await refusal(answer(ada, id))).toBe(no);
  expect((await ada.listApprovals({}))[0]).toMatchObject({
    triggered_by: "ada",
    four_eyes: true,
    refusal: no,
  });
  expect((await bob.listApprovals({}))[0]?.refusal).toBeUndefined();
  await answer(bob, id);
  expect(taskOf(await bob.getRun(id, { outputs: true }), "go").outputs).toEqual({
    approved_by: "bob",
    note: "",
  });
  const limited = await trigger(ada, "a");
  expect(await refusal(answer(bob, limited))).toBe(
    '"go" is answered with a key that has the role admin; the key bob has the role client.',
  );
  await answer(admin, limited);
  // Whoever retries a run triggers the new one, and so did whoever triggered the first.
  await admin.cancelRun(id);
  const again = await bob.retryRun({ workflow_instance_id: id, from_start: true, dedupe_key: "b" });
  expect((await ada.getRun(again.workflow_instance_id)).actor).toBe("bob");
  expect(await refusal(answer(bob, again.workflow_instance_id))).toContain("bob triggered this run, and");
  expect(await refusal(answer(ada, again.workflow_instance_id))).toContain(
    "ada triggered a run that this one goes back to, and",
  );
  await answer(admin, again.workflow_instance_id);
  // A run that follows another, too.
  const first = await trigger(ada, "first");
  await admin.cancelRun(first);
  for (;;) {
    const [follower] = await admin.listRuns({ workflow_id: "follows" });
    if (follower === undefined) continue;
    const { workflow_instance_id: after } = follower;
    expect((await admin.getRun(after)).actor).toBe("ada");
    expect(await refusal(answer(ada, after))).toContain("ada triggered this run, and");
    await answer(bob, after);
    break;
  }
  const agent = secured.client(await secured.add("worker", "agent"));
  expect(await refusal(agent.listApprovals({}))).toContain(
    "LSAPPROVALS needs a key with the role viewer or client",
  );
});

test("without keys, four eyes say that keys are needed", async () => {
  await using cluster = await start(workflow(", four_eyes: true, roles: [admin]"));
  const client = cluster.client();
  const id = await trigger(client);
  expect(await refusal(answer(client, id))).toContain(
    "somebody else has to answer. Without keys everybody here is the same user",
  );
  // Nobody has triggered that of a schedule.
  const fired = await client.runTask("w", { trigger: "cron", dedupe_key: "cron" });
  await answer(client, fired.workflow_instance_id);
});

test("kill -9 at any instant loses no acknowledged answer, and none counts twice", async () => {
  using directory = temporaryDirectory();
  mkdirSync(join(directory.path, "workflows"));
  writeFileSync(
    join(directory.path, "workflows", "w.yml"),
    "tasks:\n  go: {config: !Approval {message: Go on?}}\n",
  );
  const connect = (port: number) => new PrincipalClient({ host: "127.0.0.1", port, timeoutMs: 10_000 });
  const first = await startPrincipalProcess(directory.path);
  const one = connect(first.port);
  const ids = await Promise.all(Array.from({ length: 30 }, () => trigger(one)));
  const acknowledged = new Set<string>();
  const answering = ids.map(async (id, n) => {
    await answer(one, id, { dedupe_key: id, note: String(n) });
    acknowledged.add(id);
    if (acknowledged.size === 10) first.child.kill("SIGKILL");
  });
  const settled = Promise.allSettled(answering);
  await first.child.exited;
  await one.close();
  await settled;
  const second = await startPrincipalProcess(directory.path);
  const two = connect(second.port);
  for (const id of acknowledged) expect((await two.getRun(id)).status).toBe("COMPLETED");
  for (const id of ids)
    expect(await answer(two, id, { dedupe_key: id, note: "again" })).toMatchObject({ status: "COMPLETED" });
  for (const [n, id] of ids.entries()) {
    const run = await two.getRun(id, { outputs: true });
    expect(run.tasks).toHaveLength(1);
    expect(run.status).toBe("COMPLETED");
    if (acknowledged.has(id)) expect(run.tasks[0]?.outputs).toMatchObject({ note: String(n) });
  }
  await two.close();
  second.child.kill("SIGTERM");
  await second.child.exited;
}, 60_000);
