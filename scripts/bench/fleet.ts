/** A principal and an agent of the compiled executable, in a temporary directory. */
import { dlopen, ptr } from "bun:ffi";
import { mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { PrincipalClient } from "../../src/protocol/client.ts";
import { historyOf } from "../support/history-of.ts";
import { BINARY } from "../support/paths.ts";
import { freePorts } from "../support/ports.ts";
import { killGroup } from "../support/run.ts";

/** Tasks that the agent has in flight at once; the baselines use the same number. */
export const CONCURRENCY = 8;

/** What is measured: started by {@link startFleet}. */
export interface Fleet {
  readonly directory: string;
  readonly client: PrincipalClient;
  readonly principalPid: number;
  readonly historyPid: number;
  readonly agentPid: number;
  stop(): Promise<void>;
}

/**
 * Starts both and waits until the agent is registered.
 * @param workflows id → text of the file
 * @throws Error with the log when one of them does not start
 */
export async function startFleet(workflows: Readonly<Record<string, string>>): Promise<Fleet> {
  const directory = mkdtempSync(join(tmpdir(), "cdktr-bench-"));
  const workflowDirectory = join(directory, "workflows");
  mkdirSync(workflowDirectory);
  for (const [id, text] of Object.entries(workflows))
    writeFileSync(join(workflowDirectory, `${id}.yml`), text);
  const [api = 0, listening = 0, publishing = 0] = await freePorts(3);
  const inherited = Object.entries(process.env).filter(
    ([name]) => !name.startsWith("CDKTR_") || name === "CDKTR_CACHE_DIRECTORY",
  );
  const env = {
    ...Object.fromEntries(inherited),
    CDKTR_PRINCIPAL_HOST: "127.0.0.1",
    CDKTR_PRINCIPAL_PORT: String(api),
    CDKTR_LOGS_LISTENING_PORT: String(listening),
    CDKTR_LOGS_PUBLISHING_PORT: String(publishing),
    CDKTR_METRICS_PORT: "0",
    CDKTR_APP_DATA_DIRECTORY: directory,
    CDKTR_WORKFLOW_DIR: workflowDirectory,
    CDKTR_AGENT_MAX_CONCURRENCY: String(CONCURRENCY),
    CDKTR_AGENT_MAX_TASKS: String(CONCURRENCY),
  };
  const log = join(directory, "log");
  const start = (...args: string[]) => {
    const output = openSync(log, "a");
    return Bun.spawn([BINARY, "start", ...args], {
      cwd: directory,
      env,
      stdin: "ignore",
      stdout: output,
      stderr: output,
      detached: true,
    });
  };
  const client = new PrincipalClient({ host: "127.0.0.1", port: api, timeoutMs: 30_000 });
  const children = [start("principal")];
  const stop = async () => {
    await client.close();
    for (const child of children.toReversed()) {
      child.kill("SIGTERM");
      await Promise.race([child.exited, Bun.sleep(15_000)]);
      killGroup(child.pid, "SIGKILL");
    }
    rmSync(directory, { recursive: true, force: true });
  };
  try {
    await client.ping();
    children.push(start("agent"));
    const deadline = performance.now() + 30_000;
    while ((await client.registeredAgents()).length === 0) {
      if (performance.now() > deadline) throw new Error("the agent does not register");
      await Bun.sleep(20);
    }
  } catch (error) {
    const said = readFileSync(log, "utf8");
    await stop();
    throw new Error(`${error instanceof Error ? error.message : error}\n${said}`);
  }
  return {
    directory,
    client,
    principalPid: children[0]?.pid ?? 0,
    historyPid: historyOf(children[0]?.pid ?? 0) ?? 0,
    agentPid: children[1]?.pid ?? 0,
    stop,
  };
}

const libc = dlopen("libc.so.6", {
  clock_getcpuclockid: { args: ["i32", "ptr"], returns: "i32" },
  clock_gettime: { args: ["i32", "ptr"], returns: "i32" },
});

/** CPU time that a process has used, also in threads that have ended, ms. */
export function cpuMs(pid: number): number {
  const clock = new Int32Array(1);
  const time = new BigInt64Array(2);
  const { clock_getcpuclockid, clock_gettime } = libc.symbols;
  if (clock_getcpuclockid(pid, ptr(clock)) !== 0 || clock_gettime(clock[0] ?? 0, ptr(time)) !== 0)
    throw new Error(`there is no process ${pid}`);
  const [seconds = 0n, nanoseconds = 0n] = time;
  return Number(seconds) * 1000 + Number(nanoseconds) / 1e6;
}

/** Resident memory of a process, MB. */
export function residentMb(pid: number): number {
  const kb = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
  return Number(kb) / 1000;
}
