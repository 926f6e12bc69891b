/** What a run knows of itself: the part of what its expressions can read that no task publishes. Plain JSON. */
import type { RunStatus } from "./status.ts";

/** What a run knows of itself. */
export interface RunFacts {
  /** Its parameters as text, in the spelling of their types. */
  readonly params: Readonly<Record<string, string>>;
  readonly run: FactsOfRun;
  /** What the event offered that triggered it. */
  readonly event: Readonly<Record<string, string>>;
  /** The environment variables of its workflow, as the file has them. */
  readonly env: Readonly<Record<string, string>>;
  /** The agents that are up, for `agents(…)`; undefined where nobody knows. */
  readonly agents?: readonly AgentFacts[] | undefined;
}

/** What expressions see of an agent. */
export interface AgentFacts {
  readonly id: string;
  readonly host: string;
  readonly labels: Readonly<Record<string, string>>;
}

/** The names behind `run.` in expressions; times in ms since the epoch. */
interface FactsOfRun {
  readonly id: string;
  readonly workflow_id: string;
  readonly attempt: number;
  readonly trigger: string;
  readonly scheduled_time_ms: number | null;
  readonly created_at_ms: number;
  /** How its tasks ended: only for hooks and for the outputs of the workflow. */
  readonly status?: RunStatus;
  readonly error?: string | null;
  readonly failed_tasks?: readonly string[];
}

/** The fields of a run, on the principal and in an assignment, from which its facts are made. */
export interface RunWithFacts {
  readonly workflow_instance_id: string;
  readonly workflow_id: string;
  readonly attempt: number;
  readonly trigger: string;
  readonly scheduled_time_ms: number | null;
  /** Agents of an older principal do not get it. */
  readonly created_at_ms?: number | undefined;
  readonly params: Readonly<Record<string, string>>;
  readonly event?: Readonly<Record<string, string>> | null | undefined;
}

/** The facts of a run of this workflow. @param agents those that are up now */
export function factsOf(
  run: RunWithFacts,
  workflow: { readonly env: Readonly<Record<string, string>> },
  agents?: readonly AgentFacts[],
): RunFacts {
  return {
    params: run.params,
    run: {
      id: run.workflow_instance_id,
      workflow_id: run.workflow_id,
      attempt: run.attempt,
      trigger: run.trigger,
      scheduled_time_ms: run.scheduled_time_ms,
      created_at_ms: run.created_at_ms ?? run.scheduled_time_ms ?? 0,
    },
    event: run.event ?? {},
    env: workflow.env,
    ...(agents === undefined ? {} : { agents }),
  };
}
