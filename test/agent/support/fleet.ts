/** Agents with a real principal. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Agent, type AgentOptions } from "../../../src/agent/agent.ts";
import { type Config, loadConfig } from "../../../src/config.ts";
import type { RunDetails } from "../../../src/contract/messages.ts";
import type { PrincipalPorts } from "../../../src/principal/principal.ts";
import type { PrincipalClient } from "../../../src/protocol/client.ts";

/** A data directory and its agents, which are stopped and removed at the end. */
export class Fleet implements AsyncDisposable {
  readonly directory = mkdtempSync(join(tmpdir(), "cdktr-fleet-"));
  readonly #agents: Agent[] = [];

  config(ports: PrincipalPorts, more: Partial<Config> = {}): Config {
    return {
      ...loadConfig({}, {}, this.directory).values,
      CDKTR_APP_DATA_DIRECTORY: join(this.directory, "data"),
      CDKTR_PRINCIPAL_PORT: ports.api,
      CDKTR_LOGS_LISTENING_PORT: ports.logsListening,
      CDKTR_LOGS_PUBLISHING_PORT: ports.logsPublishing,
      ...more,
    };
  }

  /** An agent that has started, and registered unless there is nobody to register with. */
  async agent(config: Config, options: Omit<AgentOptions, "config"> = {}): Promise<Agent> {
    const agent = new Agent({ config, graceMs: 500, ...options });
    this.#agents.push(agent);
    await agent.start();
    return agent;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(this.#agents.map((agent) => agent.stop()));
    rmSync(this.directory, { recursive: true, force: true });
  }
}

/** Triggers a workflow. @returns the run's id */
export async function trigger(
  client: PrincipalClient,
  workflow: string,
  params: Record<string, string> = {},
): Promise<string> {
  const { workflow_instance_id } = await client.runTask(workflow, {
    params,
    dedupe_key: crypto.randomUUID(),
  });
  return workflow_instance_id;
}

/** The run when it is over. */
export async function ended(client: PrincipalClient, run: string): Promise<RunDetails> {
  for (;;) {
    const details = await client.waitRun(run, 20_000);
    if (["COMPLETED", "FAILED", "CRASHED", "CANCELLED"].includes(details.status)) return details;
  }
}

/** The lines of a run as `LEVEL payload`, in order. */
export async function linesOf(client: PrincipalClient, run: string): Promise<string[]> {
  const page = await client.searchLogs({ workflow_instance_id: run });
  return page.rows.map((row) => `${row[6]} ${row[7]}`);
}

/** A workflow file of shell commands. */
export function shellWorkflow(
  tasks: Readonly<Record<string, string | { run: string; depends?: string[]; more?: string }>>,
  top = "",
): string {
  const lines = Object.entries(tasks).flatMap(([id, task]) => {
    const { run, depends = [], more = "" } = typeof task === "string" ? { run: task } : task;
    return [
      `  ${id}:`,
      `    name: ${id}`,
      `    depends: ${JSON.stringify(depends)}`,
      ...(more ? [`    ${more}`] : []),
      "    config:",
      "      !Subprocess",
      "      cmd: sh",
      `      args: ["-c", ${JSON.stringify(run)}]`,
    ];
  });
  return `name: Shell\n${top}\ntasks:\n${lines.join("\n")}\n`;
}
