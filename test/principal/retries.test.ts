/** Retries from chosen tasks, with other parameters, and with the current definition. */
import { expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { join } from "node:path";
import type { RunDetails } from "../../src/contract/messages.ts";
import type { PrincipalClient } from "../../src/protocol/client.ts";
import type { RunStatus } from "../../src/workflow/status.ts";
import { type FakeAgent, required, TestPrincipal } from "./support.ts";

const RUN = 'config: !Subprocess {cmd: "true"}';
const CHAIN = `params: {day: monday, days: {type: int, default: 1}}
tasks:
  extract: {env: {DAY: "\${{ params.day }}"}, ${RUN}}
  audit: {${RUN}, allow_failure: true}
  load: {depends: [extract, audit], ${RUN}}
  side: {${RUN}}
  report: {depends: [load], ${RUN}}
`;

const endsOf = (run: RunDetails) =>
  Object.fromEntries(
    run.tasks.map(({ task_id, status, attempt }) => [task_id, attempt === 0 ? `kept ${status}` : status]),
  );
const errorsOf = (run: RunDetails) =>
  Object.fromEntries(run.tasks.map(({ task_id, error }) => [task_id, error]));

/** Executes what the agent is given next; tasks that are not named complete. Returns their ids. */
async function execute(agent: FakeAgent, ends: Readonly<Record<string, RunStatus>> = {}): Promise<string[]> {
  const run = required(await agent.fetch(20_000));
  const done: string[] = [];
  const failed = new Set<string>();
  for (const { id, depends } of run.workflow.tasks) {
    if (run.completed_tasks.includes(id) || (run.tasks !== undefined && !run.tasks.includes(id))) continue;
    done.push(id);
    if (depends.some((other) => failed.has(other))) {
      failed.add(id);
      await agent.send(agent.taskReport(run, id, "SKIPPED"));
      continue;
    }
    const status = ends[id] ?? "COMPLETED";
    const isAllowed = status === "FAILED" && id === "audit";
    if (status === "FAILED" && !isAllowed) failed.add(id);
    await agent.send(agent.taskReport(run, id, "RUNNING"), {
      ...agent.taskReport(run, id, status),
      ...(isAllowed ? { is_allowed: true } : {}),
    });
  }
  await agent.send(agent.runReport(run, failed.size > 0 ? "FAILED" : "COMPLETED"));
  return done;
}

async function ended(
  client: PrincipalClient,
  agent: FakeAgent,
  ends?: Record<string, RunStatus>,
): Promise<string> {
  const { workflow_instance_id: id } = await client.runTask("w", { dedupe_key: crypto.randomUUID() });
  await execute(agent, ends);
  await client.waitRun(id, 20_000);
  return id;
}

const retry = (client: PrincipalClient, workflow_instance_id: string, options: object) =>
  client.retryRun({ workflow_instance_id, ...options, dedupe_key: crypto.randomUUID() });

const messageOf = (failing: Promise<unknown>) =>
  failing.then(
    () => "nothing",
    (error: Error) => error.message,
  );

test("a chosen task runs again with what follows it; the rest is kept, or does not run", async () => {
  await using cluster = await new TestPrincipal({ workflows: { "w.yml": CHAIN } }).start();
  const client = cluster.client();
  const agent = await cluster.agent("x", { protocol: 3 });
  const id = await ended(client, agent, { side: "FAILED", audit: "FAILED" });
  const again = await retry(client, id, { tasks: ["load"] });
  expect(await execute(agent)).toEqual(["load", "report"]);
  const over = await client.waitRun(again.workflow_instance_id, 20_000);
  expect(over).toMatchObject({ status: "COMPLETED", tasks_done: 5, allowed_failures: 1 });
  expect(endsOf(over)).toEqual({
    extract: "kept COMPLETED",
    audit: "kept FAILED",
    load: "COMPLETED",
    side: "SKIPPED",
    report: "COMPLETED",
  });
  expect(errorsOf(over).side).toBe("not among the tasks that were retried");
  // Also of a run that COMPLETED, and several at once.
  const third = await retry(client, over.workflow_instance_id, { tasks: ["report", "side"] });
  expect(await execute(agent)).toEqual(["side", "report"]);
  expect(await client.waitRun(third.workflow_instance_id, 20_000)).toMatchObject({ status: "COMPLETED" });
});

test("a failure that was allowed is kept as long as it is not chosen", async () => {
  await using cluster = await new TestPrincipal({ workflows: { "w.yml": CHAIN } }).start();
  const client = cluster.client();
  const agent = await cluster.agent("x", { protocol: 3 });
  const id = await ended(client, agent, { audit: "FAILED", report: "FAILED" });
  const again = await retry(client, id, {});
  expect(await execute(agent)).toEqual(["report"]);
  const over = await client.waitRun(again.workflow_instance_id, 20_000);
  expect(over).toMatchObject({ status: "COMPLETED", allowed_failures: 1 });
  expect(endsOf(over)).toMatchObject({ audit: "kept FAILED", load: "kept COMPLETED", report: "COMPLETED" });
  await retry(client, over.workflow_instance_id, { tasks: ["audit"] });
  expect(await execute(agent)).toEqual(["audit", "load", "report"]);
});

test("chosen tasks that do not fit are refused", async () => {
  await using cluster = await new TestPrincipal({
    workflows: { "w.yml": `${CHAIN}hooks: {on_exit: {${RUN}}}\n` },
  }).start();
  const client = cluster.client();
  const agent = await cluster.agent("x", { protocol: 3 });
  const { workflow_instance_id: id } = await client.runTask("w", { dedupe_key: "1" });
  await execute(agent, { extract: "FAILED" });
  await execute(agent);
  await client.waitRun(id, 20_000);
  const refused = (options: object) => messageOf(retry(client, id, options));
  expect(await refused({ tasks: ["lod"] })).toBe(`Run ${id} has no task "lod" (did you mean "load"?).`);
  expect(await refused({ tasks: ["load[a]"] })).toContain(`Run ${id} has no task "load[a]"`);
  expect(await refused({ tasks: ["load"] })).toBe(
    '"load" cannot be retried alone: "extract", on which it depends, FAILED; add --task extract',
  );
  expect(await refused({ tasks: ["report"] })).toBe(
    '"report" cannot be retried alone: "load", on which it depends, SKIPPED; add --task load',
  );
  expect(await refused({ tasks: ["on_exit"] })).toStartWith('"on_exit" is a hook, which cannot be retried.');
  expect(await refused({ tasks: ["load"], from_start: true })).toBe(
    "A retry from the beginning runs all tasks: none can be chosen.",
  );
  expect(await refused({ params: { dya: "x", days: "y" } })).toBe(
    'workflow "w": parameter "days" must be a whole number, not "y"; unknown parameter "dya" (did you mean "day"?) (its parameters are day, days)',
  );
});

test("other parameters: the tasks that are kept have read the former ones, which is said", async () => {
  await using cluster = await new TestPrincipal({ workflows: { "w.yml": CHAIN } }).start();
  const client = cluster.client();
  const agent = await cluster.agent("x", { protocol: 3 });
  const id = await ended(client, agent, { load: "FAILED" });
  const again = await retry(client, id, { params: { day: "friday", days: "07" } });
  expect(again.notes).toEqual([
    'Task "extract" has read the former value of "day" and is kept; to run it again: --task extract',
  ]);
  expect((await client.getRun(again.workflow_instance_id)).params).toEqual({ day: "friday", days: "7" });
  await execute(agent);
  expect(await messageOf(retry(client, id, { params: { day: "x".repeat(70_000) } }))).toBe(
    "arguments is invalid: params.day: it has more than 64 KiB; pass large data on as a file.",
  );
  const all = await retry(client, id, { params: { day: "friday" }, from_start: true });
  expect(all.notes).toBeUndefined();
});

test("with the current definition: what it does not have is dropped, what is new runs", async () => {
  await using cluster = await new TestPrincipal({ workflows: { "w.yml": CHAIN } }).start();
  const client = cluster.client();
  const agent = await cluster.agent("x", { protocol: 3 });
  const id = await ended(client, agent, { load: "FAILED" });
  cluster.write(
    "w.yml",
    `params: {day: monday, region: {enum: [eu, us], default: eu}}
tasks:
  extract: {${RUN}}
  check: {depends: [extract], ${RUN}}
  load: {depends: [check], ${RUN}}
  report: {depends: [load], ${RUN}}
`,
  );
  await cluster.book.waitFor(/Workflow w changed/);
  expect(await messageOf(retry(client, id, { current_definition: true, tasks: ["side"] }))).toStartWith(
    'The current definition has no task "side"',
  );
  const again = await retry(client, id, { current_definition: true, params: { region: "us" } });
  expect(again.notes).toEqual([
    'The current definition has no parameter "days" any more.',
    'The current definition has no task "audit", "side" any more.',
  ]);
  expect(await execute(agent)).toEqual(["check", "load", "report"]);
  const over = await client.waitRun(again.workflow_instance_id, 20_000);
  expect(over).toMatchObject({
    status: "COMPLETED",
    tasks_total: 4,
    params: { day: "monday", region: "us" },
  });
  // As it was.
  await retry(client, id, {});
  expect(await execute(agent)).toEqual(["load", "report"]);
  rmSync(join(cluster.directory, "workflows", "w.yml"));
  await cluster.book.waitFor(/Workflow w is gone/);
  expect(await messageOf(retry(client, id, { current_definition: true }))).toStartWith(
    'Workflow "w" is not loaded any more: its file is gone or invalid.',
  );
});

test("items: a chosen one runs again with those that did not complete, a chosen fan-out with all", async () => {
  const file = `tasks:
  load: {foreach: [a, b, c], key: "\${{ item }}", ${RUN}}
  report: {depends: [load], ${RUN}}
`;
  await using cluster = await new TestPrincipal({
    workflows: { "w.yml": `placement: spread\n${file}` },
  }).start();
  const client = cluster.client();
  const agent = await cluster.agent("x", { protocol: 3, capacity: 1 });
  /** Executes all items and what follows them; returns the items. */
  const items = async (runId: string, failing: readonly string[] = []): Promise<string[]> => {
    const keys: string[] = [];
    for (;;) {
      const slice = await agent.fetch((await client.getRun(runId)).finished_at_ms === null ? 20_000 : 0);
      if (slice === null) return keys.sort();
      await agent.send(agent.runReport(slice, "RUNNING"));
      const of = slice.items?.load;
      const reports = (of ?? [undefined]).flatMap((item) => {
        if (item !== undefined) keys.push(item.key);
        const task = item === undefined ? "report" : "load";
        const own = item === undefined ? {} : { item: { key: item.key, index: item.index } };
        const task_instance_id = `${runId} ${task} ${item?.key ?? ""}`;
        const status = item !== undefined && failing.includes(item.key) ? "FAILED" : "COMPLETED";
        return [
          { ...agent.taskReport(slice, task, "RUNNING"), ...own, task_instance_id },
          { ...agent.taskReport(slice, task, status), ...own, task_instance_id },
        ];
      });
      await agent.send(...reports);
      await agent.send(
        agent.runReport(slice, reports.some(({ status }) => status === "FAILED") ? "FAILED" : "COMPLETED"),
      );
      if ((await client.getRun(runId)).finished_at_ms !== null) return keys.sort();
    }
  };
  const { workflow_instance_id: first } = await client.runTask("w", { dedupe_key: "1" });
  expect(await items(first, ["b"])).toEqual(["a", "b", "c"]);
  const one = (await retry(client, first, { tasks: ["load[a]"] })).workflow_instance_id;
  expect(await items(one)).toEqual(["a", "b"]);
  expect(await client.waitRun(one, 20_000)).toMatchObject({ status: "COMPLETED", tasks_done: 2 });
  const all = (await retry(client, one, { tasks: ["load"] })).workflow_instance_id;
  expect(await items(all)).toEqual(["a", "b", "c"]);
  expect(await messageOf(retry(client, one, { tasks: ["load[d]"] }))).toContain('has no task "load[d]"');
  expect(await messageOf(retry(client, one, { tasks: ["load[zzzzzz]"] }))).toContain(
    'has no task "load[zzzzzz]". (Its items are "load[a]", "load[b]", "load[c]".)',
  );
});

test("with other parameters an approval is asked for again before anything runs that depends on it", async () => {
  const workflow = `params: {amount: {type: int, default: 1}, note: x}
tasks:
  go: {config: !Approval {message: "Pay \${{ params.amount }}?"}}
  prepare: {depends: [go], ${RUN}}
  beside: {depends: [go], ${RUN}}
  pay: {depends: [prepare], ${RUN}}
`;
  await using cluster = await new TestPrincipal({ workflows: { "w.yml": workflow } }).start();
  const client = cluster.client();
  const agent = await cluster.agent("x", { protocol: 3 });
  const approve = (workflow_instance_id: string) =>
    client.answerApproval({ workflow_instance_id, answer: "approve", dedupe_key: crypto.randomUUID() });
  const { workflow_instance_id: id } = await client.runTask("w", { dedupe_key: "1" });
  await approve(id);
  await execute(agent, { pay: "FAILED" });
  await client.waitRun(id, 20_000);
  const alone =
    '"pay" cannot be retried alone with another value of "amount": it is not what was approved in "go"; add --task go';
  expect(await messageOf(retry(client, id, { tasks: ["pay"], params: { amount: "9" } }))).toBe(alone);
  // The same values: it was approved.
  await retry(client, id, { tasks: ["pay"], params: { amount: "01" } });
  expect(await execute(agent)).toEqual(["pay"]);
  const other = await retry(client, id, { params: { amount: "9" } });
  const [asked] = await client.listApprovals({ workflow_instance_id: other.workflow_instance_id });
  expect(required(asked)).toMatchObject({ task_id: "go", message: "Pay 9?" });
  expect(await agent.fetch(0)).toBeNull();
  await approve(other.workflow_instance_id);
  expect(await execute(agent)).toEqual(["prepare", "pay"]);
  const over = await client.waitRun(other.workflow_instance_id, 20_000);
  expect(endsOf(over)).toEqual({
    go: "COMPLETED",
    beside: "kept COMPLETED",
    prepare: "COMPLETED",
    pay: "COMPLETED",
  });
  const chosen = await retry(client, id, { tasks: ["go"], params: { amount: "9" } });
  await approve(chosen.workflow_instance_id);
  expect((await execute(agent)).sort()).toEqual(["beside", "pay", "prepare"]);
});
