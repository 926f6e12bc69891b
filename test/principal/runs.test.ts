import { describe, expect, test } from "bun:test";
import { required, TestPrincipal, workflowText } from "./support.ts";

describe("a run", () => {
  test("is triggered, dispatched, reported and listed", async () => {
    await using cluster = await new TestPrincipal({
      workflows: { "etl/daily.yml": workflowText({ tasks: ["a", "b"] }) },
    }).start();
    const client = cluster.client();
    await client.ping();
    expect(Object.keys(await client.listWorkflows())).toEqual(["etl.daily"]);

    const agent = await cluster.agent();
    const waiting = agent.fetch();
    const { workflow_instance_id: id } = await client.runTask("etl.daily", {
      dedupe_key: "one",
      trigger: "cli",
    });
    const run = required(await waiting);
    expect(run.workflow_instance_id).toBe(id);
    expect(run.attempt).toBe(1);
    expect(run.workflow.tasks.map((task) => task.id)).toEqual(["a", "b"]);

    const end = client.waitRun(id, 10_000);
    await agent.execute(run);
    const details = await end;
    expect(details.status).toBe("COMPLETED");
    expect(details.tasks.map((task) => [task.task_id, task.status])).toEqual([
      ["a", "COMPLETED"],
      ["b", "COMPLETED"],
    ]);
    expect(details.attempts).toHaveLength(1);
    const [listed] = await client.listRuns({ limit: 5 });
    expect(listed).toMatchObject({
      workflow_instance_id: id,
      status: "COMPLETED",
      agent_id: "agent-1",
      trigger: "cli",
    });
  });
});
