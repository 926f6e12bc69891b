/** Approvals on the command line: what asks is told, and is answered from there. No agent is needed. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { type Cluster, startCluster } from "../support/cdktr.ts";
import { runOver, until } from "./support/fixtures.ts";

let cluster: Cluster;

beforeAll(async () => {
  cluster = await startCluster({
    agents: 0,
    workflows: {
      "ask.yml": `tasks:
  go:
    config: !Approval
      message: Go on?
      form:
        share: {type: int, min: 1, max: 100, description: Percent of the servers}
        window: {enum: [now, tonight], default: now}
      timeout: 3h
  after: {depends: [go], config: !Wait {for: 1ms}}
`,
      "two.yml": `tasks:
  one: {config: !Approval {message: One?}}
  each: {foreach: [a b, c], key: "\${{ item }}", config: !Approval {message: "Each \${{ item }}?"}}
`,
    },
  });
  await until("they are known", async () => "two" in (await cluster.client.listWorkflows()));
}, 60_000);
afterAll(() => cluster?.stop());

test("who follows a run is told that a person is needed, and how to answer", async () => {
  await using following = cluster.spawn(["run", "ask", "--follow"]);
  const [, id = ""] = await following.waitFor(/^Run (\S+) of ask$/m);
  const short = id.slice(0, 13);
  await following.waitFor(
    new RegExp(
      `^Waits for a person: task go: Go on\\?\n {2}cdktr approvals approve ${short} go -P share=VALUE\n {2}cdktr approvals reject ${short} go --note WHY$`,
      "m",
    ),
  );
  const list = await cluster.cdktr(["approvals", "list"]);
  expect(list.stdout).toMatch(/^RUN +WORKFLOW +TASK +SINCE +IF NOBODY ANSWERS +TRIGGERED BY +ASKS$/m);
  expect(list.stdout).toMatch(new RegExp(`^${id} +ask +go +.* +rejected in 2h +\\S+ +Go on\\?$`, "m"));
  const json = await cluster.cdktr(["approvals", "list", "--run", short, "--json"]);
  expect(JSON.parse(json.stdout)).toEqual(await cluster.client.listApprovals({}));
  const why = await cluster.cdktr(["runs", "why", id]);
  expect(why.stdout).toContain(`Go on?
  To be filled in:
    share (int from 1 to 100, must be given): Percent of the servers
    window (one of now, tonight, default "now")
  If nobody answers, it is rejected in 2h.
  cdktr approvals approve ${short} go -P share=VALUE
  cdktr approvals reject ${short} go --note WHY
`);
  expect(why.stdout).toMatch(/^Task go has waited for a person for \S+: Go on\?$/m);
  const show = await cluster.cdktr(["runs", "show", id]);
  expect(show.stdout).toContain(
    `Asks      go: Go on? (cdktr approvals approve ${short} go -P share=VALUE)\n`,
  );
  expect(show.stdout).toMatch(/^By +\S+$/m);
  const wrong = await cluster.cdktr(["approvals", "approve", id]);
  expect([wrong.code, wrong.stderr]).toEqual([
    4,
    'error: the form of "go": missing field "share" (give -P share=VALUE)\n',
  ]);
  const approve = await cluster.cdktr([
    "approvals",
    "approve",
    short,
    "-P",
    "share=20",
    "--note",
    "as discussed",
  ]);
  expect([approve.code, approve.stderr]).toEqual([0, `Task go of run ${id} of ask is approved.\n`]);
  const { code, stdout } = await following.finished;
  expect(code).toBe(0);
  expect(stdout).toMatch(/^COMPLETED ask /m);
  const again = await cluster.cdktr(["approvals", "reject", short, "go"]);
  expect([again.code, again.stderr]).toEqual([
    1,
    expect.stringMatching(/^error: Task "go" is over already: COMPLETED at .*Z, approved by \S+\.\n$/),
  ]);
  // Who and why is in the history.
  const sql = `SELECT outputs FROM task_runs WHERE workflow_instance_id = '${id}' AND task_id = 'go'`;
  const { rows } = await cluster.client.queryDatabase({ sql });
  expect(JSON.parse(String(rows[0]?.[0]))).toEqual({
    approved_by: expect.any(String),
    note: "as discussed",
    share: 20,
    window: "now",
  });
});

test("one of several is named, also an item; a rejection has its reason", async () => {
  const { workflow_instance_id: id } = await cluster.client.runTask("two", { dedupe_key: "two" });
  const several = await cluster.cdktr(["approvals", "approve", id]);
  expect([several.code, several.stderr]).toEqual([
    4,
    `error: Run ${id} waits for 3 approvals (each[a b], each[c], one): name one of them.\n`,
  ]);
  const why = await cluster.cdktr(["runs", "why", id]);
  expect(why.stdout).toContain(`  cdktr approvals approve ${id.slice(0, 13)} 'each[a b]'\n`);
  const rejected = await cluster.cdktr(["approvals", "reject", id, "each[a b]", "--note", "no", "--json"]);
  expect(JSON.parse(rejected.stdout)).toEqual({
    workflow_id: "two",
    workflow_instance_id: id,
    task_id: "each",
    item_key: "a b",
    status: "FAILED",
  });
  for (const task_id of ["each[c]", "one"]) {
    const answer = { workflow_instance_id: id, task_id, answer: "approve", dedupe_key: task_id } as const;
    await cluster.client.answerApproval(answer);
  }
  const run = await runOver(cluster.client, id);
  expect(run).toMatchObject({ status: "FAILED", error: "failed: each" });
  const [item] = await cluster.client.listItems({
    workflow_instance_id: id,
    task_id: "each",
    status: "FAILED",
  });
  expect(item?.error).toMatch(/^rejected by \S+: no$/);
  const none = await cluster.cdktr(["approvals", "list", "--workflow", "tow"]);
  expect([none.code, none.stdout, none.stderr]).toEqual([
    0,
    "",
    expect.stringMatching(/^Nothing waits for a person\.\n[\s\S]*tow/),
  ]);
});
