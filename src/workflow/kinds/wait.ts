import { formatDuration } from "../duration.ts";
import { duration, timestamp } from "../scalars.ts";
import { Kind } from "./kind.ts";

/** Waits for a time. The principal does that: no agent is held. */
export const Wait = new Kind(
  "Wait",
  "waits for a time, without an agent",
  {
    for: duration(1)
      .sparse()
      .as("for_ms")
      .describe("How long it waits, from the moment in which the tasks that it depends on are over"),
    until: timestamp()
      .sparse()
      .as("until_ms")
      .describe("The time for which it waits; if that has passed, the task is over at once"),
  },
  {
    command: ({ for_ms, until_ms }) =>
      for_ms !== undefined
        ? ["wait", "for", formatDuration(for_ms)]
        : ["wait", "until", until_ms === undefined ? "…" : new Date(until_ms).toISOString()],
    waitsFor: "time",
    ignores: [
      ...["retry", "timeout", "grace", "background", "runs_on", "working_directory"],
      ...["env", "env_file", "secrets", "stdin", "outputs"],
    ],
    demands: ({ for_ms, until_ms }) => {
      if (for_ms === undefined && until_ms === undefined)
        return {
          message: 'needs "for" or "until"',
          help: "such as for: 10m, or until: 2030-01-20T02:00:00Z",
        };
      if (for_ms !== undefined && until_ms !== undefined)
        return { message: 'has both "for" and "until"', help: "keep one" };
      return null;
    },
  },
);
