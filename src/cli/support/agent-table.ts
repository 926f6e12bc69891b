/** The table of `agents list`. */
import { shownLabels } from "../../contract/agent-labels.ts";
import type { AgentSummary } from "../../contract/messages.ts";
import { formatRelative } from "./format.ts";
import { styleFor } from "./style.ts";
import { renderTable, type TableOptions } from "./table.ts";

/** The agents as lines. @param now by the principal's clock, ms since the epoch */
export function agentTable(
  agents: readonly AgentSummary[],
  now: number,
  options: TableOptions = {},
): string[] {
  const style = options.style ?? styleFor("stdout");
  const paint = { UP: style.green, DRAINING: style.yellow, LOST: style.red };
  return renderTable<AgentSummary>(
    [
      { title: "AGENT", value: (agent) => agent.agent_id, flexible: true, least: 20 },
      { title: "STATUS", value: (agent) => agent.status, paint: (agent) => paint[agent.status] },
      {
        title: "RUNNING",
        value: (agent) => `${agent.running_workflows}/${agent.max_concurrent_workflows}`,
        align: "right",
      },
      { title: "TASKS", value: (agent) => String(agent.running_tasks), align: "right" },
      {
        title: "HEARTBEAT",
        value: (agent) =>
          formatRelative(
            agent.silent_ms === undefined ? agent.last_heartbeat_ms : now - agent.silent_ms,
            now,
          ),
      },
      { title: "HOST", value: (agent) => agent.host, flexible: true, dispensable: true },
      { title: "VERSION", value: (agent) => agent.version, dispensable: true },
      {
        title: "LABELS",
        value: (agent) =>
          shownLabels(agent)
            .map(([key, value]) => `${key}=${value}`)
            .join(" "),
        below: true,
      },
    ],
    agents,
    options,
  );
}
