/** An agent's identity is its data directory: on a host that was restarted, on another host, and in a copy. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { cpSync, existsSync, writeFileSync } from "node:fs";
import { type AddressInfo, connect, createServer } from "node:net";
import { join } from "node:path";
import { type CdktrProcess, type Cluster, startCluster } from "../../support/cdktr.ts";
import { gate, linesOf, runOver, shellWorkflow, TemporaryDirectory, until } from "../support/fixtures.ts";
import { IMPATIENT, trigger } from "./support.ts";

let directory: TemporaryDirectory;
let cluster: Cluster;

beforeAll(async () => {
  directory = new TemporaryDirectory();
  const task = (name: string) =>
    shellWorkflow({
      a: { sh: `echo once >> ${directory.path(name)}; ${gate(directory.path(`${name}.gate`))}` },
    });
  cluster = await startCluster({
    // Nothing is settled by waiting until an agent counts as lost.
    env: { ...IMPATIENT, CDKTR_AGENT_HEARTBEAT_TIMEOUT_MS: "600000" },
    workflows: { "reboot.yml": task("reboot"), "moved.yml": task("moved"), "copied.yml": task("copied") },
  });
});
afterAll(async () => {
  await cluster.stop();
  directory[Symbol.dispose]();
});

interface Host {
  readonly name: string;
  readonly machine: string;
  readonly boot: string;
  readonly upSeconds: number;
}

/** An agent on a host that looks so, as far as an agent looks. */
function agentOn(host: Host, data: string): CdktrProcess {
  const fake = (path: string, text: string) => {
    const file = directory.path(`${host.name}-${host.boot}-${path.replaceAll("/", "-")}`);
    writeFileSync(file, `${text}\n`);
    return `mount --bind '${file}' '${path}'`;
  };
  const script = [
    fake("/etc/machine-id", host.machine),
    fake("/proc/sys/kernel/random/boot_id", host.boot),
    fake("/proc/uptime", `${host.upSeconds.toFixed(2)} 0.00`),
    `hostname ${host.name}`,
    'exec "$@"',
  ].join(" && ");
  return cluster.spawn(["start", "agent", "--data-dir", data], {
    prefix: ["unshare", "--uts", "--mount", "--propagation", "private", "sh", "-c", script, "sh"],
  });
}

const FIRST: Host = { name: "first", machine: "m1", boot: "b1", upSeconds: 1e6 };

/** A run that ends while the principal is away: its report and its last line wait in the outbox of an agent that has ended. */
async function leaveWork(workflow: string, host: Host, data: string): Promise<string> {
  await using agent = agentOn(host, data);
  const run = await trigger(cluster, workflow);
  await until("the task runs", async () => (await cluster.client.getRun(run)).tasks.length === 1);
  cluster.principal?.kill("SIGKILL");
  await cluster.principal?.finished;
  writeFileSync(directory.path(`${workflow}.gate`), "");
  // It finishes the run, and waits a while for the principal.
  agent.kill();
  expect((await agent.finished).code).toBe(1);
  expect(agent.stderr).toMatch(/reports and \d+ log lines could not be delivered/);
  return run;
}

async function passedLines(run: string): Promise<unknown> {
  const { rows } = await cluster.client.queryDatabase({
    sql: `SELECT count(*)::INTEGER FROM logstore WHERE workflow_instance_id = '${run}' AND payload = 'passed'`,
  });
  return rows;
}

test("after an unclean restart of its host an agent is back at once, and what had ended is not done again", async () => {
  const data = directory.path("data-reboot");
  const run = await leaveWork("reboot", FIRST, data);
  await cluster.startPrincipal();
  await using agent = agentOn({ ...FIRST, boot: "b2", upSeconds: 0.01 }, data);
  await agent.waitFor(/Agent first is registered/);
  await cluster.principal?.waitFor(/The host of agent first was restarted: its former process .* has ended/);
  expect(await runOver(cluster.client, run)).toMatchObject({ status: "COMPLETED", attempt: 1 });
  expect(linesOf(directory.path("reboot"))).toEqual(["once"]);
  expect((await agent.stop()).code).toBe(0);
  expect(await passedLines(run)).toEqual([[1]]);
});

test("a data directory that was moved to another host keeps its id, and its reports count while it waits for the id", async () => {
  const data = directory.path("data-moved");
  const run = await leaveWork("moved", FIRST, data);
  await cluster.startPrincipal();
  await using agent = agentOn({ ...FIRST, name: "second", machine: "m2", boot: "b3" }, data);
  await agent.waitFor(/moved to a host with another name: the agent keeps the id first, and delivers/);
  await agent.waitFor(/does not accept this agent yet: .*may still be alive/);
  expect(await runOver(cluster.client, run)).toMatchObject({ status: "COMPLETED", attempt: 1 });
  expect(linesOf(directory.path("moved"))).toEqual(["once"]);
});

test("a copy of the data directory of an agent that runs, on a host with another name, becomes an agent of its own", async () => {
  const data = directory.path("data-copied");
  const host = { ...FIRST, name: "third" };
  const run = await leaveWork("copied", host, data);
  const copy = directory.path("data-copy");
  cpSync(data, copy, { recursive: true });
  await cluster.startPrincipal();
  await using original = agentOn(host, data);
  await original.waitFor(/Agent third is registered/);
  expect(await runOver(cluster.client, run)).toMatchObject({ status: "COMPLETED", attempt: 1 });

  const other = { ...FIRST, name: "fourth", machine: "m4", boot: "b4" };
  await using stray = agentOn(other, copy);
  await stray.waitFor(/is in use twice/);
  await stray.waitFor(/The id third belongs to an agent elsewhere: this one takes the name of its host/);
  await stray.waitFor(/Agent fourth is registered/);
  expect(existsSync(join(copy, "agents", "fourth"))).toBe(true);
  expect(original.ended).toBe(false);
  const agents = await cluster.client.registeredAgents();
  const listed = agents.filter(({ agent_id }) => agent_id === "third" || agent_id === "fourth");
  expect(listed.map(({ agent_id, status }) => [agent_id, status])).toEqual([
    ["fourth", "UP"],
    ["third", "UP"],
  ]);
  // It stays so: the copy is nobody's any more.
  expect((await stray.stop()).code).toBe(0);
  await using again = agentOn(other, copy);
  await again.waitFor(/Agent fourth is registered/);
  expect(again.stderr).not.toContain("keeps the id");
});

test("a copy of a running agent's process, as from a snapshot of its machine, is refused, and the agent goes on", async () => {
  const heard: string[] = [];
  const network = createServer((agent) => {
    const principal = connect(cluster.ports.api, "127.0.0.1");
    for (const [from, to] of [[agent, principal] as const, [principal, agent] as const])
      from
        .on("data", (bytes) => heard.push(bytes.toString("latin1")))
        .on("error", () => to.destroy())
        .pipe(to);
  });
  await new Promise<void>((ready) => network.listen(0, "127.0.0.1", ready));
  const port = (network.address() as AddressInfo).port;
  await using agent = cluster.spawn(["start", "agent", "--suffix", "snapshot"], {
    env: { CDKTR_PRINCIPAL_PORT: String(port) },
  });
  const found = async (name: string, count: number) =>
    until(`${name} was on the wire`, async () => {
      const values = [...heard.join("").matchAll(new RegExp(`"${name}":"([^"]+)"`, "g"))].map(
        ([, value]) => value,
      );
      return new Set(values).size >= count && values[0];
    });
  // What the copy has in its memory; meanwhile the original goes on.
  const [session_id, stream_id, last_token] = await Promise.all([
    found("session_id", 1),
    found("stream_id", 1),
    found("contact_token", 4),
  ]);
  const [known] = (await cluster.client.registeredAgents()).filter(({ agent_id }) =>
    agent_id.endsWith("-snapshot"),
  );
  const agent_id = known?.agent_id ?? "";
  const as = { agent_id, session_id: `${session_id}` };
  const beat = { ...as, wait_ms: 0, running: [], running_tasks: 0, contact_token: `${last_token}` };
  // Not expect(…).rejects: the network in this process would stand still meanwhile.
  const refusal = (request: Promise<unknown>) => request.then(() => "none", String);
  expect(await refusal(cluster.client.call("AGENTHEARTBEAT", beat))).toContain("register first");
  const description = {
    session_id: `${session_id}`,
    stream_id: `${stream_id}`,
    host: "elsewhere",
    pid: 1,
    version: "0.0.0",
    protocol: { version: 1, oldest: 1 },
    max_concurrent_workflows: 1,
    last_token: `${last_token}`,
  };
  expect(await refusal(cluster.client.registerAgent(agent_id, description))).toContain("is in use twice");
  expect(agent.stderr).not.toContain("no longer knows this agent");
  expect((await agent.stop()).code).toBe(0);
  network.close();
});
