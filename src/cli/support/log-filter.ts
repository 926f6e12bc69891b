/** The filters that `logs query` and `logs tail` share. */
import type { ArgsDef } from "citty";
import { LOG_LEVELS } from "../../contract/log-line.ts";
import type { SearchLogs } from "../../contract/messages.ts";
import { UsageError } from "../../errors.ts";
import { wholeNumber } from "./command.ts";
import type { Connection } from "./connect.ts";
import { jsonArg, principalArg } from "./globals.ts";
import { findRun } from "./run-id.ts";
import { instantOption, spanOption } from "./time.ts";

export const logArgs = {
  workflow: { type: "string", alias: "w", valueHint: "ID", description: "Only lines of this workflow" },
  run: {
    type: "string",
    alias: "r",
    valueHint: "RUN",
    description: "Only lines of this run (its id or a prefix of it)",
  },
  task: {
    type: "string",
    alias: "t",
    valueHint: "ID",
    description: "Only lines of this task: its id or name, or a task run's id",
  },
  level: {
    type: "enum",
    alias: "l",
    valueHint: "LEVEL",
    options: [...LOG_LEVELS],
    description: "Only lines of this level: stdout is INFO, stderr ERROR",
  },
  last: {
    type: "string",
    valueHint: "SPAN",
    description: "Only the most recent time span, such as 15m, 1h or 2d",
  },
  since: {
    type: "string",
    valueHint: "TIME",
    description: "Only lines from this time on: RFC 3339, '2h ago' or ms since 1970",
  },
  until: {
    type: "string",
    valueHint: "TIME",
    description: "Only lines up to this time, in the same formats",
  },
  grep: {
    type: "string",
    alias: "g",
    valueHint: "RE",
    description: "Only lines whose text matches a regular expression (RE2)",
  },
  lines: { type: "string", alias: "n", valueHint: "N", description: "Only the newest N lines" },
  verbose: { type: "boolean", description: "Add workflow, run and task run to each line" },
  ...jsonArg,
  ...principalArg,
} as const satisfies ArgsDef;

export interface LogFlags {
  readonly workflow?: string | undefined;
  readonly run?: string | undefined;
  readonly task?: string | undefined;
  readonly level?: string | undefined;
  readonly last?: string | undefined;
  readonly since?: string | undefined;
  readonly until?: string | undefined;
  readonly grep?: string | undefined;
  readonly lines?: string | undefined;
}

/** The search criteria, except the run, whose id the principal must resolve. */
export interface LogFilter {
  readonly search: SearchLogs;
  /** Only the newest lines, this many; undefined for all. */
  readonly limit: number | undefined;
}

/**
 * Reads the filters.
 * @throws UsageError when one is invalid or two exclude each other
 */
export function readLogFilter(flags: LogFlags, now: number): LogFilter {
  return {
    search: {
      ...(flags.workflow === undefined ? {} : { workflow_id: flags.workflow }),
      ...(flags.task === undefined ? {} : { task: flags.task }),
      ...(flags.level === undefined ? {} : { level: flags.level as NonNullable<SearchLogs["level"]> }),
      ...readStretch(flags, now),
      ...(flags.grep === undefined ? {} : { grep: flags.grep }),
    },
    limit: wholeNumber(flags.lines, "-n", { min: 0, max: 1_000_000 }),
  };
}

/**
 * Reads `--last`, `--since` and `--until`.
 * @throws UsageError when one is invalid or two exclude each other
 */
export function readStretch(
  flags: Pick<LogFlags, "last" | "since" | "until">,
  now: number,
): { readonly since_ms?: number; readonly until_ms?: number } {
  if (flags.last !== undefined && flags.since !== undefined) {
    throw new UsageError("--last and --since cannot be combined.", {
      hint: "--last 1h is short for --since '1h ago'.",
    });
  }
  const span = spanOption(flags.last, "--last");
  const since = span === undefined ? instantOption(flags.since, "--since", now) : now - span;
  const until = instantOption(flags.until, "--until", now);
  if (since !== undefined && until !== undefined && since > until) {
    throw new UsageError("--since is after --until: nothing can match.");
  }
  return {
    ...(since === undefined ? {} : { since_ms: since }),
    ...(until === undefined ? {} : { until_ms: until }),
  };
}

/** Adds the run, given by its id or a prefix of it. */
export async function withRun(
  connection: Connection,
  search: SearchLogs,
  run: string | undefined,
): Promise<SearchLogs> {
  if (run === undefined) return search;
  const found = await findRun(connection, run);
  return { ...search, workflow_instance_id: found.workflow_instance_id, workflow_id: found.workflow_id };
}
