/** Fixtures for several end-to-end tests, besides the cluster. */
import { setDefaultTimeout } from "bun:test";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join, resolve } from "node:path";
import type { RunDetails } from "../../../src/contract/messages.ts";
import type { PrincipalClient } from "../../../src/protocol/client.ts";
import { RUN_TRANSITIONS } from "../../../src/workflow/run-state.ts";
import { isTerminal } from "../../../src/workflow/status.ts";

export { TemporaryDirectory } from "../../support/temporary-directory.ts";
export { until } from "../../support/until.ts";

// Processes start and stop in these tests, on machines that may have other things to do.
setDefaultTimeout(60_000);

/** The root of the checkout. */
export const ROOT = resolve(import.meta.dir, "../../..");

/** The compiled executable. */
export const BINARY = resolve(process.env.CDKTR_TEST_BINARY ?? join(ROOT, "dist/cdktr"));

/** Whether the executable that stands for cdktr is the compiled one. */
export const COMPILED = process.env.CDKTR_TEST_BINARY !== undefined;

/** The DuckDB with which the history is read from outside. */
export const DUCKDB = "duckdb>=1.5";

/** Waits until a run is over. */
export async function runOver(client: PrincipalClient, runId: string): Promise<RunDetails> {
  for (;;) {
    const run = await client.waitRun(runId, 10_000);
    if (isTerminal(RUN_TRANSITIONS, run.status)) return run;
  }
}

/** Process ids whose environment or command line holds `text`. */
export function processesWith(text: string): number[] {
  return readdirSync("/proc").flatMap((name) => {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) return [];
    try {
      const about =
        readFileSync(`/proc/${name}/environ`, "latin1") + readFileSync(`/proc/${name}/cmdline`, "latin1");
      const isZombie = /^\d+ \(.*\) Z /s.test(readFileSync(`/proc/${name}/stat`, "latin1"));
      return about.includes(text) && !isZombie ? [Number(name)] : [];
    } catch {
      return [];
    }
  });
}

/** A workflow of shell commands: task id → command, with the tasks it depends on. */
export function shellWorkflow(
  tasks: Readonly<
    Record<string, { readonly sh: string; readonly depends?: readonly string[]; readonly extra?: string }>
  >,
  head = "",
): string {
  const blocks = Object.entries(tasks).map(
    ([id, task]) => `  ${id}:
    name: ${id}
    depends: ${JSON.stringify(task.depends ?? [])}
${task.extra ?? ""}    config: !Subprocess
      cmd: sh
      args: ["-c", ${JSON.stringify(task.sh)}]
`,
  );
  return `name: test\n${head}tasks:\n${blocks.join("")}`;
}

/** A shell command that waits until a file exists, and then reports it. */
export function gate(path: string): string {
  return `echo waiting; while [ ! -e '${path}' ]; do sleep 0.05; done; echo passed`;
}

/** Lines of a file; none when it does not exist. */
export function linesOf(path: string): string[] {
  if (statSync(path, { throwIfNoEntry: false }) === undefined) return [];
  return readFileSync(path, "utf8").split("\n").filter(Boolean);
}

/** Runs a Python program and parses what it prints as JSON. */
export async function pythonJson(python: string, program: string, ...args: string[]): Promise<unknown> {
  const child = Bun.spawn([python, "-c", program, ...args], { stdout: "pipe", stderr: "pipe" });
  const [status, out, err] = await Promise.all([
    child.exited,
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  if (status !== 0) throw new Error(`python ended with ${status}:\n${err}`);
  return JSON.parse(out);
}
