import { expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PrincipalClient, PrincipalFailedError } from "../../src/protocol/client.ts";
import { startPrincipalProcess } from "./principal-process.ts";
import { FakeAgent, failure, required, temporaryDirectory, workflowText } from "./support.ts";

test("a full disk: requests that need it are refused with the reason, others are answered, and it recovers", async () => {
  using directory = temporaryDirectory();
  mkdirSync(join(directory.path, "workflows"));
  writeFileSync(join(directory.path, "workflows", "hello.yml"), workflowText());
  const { child, port } = await startPrincipalProcess(directory.path);
  /** The size that files may have. */
  const limit = (bytes: string) =>
    expect(Bun.spawnSync(["prlimit", `--fsize=${bytes}:`, "--pid", String(child.pid)]).exitCode).toBe(0);
  const client = new PrincipalClient({ host: "127.0.0.1", port, timeoutMs: 20_000 });
  try {
    const agent = new FakeAgent(client, "agent");
    await agent.register();
    const before = await client.runTask("hello", { dedupe_key: "before" });
    const run = required(await agent.fetch());
    await agent.send(agent.runReport(run, "RUNNING"));

    limit("4096");
    const refused = await failure(client.runTask("hello", { dedupe_key: "during" }));
    expect(refused).toBeInstanceOf(PrincipalFailedError);
    expect(refused.message).toContain("The principal's state cannot be written");
    const end = agent.runReport(run, "COMPLETED");
    expect(await failure(agent.send(end))).toBeInstanceOf(PrincipalFailedError);
    const waiting = agent.fetch(20_000);
    // What needs no disk goes on.
    await client.ping();
    expect((await client.listRuns({})).map((one) => one.status)).toEqual(["RUNNING"]);
    expect(Object.keys(await client.listWorkflows())).toEqual(["hello"]);
    expect((await agent.heartbeat([run])).stop).toEqual([]);
    expect((await client.registeredAgents())[0]?.status).toBe("UP");

    limit("unlimited");
    const during = await client.runTask("hello", { dedupe_key: "during" });
    expect(required(await waiting).workflow_instance_id).toBe(during.workflow_instance_id);
    await agent.send(end);
    expect((await client.getRun(before.workflow_instance_id)).status).toBe("COMPLETED");
    expect(await client.listRuns({})).toHaveLength(2);
  } finally {
    await client.close();
    child.kill("SIGTERM");
    expect(await child.exited).toBe(0);
  }
}, 30_000);
