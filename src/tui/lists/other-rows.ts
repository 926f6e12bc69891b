/** The rows of the lists of agents and activity. */
import type { ActivityEvent, AgentSummary } from "../../contract/messages.ts";
import { memo } from "../memo.ts";
import type { ListState, State } from "../state.ts";
import { matcher } from "./filter.ts";

const computeAgents = memo((agents: readonly AgentSummary[], filter: string): readonly AgentSummary[] => {
  const matches = matcher(filter);
  return agents
    .filter((agent) =>
      matches(
        `${agent.agent_id} ${agent.host} ${agent.status} ${Object.entries(agent.labels)
          .map(([key, value]) => `${key}=${value}`)
          .join(" ")}`,
      ),
    )
    .sort((a, b) => (a.agent_id < b.agent_id ? -1 : 1));
});

const computeEvents = memo((events: readonly ActivityEvent[], filter: string): readonly ActivityEvent[] => {
  const matches = matcher(filter);
  return events.filter((event) => matches(`${event.kind} ${event.level} ${event.message}`)).reverse();
});

const NO_AGENTS: readonly AgentSummary[] = [];

/** Agents, sorted by id. */
export function agentRows(state: State, list: Readonly<ListState> | undefined): readonly AgentSummary[] {
  return computeAgents(state.data.agents ?? NO_AGENTS, list?.filter ?? "");
}

/** Events, newest first. */
export function eventRows(state: State, list: Readonly<ListState> | undefined): readonly ActivityEvent[] {
  return computeEvents(state.data.events, list?.filter ?? "");
}
