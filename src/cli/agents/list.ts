import type { AgentSummary } from "../../contract/messages.ts";
import { formatDuration } from "../../workflow/duration.ts";
import { agentTable } from "../support/agent-table.ts";
import { command } from "../support/command.ts";
import { principalNow, withPrincipal } from "../support/connect.ts";
import { jsonArg, principalArg } from "../support/globals.ts";
import { say } from "../support/report.ts";
import { printJson, printLine } from "../support/stdout.ts";

export default command({
  meta: { name: "list", description: "List the agents that the principal knows" },
  args: { ...jsonArg, ...principalArg },
  extras: {
    details:
      "UP: it accepts work. DRAINING: it finishes its runs and takes no new ones. LOST: it sent no heartbeat for CDKTR_AGENT_HEARTBEAT_TIMEOUT_MS, and its runs went to other agents. RUNNING shows its runs and its limit, TASKS the tasks in progress. LABELS: first those that it was given; on a narrow terminal they stand below each agent.",
    examples: [
      { command: "cdktr agents list", does: "the agents and how busy they are" },
      {
        command: "cdktr agents list --json | jq '.[] | select(.status == \"LOST\")'",
        does: "lost agents only",
      },
    ],
  },
  async run({ args }) {
    const agents = await withPrincipal(args, ({ client }) => client.registeredAgents());
    if (args.json) return printJson(agents.map(agentJson));
    if (agents.length === 0) return say("No agents. Start one with 'cdktr start agent'.");
    for (const line of agentTable(agents, principalNow())) await printLine(line);
    for (const line of agents.flatMap(notesOn)) await printLine(line);
  },
});

/** An agent, with the field names of the contract. */
function agentJson(agent: AgentSummary) {
  return {
    agent_id: agent.agent_id,
    host: agent.host,
    status: agent.status,
    running_workflows: agent.running_workflows,
    running_tasks: agent.running_tasks,
    max_concurrent_workflows: agent.max_concurrent_workflows,
    last_heartbeat_ms: agent.last_heartbeat_ms,
    labels: agent.labels,
    version: agent.version,
    survivors: agent.survivors ?? [],
    clock_ahead_ms: agent.clock_ahead_ms ?? 0,
  };
}

/** What is not right with an agent, below the table. */
function notesOn({ agent_id, survivors = [], clock_ahead_ms = 0 }: AgentSummary): string[] {
  const notes = survivors.map(
    ({ pid, name, user, reason }) =>
      `${agent_id}: pid ${pid} (${name}) of ${user}, left by a task, cannot be ended: ${reason}.`,
  );
  if (clock_ahead_ms !== 0) {
    const apart = formatDuration(Math.round(Math.abs(clock_ahead_ms) / 1000) * 1000);
    notes.push(
      `${agent_id}: its clock is ${apart} ${clock_ahead_ms > 0 ? "ahead of" : "behind"} the principal's.`,
    );
  }
  return notes;
}
