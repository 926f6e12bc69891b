/** Where listeners read the workflows. */
import type { WorkflowSummary } from "../../contract/messages.ts";
import type { PrincipalClient } from "../../protocol/client.ts";
import type { Calendar } from "../../workflow/calendar.ts";

/** What listeners need of a workflow. */
export type DeclaredWorkflow = Pick<
  WorkflowSummary,
  | "id"
  | "cron"
  | "timezone"
  | "start_time_ms"
  | "catchup"
  | "schedule_cursor_ms"
  | "schedule_timezone"
  | "params"
  | "reads_event"
  | "on"
  | "schedules"
> & {
  /** How far they have come, by the keys of the entries; of those that are recorded. */
  readonly schedule_positions?: ReadonlyMap<string, number> | undefined;
  /** The calendars that there are, by name; another object whenever one of them changes. */
  readonly calendars?: ReadonlyMap<string, Calendar> | undefined;
  /** Absent if it is not paused. */
  readonly paused?: object | undefined;
};

/** The workflows and their changes. */
export interface DeclarationSource {
  /**
   * Resolves when the workflows may have changed since `revision`, at the latest after `waitMs`; without a revision, at once.
   * @returns the present revision
   */
  watch(revision: string | undefined, waitMs: number, signal: AbortSignal): Promise<string>;
  /** The workflows, at least those that declare a trigger. */
  list(signal: AbortSignal): Promise<readonly DeclaredWorkflow[]>;
}

/** Reads them from a principal. */
export function sourceOf(client: PrincipalClient): DeclarationSource {
  return {
    watch: (revision, wait_ms, signal) => client.watchWorkflows({ revision, wait_ms }, { signal }),
    list: async (signal) => Object.values(await client.listWorkflows({ signal })),
  };
}
