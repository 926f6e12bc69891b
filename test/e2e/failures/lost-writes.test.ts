/** Writes of the state that fail or whose file is removed: a change that was reported as failed must not reappear later. */
import { expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { freePorts } from "../../../scripts/support/ports.ts";
import { type Cluster, startCluster } from "../../support/cdktr.ts";
import { shellWorkflow, until } from "../support/fixtures.ts";

const HAS_STRACE = Bun.which("strace") !== null;
const WORKFLOWS = { "a.yml": shellWorkflow({ say: { sh: "true" } }) };

const trigger = (cluster: Cluster, key: string) =>
  cluster.client.runTask("a", { dedupe_key: key }).then(
    () => "acknowledged",
    (error: Error) => error.message,
  );
const count = async (cluster: Cluster) => (await cluster.client.listRuns({ limit: 100 })).length;
const log = (cluster: Cluster) => join(cluster.dataDirectory, "state.db-wal");

async function killAndStart(cluster: Cluster): Promise<void> {
  cluster.principal?.kill("SIGKILL");
  await cluster.principal?.finished;
  await cluster.startPrincipal();
}

/** Lets syncs of the log fail: the next one, or all. */
async function failSyncs(cluster: Cluster, which: "next" | "all"): Promise<AsyncDisposable> {
  const inject = `inject=fsync,fdatasync:error=EIO${which === "next" ? ":when=1" : ""}`;
  const args = [
    "-f",
    "-p",
    String(cluster.principal?.pid),
    "-P",
    log(cluster),
    "-e",
    "trace=fsync,fdatasync",
    "-e",
    inject,
  ];
  const child = Bun.spawn(["strace", ...args], { stdin: "ignore", stdout: "ignore", stderr: "pipe" });
  const reader = child.stderr.getReader();
  for (let text = ""; !/attached/.test(text); ) {
    const { value, done } = await reader.read();
    if (done) throw new Error(`strace ended: ${text}`);
    text += new TextDecoder().decode(value);
  }
  reader.releaseLock();
  return {
    async [Symbol.asyncDispose]() {
      child.kill("SIGINT");
      await child.exited;
    },
  };
}

test.skipIf(!HAS_STRACE)(
  "a refused trigger whose sync failed is not found after a restart; or the answer says that it may be",
  async () => {
    const [metrics = 0] = await freePorts(1);
    await using cluster = await startCluster({
      workflows: WORKFLOWS,
      env: { CDKTR_METRICS_PORT: String(metrics), CDKTR_LOG_LEVEL: "INFO" },
    });
    const health = async () => (await fetch(`http://127.0.0.1:${metrics}/healthz`)).status;
    expect(await trigger(cluster, "before")).toBe("acknowledged");
    expect(await health()).toBe(200);
    {
      await using _failing = await failSyncs(cluster, "next");
      expect(await trigger(cluster, "refused")).toMatch(/cannot be written: .*Nothing was changed/s);
      await killAndStart(cluster);
    }
    expect(await count(cluster)).toBe(1);
    {
      await using _failing = await failSyncs(cluster, "all");
      await until("health tells before a trigger is refused", async () => (await health()) === 503);
      expect(await trigger(cluster, "again")).toMatch(/may still have been written.*same dedupe_key/s);
      expect(await health()).toBe(503);
      const page = await (await fetch(`http://127.0.0.1:${metrics}/metrics`)).text();
      expect(page).toMatch(/^cdktr_state_writable 0$/m);
    }
    await until("it heals", async () => (await health()) === 200);
    expect(await trigger(cluster, "again")).toBe("acknowledged");
    await killAndStart(cluster);
    expect(await count(cluster)).toBe(2);
  },
);

test("a write-ahead log that is removed costs nothing while the principal runs, and is missed after it was killed", async () => {
  await using cluster = await startCluster({ workflows: WORKFLOWS });
  expect(await trigger(cluster, "1")).toBe("acknowledged");
  rmSync(log(cluster));
  expect(await trigger(cluster, "2")).toBe("acknowledged");
  await cluster.principal?.waitFor(/state\.db-wal was removed while the principal ran\. .*no run is lost/);
  expect(await trigger(cluster, "3")).toBe("acknowledged");
  await killAndStart(cluster);
  expect(await count(cluster)).toBe(3);

  cluster.principal?.kill("SIGKILL");
  await cluster.principal?.finished;
  rmSync(log(cluster));
  await cluster.startPrincipal();
  await cluster.principal?.waitFor(/state\.db-wal is missing, although the principal was killed/);
  // One that was stopped leaves none.
  await cluster.principal?.stop();
  await cluster.startPrincipal();
  expect(cluster.principal?.stderr).not.toContain("is missing");
});
