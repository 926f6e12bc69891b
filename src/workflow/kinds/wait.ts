import { formatDuration } from "../duration.ts";
import { templated, templates, type ValueOf } from "../field.ts";
import { duration, timestamp } from "../scalars.ts";
import { Kind } from "./kind.ts";

/** Until when a task of this kind waits that begins now, ms since the epoch. */
export function dueOf({ for_ms, until_ms }: ValueOf<typeof Wait>, nowMs: number): number {
  return for_ms === undefined ? (until_ms ?? nowMs) : nowMs + for_ms;
}

/** Waits for a time. The principal does that: no agent is held. */
export const Wait = new Kind(
  "Wait",
  "waits for a time, without an agent",
  {
    for: templated(duration(1), "duration")
      .sparse()
      .as("for_ms")
      .describe("How long it waits, from the moment in which the tasks that it depends on are over"),
    until: templated(timestamp(), "timestamp")
      .sparse()
      .as("until_ms")
      .describe("The time for which it waits; if that has passed, the task is over at once"),
    templates: templates(),
  },
  {
    command: ({ for_ms, until_ms, templates: { for: span, until: time = "…" } = {} }) => {
      if (for_ms !== undefined || span !== undefined)
        return ["wait", "for", span ?? formatDuration(for_ms ?? 0)];
      return ["wait", "until", until_ms === undefined ? time : new Date(until_ms).toISOString()];
    },
    waitsFor: "time",
    ignores: [
      ...["retry", "repeat", "timeout", "grace", "background", "runs_on", "pool", "working_directory"],
      ...["env", "env_file", "secrets", "stdin", "outputs", "user"],
    ],
    demands: ({ for_ms, until_ms, templates: { for: span, until: time } = {} }) => {
      const [hasFor, hasUntil] = [
        for_ms !== undefined || span !== undefined,
        until_ms !== undefined || time !== undefined,
      ];
      if (!hasFor && !hasUntil)
        return {
          message: 'needs "for" or "until"',
          help: "such as for: 10m, or until: 2030-01-20T02:00:00Z",
        };
      if (hasFor && hasUntil) return { message: 'has both "for" and "until"', help: "keep one" };
      return null;
    },
  },
);
