/** Tasks on a disk of this machine that hangs: not a network mount, so its paths look like any other. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { chmodSync, existsSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Cluster, startCluster } from "../../support/cdktr.ts";
import { gate, ROOT, runOver, shellWorkflow, TemporaryDirectory, until } from "../support/fixtures.ts";
import { PATIENT, trigger } from "./support.ts";

const CAN_MOUNT = process.getuid?.() === 0 && existsSync("/dev/fuse") && existsSync("/dev/loop-control");

let cluster: Cluster;
let directory: TemporaryDirectory;
let disk: Bun.Subprocess<"pipe", "pipe", "inherit">;
let words: AsyncIterator<Uint8Array>;
let point = "";

async function tell(word?: string): Promise<void> {
  if (word !== undefined) {
    disk.stdin.write(`${word}\n`);
    await disk.stdin.flush();
  }
  let answer = "";
  while (!answer.endsWith("\n")) {
    const { value, done } = await words.next();
    if (done) throw new Error("the disk has ended");
    answer += new TextDecoder().decode(value);
  }
  expect(answer.trim()).toBe(word ?? "mounted");
}

beforeAll(async () => {
  if (!CAN_MOUNT) return;
  directory = new TemporaryDirectory();
  point = directory.path("disk");
  for (const name of ["disk", "by", "content/work", "content/other"])
    mkdirSync(directory.path(name), { recursive: true });
  writeFileSync(directory.path("content/other/program"), "#!/bin/sh\necho started\n");
  chmodSync(directory.path("content/other/program"), 0o755);
  const image = directory.path("image");
  const made = Bun.spawnSync(["mkfs.ext4", "-q", "-m", "0", "-d", directory.path("content"), image, "8M"]);
  expect(made.exitCode).toBe(0);
  disk = Bun.spawn(
    ["python3", join(ROOT, "test/e2e/support/hanging-disk.py"), image, directory.path("by"), point],
    { stdin: "pipe", stdout: "pipe", stderr: "inherit" },
  );
  words = disk.stdout[Symbol.asyncIterator]();
  await tell();
  const task = (config: string, timeout = "timeout: 1s, ") =>
    `name: t\ntasks: { a: { name: A, ${timeout}config: !Subprocess { ${config} } } }\n`;
  cluster = await startCluster({
    agents: 1,
    env: PATIENT,
    workflows: {
      "good.yml": shellWorkflow({ a: { sh: gate(directory.path("go")) } }),
      "directory.yml": task(`cmd: "true", working_directory: "${point}/work"`),
      "later.yml": task(`cmd: "true", working_directory: "${point}/work"`, ""),
      "program.yml": task(`cmd: "${point}/other/program"`, ""),
    },
  });
}, 60_000);

afterAll(async () => {
  await disk?.stdin.end();
  await disk?.exited;
  await cluster?.[Symbol.asyncDispose]();
  directory?.[Symbol.dispose]();
}, 60_000);

test.skipIf(!CAN_MOUNT)(
  "a disk that hangs costs the tasks on it their timeout, and nothing else; tasks run there again when it goes on",
  async () => {
    await tell("hang");
    const good = await trigger(cluster, "good");
    await until("it runs", async () => (await cluster.client.getRun(good)).status === "RUNNING");
    const waits = await trigger(cluster, "program");
    const bad = await trigger(cluster, "directory");
    const told = new RegExp(`Timed out after 1s: the mount ${point} did not answer`);
    await until("it timed out", async () =>
      (await cluster.client.queryLogs({ runId: bad })).some((line) => told.test(line)),
    );
    // Heartbeats go on: the agent itself does not wait for the disk.
    const heard = async () => (await cluster.client.registeredAgents())[0]?.last_heartbeat_ms ?? 0;
    const before = await heard();
    await until("the agent is heard of", async () => (await heard()) > before, 10_000);
    writeFileSync(directory.path("go"), "");
    expect((await runOver(cluster.client, good)).status).toBe("COMPLETED");
    expect((await cluster.client.getRun(waits)).status).toBe("RUNNING");
    await tell("go on");
    expect(await runOver(cluster.client, bad)).toMatchObject({ status: "FAILED", attempt: 1 });
    // It was waiting for the disk all the time.
    expect((await runOver(cluster.client, waits)).status).toBe("COMPLETED");
    // Without a time limit: on a busy machine a second may be over before a task has begun.
    expect((await runOver(cluster.client, await trigger(cluster, "later"))).status).toBe("COMPLETED");
  },
  60_000,
);
