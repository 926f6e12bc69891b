import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PrincipalClient } from "../../src/protocol/client.ts";
import { startPrincipalProcess } from "./principal-process.ts";
import { FakeAgent, required, temporaryDirectory, workflowText } from "./support.ts";

const ROUNDS = 3;

test("kill -9 at any instant loses no acknowledged run and doubles none", async () => {
  using directory = temporaryDirectory();
  mkdirSync(join(directory.path, "workflows"));
  writeFileSync(join(directory.path, "workflows", "hello.yml"), workflowText());
  const acknowledged = new Map<string, string>();
  const assigned = new Map<string, Set<number>>();
  let asked: string[] = [];

  for (let round = 0; round < ROUNDS; round++) {
    const { child, port } = await startPrincipalProcess(directory.path);
    const client = new PrincipalClient({ host: "127.0.0.1", port, timeoutMs: 10_000 });
    const agent = new FakeAgent(client, `agent-${round}`);
    await agent.register();
    // What was asked for and not acknowledged before the kill is asked for again, under its key.
    const again = asked.filter((key) => !acknowledged.has(key));
    const fresh = Array.from({ length: 120 }, (_, i) => `${round}-${i}`);
    asked = [...asked, ...fresh];
    const killAfter = round === ROUNDS - 1 ? Number.POSITIVE_INFINITY : 20 + Math.floor(Math.random() * 90);
    let count = 0;
    const triggers = [...again, ...fresh].map(async (key) => {
      const { workflow_instance_id: id } = await client.runTask("hello", { dedupe_key: key });
      const before = acknowledged.get(key);
      expect(before ?? id).toBe(id);
      acknowledged.set(key, id);
      if (++count === killAfter) child.kill("SIGKILL");
    });
    const fetching = (async () => {
      for (let run = await agent.fetch(200); run !== null; run = await agent.fetch(200)) {
        const attempts = assigned.get(run.workflow_instance_id) ?? new Set();
        expect(attempts.has(run.attempt)).toBe(false);
        assigned.set(run.workflow_instance_id, attempts.add(run.attempt));
      }
    })();
    const settled = Promise.allSettled([...triggers, fetching]);
    void child.exited.then(() => client.close());
    if (killAfter === Number.POSITIVE_INFINITY) {
      await settled;
      const listed = await client.listRuns({ limit: 10_000 });
      expect(listed.map((run) => run.workflow_instance_id).sort()).toEqual([...acknowledged.values()].sort());
      child.kill("SIGTERM");
    }
    await child.exited;
    await settled;
  }

  expect(acknowledged.size).toBe(asked.length);
  expect(new Set(acknowledged.values()).size).toBe(asked.length);
  const database = new Database(join(directory.path, "data", "state.db"), { readonly: true });
  const rows = database.query<{ n: number }, []>("SELECT count(*) AS n FROM runs").get();
  database.close();
  expect(required(rows).n).toBe(asked.length);
}, 120_000);
