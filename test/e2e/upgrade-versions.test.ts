/** Principals and agents of different versions. */
import { beforeAll, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { errorsOf, examined, findingOf } from "../doctor/support.ts";
import { Cluster, cdktr, freePorts } from "../support/cdktr.ts";
import { build } from "../upgrade/builds.ts";
import { PATIENT, trigger } from "./failures/support.ts";
import { gate, runOver, shellWorkflow, until } from "./support/fixtures.ts";

/** Adjacent versions are compatible; the first and the last are not. */
let first: string;
let second: string;
let third: string;

beforeAll(async () => {
  first = await build("0.1.0", 1, 1);
  second = await build("0.2.0", 2, 1);
  third = await build("1.0.0", 3, 2);
}, 600_000);

const workflows = {
  "hello.yml": shellWorkflow({ a: { sh: "echo hello" }, b: { sh: "echo again", depends: ["a"] } }),
};
const agentId = (suffix: string) => `${hostname()}-${suffix}`;

test("neighbours work together, whichever is the older one, and everybody sees the versions", async () => {
  for (const [ofPrincipal, ofAgent, version] of [
    [first, second, "0.2.0"],
    [second, first, "0.1.0"],
    [second, third, "1.0.0"],
    [third, second, "0.2.0"],
  ] as const) {
    await using cluster = new Cluster({ workflows, env: PATIENT }, await freePorts(3));
    await cluster.startPrincipal([], { program: ofPrincipal });
    const agent = await cluster.startAgent([], { program: ofAgent });
    const run = await cluster.cdktr(["run", "hello", "--wait", "--json"], { program: ofAgent });
    expect(JSON.parse(run.stdout).status).toBe("COMPLETED");
    const { workflow_instance_id: id } = JSON.parse(run.stdout);
    for (const program of [ofPrincipal, ofAgent]) {
      const lines = await cluster.cdktr(["logs", "query", "--run", id, "--json"], { program });
      expect(
        lines.stdout
          .trim()
          .split("\n")
          .map((line) => JSON.parse(line).payload),
      ).toEqual(["hello", "again"]);
      const listed = await cluster.cdktr(["agents", "list", "--json"], { program });
      expect(JSON.parse(listed.stdout)).toMatchObject([{ agent_id: agentId("agent-1"), version }]);
    }
    agent.kill("SIGTERM");
    expect((await agent.finished).code).toBe(0);
  }
}, 60_000);

test("an agent of protocol 1 gets whole runs only, and those only if they may run anywhere", async () => {
  const files = {
    "anywhere.yml": shellWorkflow({ a: { sh: "true" }, b: { sh: "true", depends: ["a"] } }),
    "zone.yml": shellWorkflow({ a: { sh: "true" } }, "runs_on: {zone: eu}\n"),
    "spread.yml": shellWorkflow(
      { a: { sh: 'echo n=1 > "$CDKTR_OUTPUT"' }, b: { sh: 'cat "$CDKTR_INPUTS/a.json"', depends: ["a"] } },
      "placement: spread\n",
    ),
    "shared.yml": shellWorkflow({
      a: { sh: "true" },
      b: { sh: "true", depends: ["a"], extra: "    runs_on: {zone: eu}\n" },
    }),
  };
  await using cluster = new Cluster({ workflows: files, env: PATIENT }, await freePorts(3));
  await cluster.startPrincipal([], { program: second });
  const labels = ["--label", "zone=eu"];
  const old = await cluster.startAgent(["--suffix", "old", ...labels], { program: first });
  const waiting = await Promise.all(["zone", "spread", "shared"].map((id) => trigger(cluster, id)));
  // It has room, but only for the youngest of them.
  const whole = await runOver(cluster.client, await trigger(cluster, "anywhere"));
  expect([whole.status, whole.agent_id]).toEqual(["COMPLETED", agentId("old")]);
  for (const run of waiting) expect((await cluster.client.getRun(run)).status).toBe("PENDING");
  await cluster.startAgent(["--suffix", "new", ...labels], { program: second });
  for (const run of waiting) {
    const over = await runOver(cluster.client, run);
    expect([over.status, over.error]).toEqual(["COMPLETED", null]);
    expect(over.tasks.map((task) => task.agent_id)).toEqual(over.tasks.map(() => agentId("new")));
  }
  expect(old.stderr).not.toMatch(/ERROR|WARN/);
});

test("an agent that is too old ends with a status that systemd does not repeat; both sides name both versions", async () => {
  await using cluster = new Cluster({ workflows, env: PATIENT }, await freePorts(3));
  const principal = await cluster.startPrincipal([], { program: third });
  const agent = await cluster.spawn(["start", "agent"], { program: first }).finished;
  const words =
    /The agent \(cdktr 0\.1\.0, protocol 1\) is too old for the principal \(cdktr 1\.0\.0, protocols 2 to 3\)\. \(?Upgrade the agent/;
  expect(agent.stderr).toMatch(words);
  expect(agent.code).toBe(2);
  // An agent that does not ask before it registers is told so.
  const said = await cluster.client
    .registerAgent("simple", {
      session_id: "s",
      stream_id: "t",
      host: "h",
      pid: 1,
      version: "0.1.0",
      protocol: { version: 1, oldest: 1 },
      max_concurrent_workflows: 1,
      labels: {},
      running: [],
    })
    .catch(String);
  expect(said).toMatch(words);
  await principal.waitFor(/Agent simple is refused\. The agent \(cdktr 0\.1\.0/);
  expect(await cluster.client.registeredAgents()).toEqual([]);
  // Whoever only asks is not turned away.
  const listed = await cluster.cdktr(["workflow", "list", "--json"], { program: first });
  expect(JSON.parse(listed.stdout)).toMatchObject([{ workflow_id: "hello" }]);
});

test("an agent that is too new waits for the upgrade of the principal", async () => {
  await using cluster = new Cluster({ workflows, env: PATIENT }, await freePorts(3));
  const old = await cluster.startPrincipal([], { program: first });
  const agent = cluster.spawn(["start", "agent", "--suffix", "new"], { program: third });
  cluster.agents.push(agent);
  await agent.waitFor(
    /The agent \(cdktr 1\.0\.0, protocols 2 to 3\) is too new for the principal \(cdktr 0\.1\.0, protocol 1\)\. Upgrade the principal to cdktr 1\.0\.0/,
  );
  const run = await trigger(cluster, "hello");
  expect(await cluster.client.registeredAgents()).toEqual([]);
  const doctor = await cluster.cdktr(["doctor"], { program: third });
  expect(doctor.code).toBe(1);
  expect(doctor.stdout).toMatch(
    /✗ versions[^✗✓]*is too new for the\s+principal \(cdktr 0\.1\.0, protocol 1\)/,
  );
  // With no patience left it ends, with a status after which systemd tries again later.
  const impatient = await cdktr(["start", "agent", "--suffix", "impatient"], {
    program: third,
    env: { ...cluster.env, CDKTR_RETRY_ATTEMPTS: "1", CDKTR_DEFAULT_ZMQ_TIMEOUT_MS: "5000" },
  });
  expect(impatient.code).toBe(1);
  expect(impatient.stderr).toMatch(/ERROR .*is too new for the principal/);
  old.kill("SIGTERM");
  await old.finished;
  await cluster.startPrincipal([], { program: second });
  expect((await runOver(cluster.client, run)).status).toBe("COMPLETED");
});

test("a principal is upgraded too far under an agent that works: the run ends, and counts when the agent is upgraded too", async () => {
  await using cluster = new Cluster({ env: PATIENT }, await freePorts(3));
  const open = join(cluster.directory, "open");
  cluster.writeWorkflow("gated.yml", shellWorkflow({ a: { sh: `${gate(open)}; echo done` } }));
  const old = await cluster.startPrincipal([], { program: first });
  const agent = await cluster.startAgent([], { program: first });
  const run = await trigger(cluster, "gated");
  await until("it runs", async () => (await cluster.client.getRun(run)).tasks.length === 1);
  old.kill("SIGTERM");
  await old.finished;
  await cluster.startPrincipal([], { program: third });
  await agent.waitFor(/is too old for the principal .*cdktr 1\.0\.0/);
  await agent.waitFor(/The runs of this agent continue/);
  const waiting = await trigger(cluster, "gated");
  writeFileSync(open, "");
  expect((await agent.finished).code).toBe(2);
  expect((await cluster.client.getRun(run)).status).toBe("RUNNING");
  expect((await cluster.client.getRun(waiting)).status).toBe("PENDING");
  // Upgraded in its place: same id, same directory.
  cluster.agents.pop();
  await cluster.startAgent(["--suffix", "agent-1"], { program: second });
  const over = await runOver(cluster.client, run);
  expect(over).toMatchObject({ status: "COMPLETED", attempt: 1 });
  expect((await runOver(cluster.client, waiting)).attempt).toBe(1);
  const { rows } = await cluster.client.searchLogs({ workflow_instance_id: run });
  expect(rows.map((row) => row[7])).toEqual(["waiting", "passed", "done"]);
});

test("the doctor tells neighbours, and those who are too far apart, each with what to do", async () => {
  await using cluster = new Cluster({ workflows, env: PATIENT }, await freePorts(3));
  const doctor = (program: string) => examined({ cwd: cluster.directory, env: cluster.env, program });
  const principal = await cluster.startPrincipal([], { program: second });
  await cluster.startAgent([], { program: first });
  const neighbour = await doctor(first);
  expect([neighbour.code, errorsOf(neighbour)]).toEqual([0, []]);
  const told = neighbour.findings.filter(({ check }) => check === "versions").map(({ message }) => message);
  expect(told).toEqual([
    "This is cdktr 0.1.0, the principal is 0.2.0.",
    `Agent ${agentId("agent-1")} is 0.1.0, the principal is 0.2.0.`,
  ]);
  await principal.stop();
  await cluster.startPrincipal([], { program: third });
  const far = await doctor(first);
  expect(far.code).toBe(1);
  const found = findingOf(far, "versions", "error");
  expect(found.message).toContain("is too old for the principal (cdktr 1.0.0");
  expect(found.remedy).toContain("Upgrade the agent");
}, 60_000);
