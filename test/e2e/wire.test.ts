import { afterAll, beforeAll, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Cluster, startCluster } from "../support/cdktr.ts";
import { PYZMQ, pythonWith } from "../support/python.ts";
import { gate, pythonJson, runOver, shellWorkflow, TemporaryDirectory } from "./support/fixtures.ts";

const CLIENT = readFileSync(join(import.meta.dir, "support/foreign-client.py"), "utf8");
const MALFORMED = 2000;

type Answer = [kind: string, payload: string];

let cluster: Cluster;
let python: string;
const directory = new TemporaryDirectory();

beforeAll(async () => {
  python = await pythonWith([PYZMQ]);
  cluster = await startCluster({
    agents: 1,
    workflows: {
      "quick.yml": shellWorkflow(
        { say: { sh: 'echo "hello $CDKTR_PARAM_WHO"; echo trouble >&2' } },
        "description: says hello\nparams:\n  who:\n    default: world\n",
      ),
      "nested/gated.yml": shellWorkflow({ wait: { sh: gate(directory.path("gate")) } }),
      "gated.yml": shellWorkflow({ wait: { sh: gate(directory.path("gate")) } }),
    },
  });
}, 180_000);

afterAll(async () => {
  await cluster?.stop();
  directory[Symbol.dispose]();
});

async function ask(...requests: string[][]): Promise<Answer[]> {
  const answers = await pythonJson(
    python,
    CLIENT,
    "ask",
    String(cluster.ports.api),
    JSON.stringify(requests),
  );
  return answers as Answer[];
}

test("a REQ socket of another language gets the documented answers", async () => {
  const [pong, workflows, agents] = await ask(["PING"], ["LSWORKFLOWS"], ["GETREGISTEREDAGENTS"]);
  expect(pong).toEqual(["PONG", ""]);
  expect(workflows?.[0]).toBe("SUCCESS");
  const listed = JSON.parse(workflows?.[1] ?? "");
  expect(Object.keys(listed).sort()).toEqual(["gated", "nested.gated", "quick"]);
  expect(listed.quick).toMatchObject({ id: "quick", name: "test", description: "says hello", cron: null });
  expect(agents?.[0]).toBe("SUCCESS");
  const [agent] = JSON.parse(agents?.[1] ?? "[]");
  expect(agent).toMatchObject({ running_tasks: 0, status: "UP" });
  // In µs, for existing clients.
  expect(Math.abs(agent.last_ping_timestamp / 1000 - Date.now())).toBeLessThan(60_000);

  const before = Date.now();
  const [created, unknown] = await ask(["RUNTASK", "quick"], ["RUNTASK", "no.such.workflow"]);
  expect(created?.[0]).toBe("OK");
  const run = JSON.parse(created?.[1] ?? "").workflow_instance_id as string;
  expect(unknown?.[0]).toBe("CLIENTERROR");
  expect(unknown?.[1]).toContain("no.such.workflow");
  expect((await runOver(cluster.client, run)).status).toBe("COMPLETED");

  const end = String(Date.now() + 1000);
  const [lines, verbose, ofOthers, tooEarly, statuses] = await ask(
    ["QUERYLOGS", end, String(before - 1000), "quick", run, ""],
    ["QUERYLOGS", "", "", "", run, "true"],
    ["QUERYLOGS", "", "", "gated", "", ""],
    ["QUERYLOGS", String(before - 1000), "0", "", "", ""],
    ["GETRECENTSTATUSES"],
  );
  expect(lines?.[0]).toBe("SUCCESS");
  const said = JSON.parse(lines?.[1] ?? "[]") as string[];
  expect(said.filter((line) => line.includes("hello world"))).toHaveLength(1);
  expect(said.filter((line) => line.includes("trouble"))).toHaveLength(1);
  expect(JSON.parse(verbose?.[1] ?? "[]").length).toBe(said.length);
  expect(JSON.parse(ofOthers?.[1] ?? "")).toEqual([]);
  expect(JSON.parse(tooEarly?.[1] ?? "")).toEqual([]);
  expect(statuses?.[0]).toBe("SUCCESS");
  const [latest] = JSON.parse(statuses?.[1] ?? "[]");
  expect(latest).toMatchObject({ workflow_id: "quick", workflow_instance_id: run, status: "COMPLETED" });
  expect(latest.timestamp_ms).toBeGreaterThanOrEqual(before);
}, 120_000);

test("options of RUNTASK: params reach the task, a repeated dedupe key gives the same run", async () => {
  const options = JSON.stringify({ params: { who: "Ada" }, trigger: "api", dedupe_key: "once" });
  const [first, second] = await ask(["RUNTASK", "quick", options], ["RUNTASK", "quick", options]);
  expect(first?.[0]).toBe("OK");
  expect(second).toEqual(first as Answer);
  const run = JSON.parse(first?.[1] ?? "").workflow_instance_id as string;
  expect((await runOver(cluster.client, run)).params).toEqual({ who: "Ada" });
  const [lines] = await ask(["QUERYLOGS", "", "", "", run, ""]);
  expect(lines?.[1]).toContain("hello Ada");
}, 120_000);

test(`${MALFORMED} malformed messages get a CLIENTERROR each while runs go on`, async () => {
  const { workflow_instance_id: held } = await cluster.client.runTask("gated", { dedupe_key: "held" });
  const pid = (await cluster.client.info()).pid;
  const [agent] = await cluster.client.registeredAgents();
  const storm = pythonJson(
    python,
    CLIENT,
    "malformed",
    String(cluster.ports.api),
    String(MALFORMED),
    "20250120",
    held,
    agent?.agent_id ?? "agent",
  ) as Promise<{ sent: number; answers: unknown; wrong: unknown[] }>;

  let over = false;
  const watched = storm.finally(() => {
    over = true;
  });
  let completed = 0;
  do {
    const { workflow_instance_id } = await cluster.client.runTask("quick", {
      dedupe_key: `beside ${completed}`,
    });
    expect((await runOver(cluster.client, workflow_instance_id)).status).toBe("COMPLETED");
    completed++;
  } while (!over);

  const result = await watched;
  expect(result.wrong).toEqual([]);
  expect(result.sent).toBe(MALFORMED);
  expect(completed).toBeGreaterThan(1);

  // The run that was there all the time was not touched, and the principal is the same process.
  expect((await cluster.client.getRun(held)).status).toBe("RUNNING");
  await Bun.write(directory.path("gate"), "");
  expect((await runOver(cluster.client, held)).status).toBe("COMPLETED");
  expect((await cluster.client.info()).pid).toBe(pid);
}, 180_000);
