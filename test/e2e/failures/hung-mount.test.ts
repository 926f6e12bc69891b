/** Tasks whose directory, program or script is on a mount that does not respond, as when its server is down. */
import { dlopen, ptr } from "bun:ffi";
import { afterAll, beforeAll, expect, test } from "bun:test";
import { closeSync, mkdirSync, openSync, writeFileSync } from "node:fs";
import { type Cluster, startCluster } from "../../support/cdktr.ts";
import { gate, runOver, shellWorkflow, TemporaryDirectory, until } from "../support/fixtures.ts";
import { PATIENT, trigger } from "./support.ts";

const MNT_FORCE_DETACH = 3;
const directory = new TemporaryDirectory();
const point = directory.path("mnt");
const text = (value: string) => Buffer.from(`${value}\0`);
const libc = dlopen("libc.so.6", {
  mount: { args: ["ptr", "ptr", "ptr", "u64", "ptr"], returns: "i32" },
  umount2: { args: ["ptr", "i32"], returns: "i32" },
}).symbols;
let fuse = -1;

/** A FUSE mount without a server: whoever looks into it waits. */
function mountSilent(): void {
  mkdirSync(point);
  fuse = openSync("/dev/fuse", "r+");
  const options = text(`fd=${fuse},rootmode=40000,user_id=0,group_id=0,allow_other`);
  const [source, target, type] = [text("silent"), text(point), text("fuse")];
  if (libc.mount(ptr(source), ptr(target), ptr(type), 0, ptr(options)) !== 0)
    throw new Error(
      "This test mounts a file system of its own, and may not. Run it as root (CAP_SYS_ADMIN).",
    );
}

function unmount(): void {
  const target = text(point);
  libc.umount2(ptr(target), MNT_FORCE_DETACH);
  closeSync(fuse);
}

const task = (config: string) => `name: t\ntasks: { a: { name: A, timeout: 1s, config: ${config} } }\n`;
let cluster: Cluster;

beforeAll(async () => {
  mountSilent();
  cluster = await startCluster({
    agents: 1,
    env: PATIENT,
    workflows: {
      "good.yml": shellWorkflow({ a: { sh: gate(directory.path("go")) } }),
      "directory.yml": task(`!Subprocess { cmd: "true", working_directory: "${point}/x" }`),
      "program.yml": task(`!Subprocess { cmd: "${point}/x" }`),
      "script.yml": task(`!UvPython { script_path: "${point}/x.py" }`),
      "forever.yml": task(`!Subprocess { cmd: "true", working_directory: "${point}/x" }`).replace(
        "timeout: 1s, ",
        "",
      ),
    },
  });
}, 60_000);

afterAll(async () => {
  await cluster?.[Symbol.asyncDispose]();
  unmount();
  directory[Symbol.dispose]();
});

test("a mount that does not answer costs the tasks that use it their timeout, and nothing else", async () => {
  const good = await trigger(cluster, "good");
  await until("it runs", async () => (await cluster.client.getRun(good)).status === "RUNNING");
  const bad = await Promise.all(["directory", "program", "script"].map((name) => trigger(cluster, name)));
  for (const id of bad) {
    const run = await runOver(cluster.client, id);
    expect(run.status).toBe("FAILED");
    expect(run.attempt).toBe(1);
    expect(run.tasks[0]?.error).toBe(`timed out after 1s: the mount ${point} did not answer`);
  }
  // Heartbeats go on: the agent itself does not wait for the mount.
  const heard = async () => (await cluster.client.registeredAgents())[0]?.last_heartbeat_ms ?? 0;
  const before = await heard();
  await until("the agent is heard of", async () => (await heard()) > before, 10_000);
  writeFileSync(directory.path("go"), "");
  expect((await runOver(cluster.client, good)).status).toBe("COMPLETED");
}, 60_000);

test("a run without a timeout that waits for a mount can be cancelled, and its agent ends on TERM", async () => {
  const forever = await trigger(cluster, "forever");
  const runs = async () => (await cluster.client.getRun(forever)).tasks[0]?.status === "RUNNING";
  await until("it waits", runs);
  await cluster.client.cancelRun(forever);
  expect((await runOver(cluster.client, forever)).status).toBe("CANCELLED");
  const again = await trigger(cluster, "forever");
  await until(
    "it waits again",
    async () => (await cluster.client.getRun(again)).tasks[0]?.status === "RUNNING",
  );
  const [agent] = cluster.agents;
  agent?.kill("SIGTERM");
  await agent?.waitFor(/drain|finish/i);
  agent?.kill("SIGTERM");
  expect((await agent?.finished)?.code).toBe(0);
}, 60_000);
