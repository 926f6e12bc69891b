/** What is told about agents. */
import type { AgentRecord } from "../../storage/operational/store.ts";
import { alertKey } from "../../workflow/alert-kinds.ts";
import type { Alerts } from "./alerts.ts";
import type { NewAlert } from "./new-alert.ts";

/** The key of the alert about a lost agent. */
export function agentKey(agentId: string): string {
  return alertKey("agent_lost", agentId);
}

/** The agents about whose loss alerts are open. */
export function lostAgents(alerts: Pick<Alerts, "openOf"> | undefined): { agent_id: string; key: string }[] {
  const keys = alerts?.openOf("agent_lost") ?? [];
  return keys.map((key) => ({ agent_id: key.slice(agentKey("").length), key }));
}

/** An agent is lost. @param seconds nothing was heard of it for so long @param runs how many of its runs crash */
export function agentAlert(agent: AgentRecord, seconds: number, runs: number, at_ms: number): NewAlert {
  const { agent_id, host, version, labels } = agent;
  const crash = runs === 0 ? "" : runs === 1 ? "; a run crashes" : `; ${runs} runs crash`;
  return {
    kind: "agent_lost",
    key: agentKey(agent_id),
    workflow_id: null,
    workflow_instance_id: null,
    subject: `Agent ${agent_id} is lost: nothing heard for ${seconds} s${crash}`,
    facts: { agent_id, host, version, labels, silent_s: seconds, runs },
    at_ms,
  };
}
