/** The executable is replaced while services run, and the services are restarted. */
import { beforeAll, expect, test } from "bun:test";
import {
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from "node:fs";
import { hostname } from "node:os";
import { dirname, join } from "node:path";
import { Random } from "../chaos/random.ts";
import { account, type Outage, withHistoryFile } from "../chaos/verify.ts";
import { type Acknowledged, Load, prepareWorkflows } from "../chaos/workload.ts";
import { type CdktrProcess, Cluster, freePorts } from "../support/cdktr.ts";
import { build } from "../upgrade/builds.ts";
import { IMPATIENT, trigger } from "./failures/support.ts";
import { processesWith, runOver, shellWorkflow, until } from "./support/fixtures.ts";

let older: string;
let newer: string;

beforeAll(async () => {
  older = await build("0.1.0", 1, 1);
  newer = await build("0.2.0", 2, 1);
}, 600_000);

/** Puts an executable where it is started from, as a deployment does: written beside, then renamed. */
function install(program: string, path: string): void {
  mkdirSync(join(path, ".."), { recursive: true });
  const staged = `${path}.new`;
  rmSync(staged, { force: true });
  try {
    linkSync(program, staged);
  } catch {
    copyFileSync(program, staged);
  }
  renameSync(staged, path);
}

/** The words of a process; none if it has ended. */
function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, "latin1");
  } catch {
    return "";
  }
}

/** What a running process is an instance of, as the kernel sees it. */
const programOf = (pid: number) => readlinkSync(`/proc/${pid}/exe`);
const bootSeconds = () => Number(readFileSync("/proc/uptime", "utf8").split(" ")[0]);

test("under load, there and back, with TERM and with KILL: nothing is lost, and nothing runs twice", async () => {
  const env = { ...IMPATIENT, CDKTR_RETRY_ATTEMPTS: "100000" };
  await using cluster = new Cluster({ env }, await freePorts(3));
  const program = join(cluster.directory, "bin", "cdktr");
  const witness = join(cluster.directory, "witness");
  writeFileSync(witness, "");
  install(older, program);
  const { whole, split } = await prepareWorkflows(cluster);
  const shared: Acknowledged[] = [];
  const outages: Outage[] = [];
  const agents = new Map<string, CdktrProcess>();
  const agentId = (name: string) => `${hostname()}-${name}`;

  const startAgent = async (name: string) => {
    const side = name === "one" ? "left" : "right";
    const agent = cluster.spawn(["start", "agent", "--suffix", name, "--label", `${side}=yes`], {
      program,
      env: { CHAOS_AGENT: name, CHAOS_WITNESS: witness },
    });
    agents.set(name, agent);
    cluster.agents.push(agent);
    await agent.waitFor(/is registered with the principal/);
  };
  const restartAgent = async (name: string, signal: "SIGTERM" | "SIGKILL") => {
    const from = bootSeconds();
    agents.get(name)?.kill(signal);
    const ended = await agents.get(name)?.finished;
    // One with news of slices keeps them from a principal that does not know any, and says so with its status.
    const isBehind = (await cluster.client.info()).protocol.version === 1 && shared.length > 0;
    const [keepsThem, isTooNew] = [/could not be delivered/, /is too new for the principal/].map((said) =>
      said.test(ended?.stderr ?? ""),
    );
    // One that was too new may have been accepted in the meantime: the principal is replaced as well.
    const statuses = !isBehind ? [0] : keepsThem ? [1] : isTooNew ? [0, 1] : [0];
    if (signal === "SIGTERM") expect(statuses).toContain(ended?.code ?? -1);
    await startAgent(name);
    outages.push({ agent: name, from, until: bootSeconds() });
  };
  const restartPrincipal = async (signal: "SIGTERM" | "SIGKILL") => {
    const from = bootSeconds();
    cluster.principal?.kill(signal);
    await cluster.principal?.finished;
    await cluster.startPrincipal([], { program });
    outages.push({ agent: "all", from, until: bootSeconds() });
  };
  const versions = async () => ({
    principal: (await cluster.client.info()).version,
    agents: Object.fromEntries(
      (await cluster.client.registeredAgents()).map((agent) => [agent.agent_id, agent.version]),
    ),
  });

  await cluster.startPrincipal([], { program });
  await Promise.all([startAgent("one"), startAgent("two")]);
  const load = new Load([cluster.client], whole, new Random(11), 5);
  load.start();
  const more = async (runs: number) => {
    const wanted = load.acknowledged.length + runs;
    await until("more triggers", () => load.acknowledged.length >= wanted);
  };
  await more(10);

  install(newer, program);
  expect(programOf(agents.get("one")?.pid ?? 0)).not.toBe(program);
  await more(5);
  await restartAgent("one", "SIGKILL");
  expect(await versions()).toEqual({
    principal: "0.1.0",
    agents: { [agentId("one")]: "0.2.0", [agentId("two")]: "0.1.0" },
  });
  await more(5);
  await restartPrincipal("SIGTERM");
  await restartAgent("two", "SIGTERM");
  expect(await versions()).toEqual({
    principal: "0.2.0",
    agents: { [agentId("one")]: "0.2.0", [agentId("two")]: "0.2.0" },
  });
  // Runs that agents share, from now on.
  const share = async () => {
    for (const workflowId of split) shared.push({ workflowId, runId: await trigger(cluster, workflowId) });
  };
  await share();
  await more(5);
  await restartPrincipal("SIGKILL");
  await restartAgent("one", "SIGKILL");
  await share();
  await more(5);

  // Back again, which some of those wait out.
  install(older, program);
  await restartPrincipal("SIGTERM");
  await restartAgent("one", "SIGTERM");
  await restartAgent("two", "SIGKILL");
  expect(await versions()).toEqual({
    principal: "0.1.0",
    agents: { [agentId("one")]: "0.1.0", [agentId("two")]: "0.1.0" },
  });
  await more(5);
  await load.stop();
  install(newer, program);
  await restartPrincipal("SIGTERM");
  await restartAgent("one", "SIGTERM");
  await restartAgent("two", "SIGTERM");
  for (const { runId } of [...load.acknowledged, ...shared]) await runOver(cluster.client, runId);
  for (const agent of agents.values()) agent.kill("SIGTERM");
  for (const agent of agents.values()) expect((await agent.finished).code).toBe(0);
  cluster.principal?.kill("SIGTERM");
  expect((await cluster.principal?.finished)?.code).toBe(0);

  const { counts, violations } = await withHistoryFile(join(cluster.dataDirectory, "app.db"), (history) =>
    account({
      history,
      witness,
      acknowledged: [...load.acknowledged, ...shared],
      split,
      outages,
      fencingSeconds: 12,
    }),
  );
  expect(violations).toEqual([]);
  expect(load.doubled).toEqual([]);
  expect(counts["acknowledged triggers"]).toBeGreaterThanOrEqual(40);
  expect(counts["runs with more than one attempt"]).toBeGreaterThan(0);
  expect(counts["runs shared by agents"]).toBeGreaterThan(0);
  expect(processesWith(`CHAOS_WITNESS=${witness}`)).toEqual([]);
}, 120_000);

test("child processes of a principal and a listener keep their version, even if the executable is replaced or removed", async () => {
  await using cluster = new Cluster(
    { workflows: { "hello.yml": shellWorkflow({ a: { sh: "echo hello" } }) }, env: IMPATIENT },
    await freePorts(3),
  );
  const program = join(cluster.directory, "bin", "cdktr");
  const cache = join(cluster.directory, "cache");
  install(older, program);
  const env = { CDKTR_CACHE_DIRECTORY: cache };
  await cluster.startPrincipal(["--with-agent"], { program, env });
  const agent = async (former?: number) =>
    until("the agent of the principal", async () => {
      const [known] = await cluster.client.registeredAgents();
      const [pid] = processesWith(cluster.dataDirectory).filter(
        (pid) => pid !== former && commandOf(pid).includes("--supervised"),
      );
      return known?.status === "UP" && pid !== undefined && { pid, version: known.version };
    });
  const listener = join(cluster.directory, "bell.ts");
  writeFileSync(
    listener,
    `import { EventListener } from "cdktr";
export default class Bell extends EventListener {
  async startListening() {
    await this.runWorkflow("hello", { dedupeKey: String(process.pid) });
    console.log("rang " + process.pid);
    await new Promise((ended) => this.signal.addEventListener("abort", ended, { once: true }));
  }
}
`,
  );
  const listening = cluster.spawn(["listen", listener], { program, env });
  cluster.agents.push(listening);
  let ringer = Number((await listening.waitFor(/rang (\d+)/, "stdout"))[1]);
  let { pid, version } = await agent();
  expect(version).toBe("0.1.0");

  for (const change of [() => install(newer, program), () => rmSync(program)]) {
    change();
    // Whoever clears the cache takes nothing from them either.
    rmSync(cache, { recursive: true });
    process.kill(pid, "SIGKILL");
    process.kill(ringer, "SIGKILL");
    ({ pid, version } = await agent(pid));
    expect(version).toBe("0.1.0");
    const again = new RegExp(`rang (?!${ringer}\\b)(\\d+)\\n$`);
    ringer = Number((await listening.waitFor(again, "stdout"))[1]);
    const run = await trigger(cluster, "hello");
    expect((await runOver(cluster.client, run)).status).toBe("COMPLETED");
  }
}, 60_000);

test("files unpacked by former versions are removed when they are unused", async () => {
  await using cluster = new Cluster({ env: IMPATIENT }, await freePorts(3));
  const cache = join(cluster.directory, "cache");
  const env = { CDKTR_CACHE_DIRECTORY: cache };
  await cluster.startPrincipal([], { program: older, env });
  const library = processesMaps(cluster.principal?.pid).find((path) => path.includes("libzmq"));
  expect(library).toStartWith(cache);
  const long = new Date(Date.now() - 7_200_000);
  const former = (name: string, since: Date) => {
    const directory = join(cache, name);
    mkdirSync(directory, { mode: 0o700 });
    copyFileSync(library ?? "", join(directory, "libzmq.so"));
    utimesSync(directory, since, since);
    return join(directory, "libzmq.so");
  };
  const unused = former("libzmq-00000000000000aa", long);
  const recent = former("libzmq-00000000000000bb", new Date());
  // Not old before it is in use: the principal may only now be looking for old ones.
  const used = former("libzmq-00000000000000cc", new Date());
  const foreign = former("of-somebody-else", long);
  const user = Bun.spawn(
    [
      "python3",
      "-c",
      "import mmap,sys;f=open(sys.argv[1],'rb');m=mmap.mmap(f.fileno(),0,access=mmap.ACCESS_READ);print(1,flush=True);sys.stdin.read()",
      used,
    ],
    {
      stdin: "pipe",
      stdout: "pipe",
      stderr: "inherit",
    },
  );
  await user.stdout.getReader().read();
  utimesSync(dirname(used), long, long);
  await cluster.startAgent([], { program: newer, env });
  await until("it is cleared away", () => !existsSync(join(unused, "..")));
  expect([recent, used, foreign].map((path) => existsSync(path))).toEqual([true, true, true]);
  user.kill();
  await user.exited;
});

/** The files that a process has mapped. */
function processesMaps(pid: number | undefined): string[] {
  return readFileSync(`/proc/${pid}/maps`, "utf8")
    .split("\n")
    .flatMap((line) => /\s(\/.*)$/.exec(line)?.[1] ?? []);
}
