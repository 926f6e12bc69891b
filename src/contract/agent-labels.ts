/** The labels of an agent, as tables show them. */
import type { AgentSummary } from "./messages.ts";

/** Labels that every agent has by itself, in the order in which they are shown. */
export const AUTOMATIC_LABELS = ["host", "arch", "os", "cores"] as const;

/** Names and values: first those that it was given. The label `host` is left out if it repeats the agent's host. */
export function shownLabels({ labels, host }: Pick<AgentSummary, "labels" | "host">): [string, string][] {
  const isAutomatic = (name: string) => AUTOMATIC_LABELS.some((each) => each === name);
  const given = Object.entries(labels).filter(([name]) => !isAutomatic(name));
  const automatic = AUTOMATIC_LABELS.flatMap((name): [string, string][] => {
    const value = labels[name];
    return value === undefined || (name === "host" && value === host) ? [] : [[name, value]];
  });
  return [...given, ...automatic];
}
