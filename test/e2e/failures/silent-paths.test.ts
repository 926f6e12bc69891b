/** User-specified paths that do not respond: pipes, and mounts whose server is down. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { existsSync, mkdirSync, renameSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { freePorts } from "../../../scripts/support/ports.ts";
import { type Cluster, startCluster } from "../../support/cdktr.ts";
import { ROOT, shellWorkflow, TemporaryDirectory, until } from "../support/fixtures.ts";

const CAN_MOUNT = process.getuid?.() === 0 && existsSync("/dev/fuse");

let cluster: Cluster;
let directory: TemporaryDirectory;
let hook = 0;

beforeAll(async () => {
  directory = new TemporaryDirectory();
  [hook = 0] = await freePorts(1);
  cluster = await startCluster({
    env: {
      CDKTR_WEBHOOK_PORT: String(hook),
      CDKTR_WORKFLOW_DIR_REFRESH_FREQUENCY_S: "86400",
      CDKTR_DB_PATH: directory.path("history/app.db"),
    },
    workflows: {
      "top.yml": shellWorkflow({ say: { sh: "true" } }),
      "globbed.yml": shellWorkflow(
        { say: { sh: "true" } },
        "on:\n  file:\n    glob: workflows/remote/*.csv\n",
      ),
      "remote/far.yml": shellWorkflow({ say: { sh: "true" } }),
    },
  });
}, 60_000);
afterAll(async () => {
  await cluster?.stop();
  directory?.[Symbol.dispose]();
});

const says = (description: string, head = "") =>
  shellWorkflow({ say: { sh: "true" } }, `description: ${description}\n${head}`);
const listed = async (id: string) => (await cluster.client.listWorkflows())[id];
const problems = async () =>
  (await cluster.client.info()).invalid_workflow_files
    .map(({ path, error }) => `${path}: ${error}`)
    .join("\n");

/** Mounts something that never answers, until it is disposed of. */
async function hungMount(place: string): Promise<AsyncDisposable> {
  const child = Bun.spawn(["python3", join(ROOT, "test/e2e/support/hung-mount.py"), place], {
    stdin: "pipe",
    stdout: "pipe",
  });
  const { value } = await child.stdout.getReader().read();
  expect(new TextDecoder().decode(value)).toContain("mounted");
  return {
    async [Symbol.asyncDispose]() {
      await child.stdin.end();
      await child.exited;
    },
  };
}

test("a secret in a pipe is refused when the workflow loads; no request waits for it", async () => {
  Bun.spawnSync(["mkfifo", directory.path("pipe")]);
  cluster.writeWorkflow(
    "hook.yml",
    says("hook", `on:\n  webhook:\n    path: /hook\n    secret: file:${directory.path("pipe")}\n`),
  );
  await cluster.principal?.waitFor(/pipe: it is not a regular file/);
  const answer = await until("the webhook is served", () =>
    fetch(`http://127.0.0.1:${hook}/hook`, {
      method: "POST",
      body: "x",
      headers: { "X-Hub-Signature-256": `sha256=${"0".repeat(64)}` },
    }).catch(() => undefined),
  );
  expect(answer.status).toBe(503);
  await cluster.client.ping();
});

test.skipIf(!CAN_MOUNT)(
  "the directory of the history database does not answer: everything else goes on, and what is open can be read",
  async () => {
    const { client } = cluster;
    const ask = () => client.queryDatabase({ sql: "SELECT 1" }, { timeoutMs: 30_000 });
    await ask();
    await using _mount = await hungMount(directory.path("history"));
    let isAnswered = false;
    const answer = ask().finally(() => {
      isAnswered = true;
    });
    let pings = 0;
    for (; !isAnswered; pings++) await client.ping({ timeoutMs: 2000 });
    expect((await answer).rows).toEqual([[1]]);
    expect(pings).toBeGreaterThan(10);
    // It is known to be silent.
    expect((await ask()).rows).toEqual([[1]]);
  },
  60_000,
);

test("a swapped directory behind a link is noticed at once", async () => {
  const root = join(cluster.workflowDirectory, "mounted");
  const version = (name: string) => {
    mkdirSync(join(root, name), { recursive: true });
    writeFileSync(join(root, name, "wf.yml"), says(name));
  };
  version("..first");
  symlinkSync("..first", join(root, "..data"));
  symlinkSync("..data/wf.yml", join(root, "wf.yml"));
  await until("it is loaded", async () => (await listed("mounted.wf"))?.description === "..first");
  version("..second");
  symlinkSync("..second", join(root, "..tmp"));
  renameSync(join(root, "..tmp"), join(root, "..data"));
  await until(
    "the other one is loaded",
    async () => (await listed("mounted.wf"))?.description === "..second",
  );
  // The target of a link, somewhere else.
  writeFileSync(directory.path("target.yml"), says("target"));
  symlinkSync(directory.path("target.yml"), join(cluster.workflowDirectory, "linked.yml"));
  await until("the link is loaded", async () => (await listed("linked"))?.description === "target");
  writeFileSync(directory.path("target.yml"), says("changed"));
  await until("its change is loaded", async () => (await listed("linked"))?.description === "changed");
});

test.skipIf(!CAN_MOUNT)(
  "a directory on a mount that does not answer is unreadable; everything else goes on, also over a restart, and it heals",
  async () => {
    {
      await using _mount = await hungMount(join(cluster.workflowDirectory, "remote"));
      cluster.writeWorkflow("top.yml", says("changed"));
      await until("the change is loaded", async () => (await listed("top"))?.description === "changed");
      expect(await problems()).toMatch(/^remote: .*does not answer/m);
      expect(await listed("remote.far")).toBeDefined();
      cluster.writeWorkflow("top.yml", says("again"));
      await until("the next change is loaded", async () => (await listed("top"))?.description === "again");

      const ended = await cluster.principal?.stop();
      expect(ended?.code).toBe(0);
      await cluster.startPrincipal();
      await cluster.principal?.waitFor(/Files of workflow globbed .*does not answer/);
      expect(await listed("remote.far")).toBeDefined();
      expect(await problems()).toMatch(/^remote: .*does not answer/m);
    }
    await until("it is read again", async () => !/remote/.test(await problems()));
  },
  60_000,
);

test.skipIf(!CAN_MOUNT)(
  "with the whole workflow directory on such a mount the principal starts, and runs what was valid last",
  async () => {
    await cluster.principal?.stop();
    {
      await using _mount = await hungMount(cluster.workflowDirectory);
      await cluster.startPrincipal();
      expect(await problems()).toContain("does not answer");
      expect(await listed("remote.far")).toBeDefined();
      expect((await cluster.cdktr(["run", "top", "--json"])).code).toBe(0);
      expect((await cluster.principal?.stop())?.code).toBe(0);
    }
  },
  60_000,
);
