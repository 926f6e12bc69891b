/** Processes of tasks that the agent is not permitted to end, because they run as another user, as with sudo. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { chmodSync, chownSync, copyFileSync, mkdirSync } from "node:fs";
import { type CdktrProcess, Cluster, freePorts } from "../../support/cdktr.ts";
import { processesWith, runOver, until } from "../support/fixtures.ts";
import { PATIENT, trigger } from "./support.ts";

const UID = 65533;
const AS_USER = ["setpriv", "--reuid", String(UID), "--regid", String(UID), "--clear-groups", "--"];
const SECONDS = `3${process.pid}`;
let cluster: Cluster;
let agent: CdktrProcess;

beforeAll(async () => {
  const ports = await freePorts(3);
  const place = new Cluster({}, ports);
  const asRoot = `${place.directory}/as-root`;
  const task = (command: string, more = "") =>
    `name: t\ntasks: { a: { name: A, ${more}config: !Subprocess ${command} } }\n`;
  const root = `"${asRoot}", "--reuid", "0", "--regid", "0", "--clear-groups", "sleep", "${SECONDS}"`;
  const [program, ...args] = root.split(", ");
  const alone = `{ cmd: ${program}, args: [${args.join(", ")}] }`;
  cluster = new Cluster(
    {
      env: {
        ...PATIENT,
        CDKTR_APP_DATA_DIRECTORY: `${place.directory}/own`,
        CDKTR_CACHE_DIRECTORY: `${place.directory}/own`,
      },
      workflows: {},
    },
    ports,
  );
  mkdirSync(`${place.directory}/own`);
  chownSync(`${place.directory}/own`, UID, UID);
  chmodSync(place.directory, 0o755);
  chmodSync(cluster.directory, 0o755);
  copyFileSync("/usr/bin/setpriv", asRoot);
  chmodSync(asRoot, 0o4755);
  cluster.writeWorkflow("timeout.yml", task(alone, "timeout: 1s, "));
  cluster.writeWorkflow("cancel.yml", task(alone));
  cluster.writeWorkflow(
    "left.yml",
    task(
      `{ cmd: sh, args: ["-c", "'${asRoot}' --reuid 0 --regid 0 --clear-groups sleep ${SECONDS} & echo done"] }`,
    ),
  );
  await cluster.startPrincipal([], { prefix: AS_USER });
  agent = await cluster.startAgent([], { prefix: AS_USER });
}, 60_000);

afterAll(async () => {
  await cluster?.stop();
  for (const pid of processesWith(`sleep\0${SECONDS}`)) process.kill(pid, "SIGKILL");
});

test("a task with a process that its agent may not end: the run ends with its real status, the process is listed", async () => {
  const [timeout, left, cancel] = await Promise.all(
    ["timeout", "left", "cancel"].map((name) => trigger(cluster, name)),
  );
  await until(
    "it runs",
    async () => (await cluster.client.getRun(cancel ?? "")).tasks[0]?.status === "RUNNING",
  );
  await cluster.client.cancelRun(cancel ?? "");
  const truth = /pid \d+ \(sleep\) of root cannot be ended: this agent may not signal it$/;
  const over = await Promise.all([timeout, cancel, left].map((id) => runOver(cluster.client, id ?? "")));
  expect(over.map(({ status }) => status)).toEqual(["FAILED", "CANCELLED", "COMPLETED"]);
  expect(over[0]?.tasks[0]?.error).toMatch(/^timed out after 1s; /);
  for (const run of over.slice(0, 2)) expect(run.tasks[0]?.error).toMatch(truth);
  // The order was repeated for seconds.
  expect(agent.stderr.match(/was stopped: it was cancelled/g)).toHaveLength(1);

  const pids = processesWith(`sleep\0${SECONDS}`);
  expect(pids).toHaveLength(3);
  const known = async () => (await cluster.client.registeredAgents())[0];
  await until("they are listed", async () => (await known())?.survivors?.length === 3);
  expect((await known())?.running_tasks).toBe(0);
  const listed = JSON.parse((await cluster.cdktr(["agents", "list", "--json"])).stdout);
  expect(listed[0].survivors.map(({ pid }: { pid: number }) => pid).sort()).toEqual(pids.sort());
  expect((await cluster.cdktr(["agents", "list"])).stdout).toContain(`pid ${pids[0]} (sleep) of root`);
  expect((await cluster.cdktr(["doctor"])).stdout).toContain(
    `could not end process ${pids[0]} (sleep) of root`,
  );
  const log = await cluster.cdktr(["logs", "query", "--run", timeout ?? ""]);
  expect(log.stdout).not.toMatch(/killed/);
  expect(log.stdout).toMatch(/Still there after SIGTERM and SIGKILL: pid \d+ \(sleep\) of root/);

  // Somebody with the right ends one.
  process.kill(pids[0] ?? 0, "SIGKILL");
  await until("it is no longer listed", async () => (await known())?.survivors?.length === 2);
}, 60_000);

test("the agent ends on TERM although such processes are there", async () => {
  agent.kill("SIGTERM");
  expect((await agent.finished).code).toBe(0);
}, 30_000);
