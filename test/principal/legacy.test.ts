import { expect, test } from "bun:test";
import { join } from "node:path";
import { PYZMQ, pythonWith } from "../support/python.ts";
import { TestPrincipal, workflowText } from "./support.ts";

const SCRIPT = join(import.meta.dir, "legacy_client.py");

test("existing clients are answered as ever, and 2,000 malformed messages get a CLIENTERROR each", async () => {
  const python = await pythonWith([PYZMQ]);
  await using cluster = await new TestPrincipal({
    workflows: {
      "hello.yml": workflowText({ top: 'cron: "0 0 2 * * *"\nstart_time: 2025-01-20T02:00:00+00:00' }),
    },
  }).start();
  const seed = Math.floor(Math.random() * 2 ** 31);
  const child = Bun.spawn([python, SCRIPT, String(cluster.ports.api), String(seed)], {
    stdout: "pipe",
    stderr: "pipe",
  });
  const [text, errors, status] = await Promise.all([
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
    child.exited,
  ]);
  expect({ status, errors }).toEqual({ status: 0, errors: "" });
  const out = JSON.parse(text);

  expect(out.ping).toEqual(["PONG", ""]);
  expect(out.workflows[0]).toBe("SUCCESS");
  expect(out.workflows[1].hello).toMatchObject({
    id: "hello",
    name: "A workflow",
    description: null,
    path: "hello.yml",
    cron: "0 0 2 * * *",
    start_time: "2025-01-20T02:00:00+00:00",
  });
  expect(out.unknown).toEqual(["CLIENTERROR", 'There is no workflow "helo": did you mean "hello"?']);
  const id = out.run[1].workflow_instance_id;
  expect(out.run[0]).toBe("OK");
  expect(out.again).toEqual(out.run);
  expect(out.plain[1].workflow_instance_id).not.toBe(id);
  expect(out.register).toEqual(["OK", ""]);
  expect(out.fetched[0]).toBe("SUCCESS");
  expect(out.fetched[1]).toMatchObject({ workflow_id: "hello", workflow_instance_id: id, attempt: 1 });
  expect(out.running).toEqual(["OK", ""]);
  expect(out.task).toEqual([
    ["OK", ""],
    ["OK", ""],
  ]);
  expect(out.agents[1]).toMatchObject([{ agent_id: "py-agent", running_tasks: 0, status: "UP" }]);
  expect(Math.abs(out.now_us - out.agents[1][0].last_ping_timestamp)).toBeLessThan(60_000_000);
  expect(out.completed).toEqual(["OK", ""]);
  expect(out.late[0]).toBe("UNPROC");
  expect(out.second[0]).toBe("SUCCESS");
  expect(out.none).toEqual(["OK", ""]);
  expect(out.none_waiting).toEqual(["OK", ""]);
  expect(out.statuses).toEqual([
    "SUCCESS",
    [
      {
        workflow_id: "hello",
        workflow_instance_id: id,
        status: "COMPLETED",
        timestamp_ms: expect.any(Number),
      },
    ],
  ]);
  expect(out.logs).toEqual(["SUCCESS", []]);
  expect(out.logs_bounded).toEqual(["SUCCESS", []]);
  expect({ seed, ...out.malformed }).toEqual({ seed, CLIENTERROR: 2000 });
  expect(out.huge).toStartWith("CLIENTERROR\x01");
  expect(out.alive).toEqual(["PONG", ""]);

  const run = await cluster.client().getRun(id);
  expect(run).toMatchObject({ status: "COMPLETED", agent_id: "py-agent", tasks_done: 1 });
}, 120_000);
