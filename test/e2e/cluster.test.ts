/** Several principals over PostgreSQL: who leads, who takes over, and what stays. */
import { expect, test } from "bun:test";
import { Installation } from "../support/installation.ts";
import { runOver, shellWorkflow } from "./support/fixtures.ts";

const WORKFLOWS = { "hello.yml": shellWorkflow({ greet: { sh: "echo hello" } }) };

test("a leader that is killed: another principal takes over, with all runs", async () => {
  await using installation = await Installation.start(3, { workflows: WORKFLOWS });
  const leader = await installation.leader();
  const [follower, other] = await installation.followers();
  if (follower === undefined || other === undefined) throw new Error("there are no followers");
  await installation.startAgent([follower]);
  const before = await leader.client.runTask("hello", { dedupe_key: "before" });
  expect((await runOver(follower.client, before.workflow_instance_id)).status).toBe("COMPLETED");

  leader.process.kill("SIGKILL");
  // While nobody leads, a follower keeps the request until somebody does.
  const after = await other.client.runTask("hello", { dedupe_key: "after" });
  expect((await runOver(other.client, after.workflow_instance_id)).status).toBe("COMPLETED");
  expect((await other.client.getRun(before.workflow_instance_id)).status).toBe("COMPLETED");
  const next = await installation.leader();
  expect([follower.name, other.name]).toContain(next.name);
  const { stdout } = await installation.cdktr(follower, ["principals", "list", "--json"]);
  const listed = JSON.parse(stdout) as { name: string; role: string; epoch: number | null }[];
  expect(listed.find(({ name }) => name === next.name)).toMatchObject({ role: "leader", epoch: 2 });
});
