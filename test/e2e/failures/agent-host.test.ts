/** What an agent's tasks get from its host and process, and what a host with little room does to them. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { type Cluster, startCluster } from "../../support/cdktr.ts";
import { runOver, shellWorkflow, TemporaryDirectory, until } from "../support/fixtures.ts";
import { PATIENT, trigger } from "./support.ts";

const directory = new TemporaryDirectory();
const WITHHELD = {
  DEPLOY_SECRET: "hush",
  CREDENTIALS_DIRECTORY: "/run/credentials/x",
  INVOCATION_ID: "1",
  JOURNAL_STREAM: "8:1",
  LISTEN_FDS: "0",
};
let cluster: Cluster;

beforeAll(async () => {
  const wide = Array.from({ length: 60 }, (_, i) => [`t${i}`, { sh: "sleep 0.5" }] as const);
  cluster = await startCluster({
    env: { ...PATIENT, CDKTR_AGENT_MAX_TASKS: "100" },
    workflows: {
      "own.yml": shellWorkflow(
        { a: { sh: `env > '${directory.path("env")}'; ulimit -Sn > '${directory.path("limit")}'` } },
        'on: { webhook: { path: /deploy, secret: "env:DEPLOY_SECRET" } }\n',
      ),
      "wide.yml": shellWorkflow(Object.fromEntries(wide)),
      "leaves.yml": shellWorkflow({
        a: {
          sh: `setsid sh -c 'sleep 0.1; touch ${directory.path("left")}' > /dev/null 2>&1 &`,
          extra: "    background: leave\n",
        },
      }),
    },
  });
}, 60_000);

afterAll(async () => {
  await cluster?.stop();
  directory[Symbol.dispose]();
});

test("tasks beside a principal see neither its secrets nor what its service manager says to it; their limit of open files is its own", async () => {
  await cluster.principal?.stop();
  // A shell with a soft limit starts it and passes signals on.
  const shell = `ulimit -Sn 1000; "$0" "$@" & trap "kill -TERM $!" TERM; wait; wait`;
  await cluster.startPrincipal(["--with-agent"], {
    env: { ...WITHHELD, SEEN: "yes" },
    prefix: ["sh", "-c", shell],
  });
  const run = await runOver(cluster.client, await trigger(cluster, "own"));
  expect(run.status).toBe("COMPLETED");
  const environment = readFileSync(directory.path("env"), "utf8");
  expect(environment).toContain("SEEN=yes");
  for (const name of Object.keys(WITHHELD)) expect(environment).not.toContain(`${name}=`);
  expect(readFileSync(directory.path("limit"), "utf8")).toBe("1000\n");
  await cluster.principal?.stop();
  await cluster.startPrincipal();
}, 60_000);

test("a host without free descriptors makes tasks wait, not fail", async () => {
  const agent = await cluster.startAgent([], { prefix: ["sh", "-c", 'ulimit -n 120; exec "$0" "$@"'] });
  const id = await trigger(cluster, "wide");
  const run = await runOver(cluster.client, id);
  expect(run.status).toBe("COMPLETED");
  const log = await cluster.cdktr(["logs", "query", "--run", id]);
  expect(log.stdout).toContain("The task waits until there is room.");
  await agent.stop();
}, 60_000);

test("as the init process of a container, an agent leaves no zombies of what its tasks left", async () => {
  const prefix = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", "--"];
  const agent = await cluster.startAgent([], { prefix });
  expect((await runOver(cluster.client, await trigger(cluster, "leaves"))).status).toBe("COMPLETED");
  await until("what it left has ended", () => readdirSync(directory.root).includes("left"));
  const [init] = childrenOf(agent.pid);
  if (init === undefined) throw new Error("the agent is not there");
  const isLeft = ({ name, state }: Child) => state === "Z" || name === "sh" || name === "touch";
  await until("what it left is reaped", () => !childrenOf(init.pid).some(isLeft));
  process.kill(init.pid, "SIGTERM");
  await agent.finished;
}, 60_000);

interface Child {
  readonly pid: number;
  readonly name: string;
  readonly state: string;
}

function childrenOf(parent: number): Child[] {
  return readdirSync("/proc").flatMap((name) => {
    if (!/^\d+$/.test(name)) return [];
    try {
      const [, program = "", rest = ""] =
        /^\d+ \((.*)\) (.*)/s.exec(readFileSync(`/proc/${name}/stat`, "latin1")) ?? [];
      const [state = "", ppid] = rest.split(" ");
      return Number(ppid) === parent ? [{ pid: Number(name), name: program, state }] : [];
    } catch {
      return [];
    }
  });
}
