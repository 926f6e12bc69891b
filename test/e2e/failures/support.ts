/** Helpers for the failure tests: private disks, counted log lines, settings that detect failures quickly. */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { PrincipalClient } from "../../../src/protocol/client.ts";
import type { Cluster } from "../../support/cdktr.ts";
import { gate, until } from "../support/fixtures.ts";

/** Settings with which a lost agent is detected within seconds and log lines are written to the history at once. */
export const IMPATIENT = {
  CDKTR_AGENT_HEARTBEAT_INTERVAL_MS: "250",
  CDKTR_AGENT_HEARTBEAT_TIMEOUT_MS: "2000",
  CDKTR_DEFAULT_ZMQ_TIMEOUT_MS: "1000",
  CDKTR_RETRY_ATTEMPTS: "1000",
  CDKTR_LOG_FLUSH_INTERVAL_MS: "200",
} as const;

/**
 * The same for tests in which no agent is lost by its silence. A busy machine may hold an agent up for seconds, and one whose principal was away
 * may take two seconds to connect again.
 */
export const PATIENT = { ...IMPATIENT, CDKTR_AGENT_HEARTBEAT_TIMEOUT_MS: "60000" } as const;

/**
 * Mounts that only the processes started with {@link prefix} see. They are gone with the process that holds them, which ends
 * with this one.
 */
export class PrivateMounts implements AsyncDisposable {
  readonly #holder: Bun.Subprocess<"pipe", "pipe", "pipe">;
  private constructor(holder: Bun.Subprocess<"pipe", "pipe", "pipe">) {
    this.#holder = holder;
  }

  /** @throws Error saying what this test needs, where mounting is not allowed */
  static async create(): Promise<PrivateMounts> {
    const holder = Bun.spawn(
      ["unshare", "--mount", "--propagation", "private", "sh", "-c", "echo ready; exec cat"],
      { stdin: "pipe", stdout: "pipe", stderr: "pipe" },
    );
    const { value } = await holder.stdout.getReader().read();
    if (value === undefined) {
      const why = await new Response(holder.stderr).text();
      throw new Error(
        `This test mounts small file systems of its own, and may not: ${why.trim()}. Run it as root (CAP_SYS_ADMIN).`,
      );
    }
    return new PrivateMounts(holder);
  }

  /** Words in front of a command that is to see the mounts. Its working directory is `/`. */
  get prefix(): readonly string[] {
    return ["nsenter", "--target", String(this.#holder.pid), "--mount", "--"];
  }

  /** The path under which this process sees what those processes see as `path`. */
  path(...path: string[]): string {
    return join(`/proc/${this.#holder.pid}/root`, ...path);
  }

  /** Mounts a disk of `kib` KiB at a directory, which is made. */
  async disk(directory: string, kib: number): Promise<void> {
    mkdirSync(directory, { recursive: true });
    await this.#run("mount", "-t", "tmpfs", "-o", `size=${kib}k,mode=0700`, "tmpfs", directory);
  }

  /** Makes a file system and mounts it at a directory, which is made: a disk that can {@link fail}. */
  async device(directory: string): Promise<void> {
    mkdirSync(directory, { recursive: true });
    await this.disk(`${directory}.device`, 20 * 1024);
    const image = `${directory}.device/image`;
    await this.#run("truncate", "--size", "16M", image);
    await this.#run("mkfs.ext4", "-q", "-m", "0", image);
    await this.mount(directory);
  }

  /** Mounts what {@link device} made. */
  async mount(directory: string): Promise<void> {
    await this.#run("mount", "-o", "loop", `${directory}.device/image`, directory);
  }

  /** The kernel gives the device up: from now on it is read-only, for open files too. */
  async fail(directory: string): Promise<void> {
    await this.#run("mount", "-o", "remount,abort", directory);
  }

  /** Takes a file system away. */
  async unmount(directory: string): Promise<void> {
    await this.#run("umount", directory);
  }

  /** Fills a disk to the last byte. */
  fill(directory: string): void {
    const file = this.path(directory, "filler");
    const pages = new Uint8Array(64 * 1024);
    try {
      for (;;) writeFileSync(file, pages, { flag: "a" });
    } catch (error) {
      if (!(error instanceof Error && "code" in error && error.code === "ENOSPC")) throw error;
    }
  }

  /** Frees what {@link fill} took. */
  free(directory: string): void {
    rmSync(this.path(directory, "filler"));
  }

  async #run(...command: string[]): Promise<void> {
    const child = Bun.spawn([...this.prefix, ...command], { stdout: "ignore", stderr: "pipe" });
    const [status, why] = await Promise.all([child.exited, new Response(child.stderr).text()]);
    if (status !== 0) throw new Error(`${command.join(" ")} ended with ${status}: ${why.trim()}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#holder.kill("SIGKILL");
    await this.#holder.exited;
  }
}

/** A shell command that prints `count` numbered lines, after the gate when one is given. */
export function numbers(count: number, behind?: string): string {
  return `${behind === undefined ? "" : `${gate(behind)}; `}seq -f 'line %.0f' 1 ${count}`;
}

/**
 * The numbers of the lines that a run printed, as they are in the history, in their order, once there are `count`: the end of
 * a run may be known before its last lines have come.
 */
export function numbersOf(client: PrincipalClient, runId: string, count: number): Promise<number[]> {
  return until(`${count} lines of run ${runId} are in the history`, async () => {
    const { rows, warning, truncated } = await client.queryDatabase({
      sql: `SELECT split_part(payload, ' ', 2)::INTEGER FROM logstore
            WHERE workflow_instance_id = '${runId}' AND payload LIKE 'line %' ORDER BY seq`,
      max_rows: 1_000_000,
    });
    if (truncated) throw new Error("not all lines can be seen");
    return warning === null && rows.length >= count && rows.map(([number]) => Number(number));
  });
}

/** 1 to `count`: what {@link numbersOf} gives when nothing is missing, doubled or out of order. */
export function upTo(count: number): number[] {
  return Array.from({ length: count }, (_, index) => index + 1);
}

/** Triggers a workflow; the id of its run. */
export async function trigger(cluster: Cluster, workflowId: string, key?: string): Promise<string> {
  const dedupe_key = key ?? crypto.randomUUID();
  return (await cluster.client.runTask(workflowId, { dedupe_key })).workflow_instance_id;
}
