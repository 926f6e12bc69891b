/** What agents report of attempts and task runs, and what is known of those while the reports of one unit of work are applied. */
import type { BegunRun, TaskReport } from "../../contract/messages.ts";
import type { AttemptRecord, RunRecord, TaskRunRecord } from "../../storage/operational/store.ts";
import type { RunStatus } from "../../workflow/status.ts";
import { type AttemptName, nameOf } from "./attempt-name.ts";

/** What is known of an agent's clock when a report comes. */
export interface ReportedClock {
  /** The latest time that the agent gave together with this report; by default this report's. */
  readonly latest_ms?: number;
  /** By how much it is ahead of the principal's according to heartbeats; 0 if they do not tell. */
  readonly ahead_ms?: number;
}

/** An agent's report about an attempt. */
export interface RunWord extends ReportedClock {
  readonly agent_id: string;
  readonly stream_id: string | null;
  readonly workflow_instance_id: string;
  readonly slice: number;
  readonly attempt: number;
  readonly status: RunStatus;
  /** By the agent's clock. */
  readonly timestamp_ms: number;
  readonly error: string | null;
  readonly log_seq: number;
  /** How long the attempt took, by the agent's monotonic clock. */
  readonly duration_ms?: number | undefined;
  /** Number of tasks that FAILED and were allowed to. */
  readonly allowed_failures?: number | undefined;
  /** In the first report about a run that the agent has begun by itself. */
  readonly begun?: BegunRun | undefined;
}

/** An agent's report about a task run. */
export type TaskWord = Omit<TaskReport, "kind" | "seq" | "workflow_id"> &
  ReportedClock & { readonly agent_id: string };

/**
 * The result of a report. `applied`: it counts, or was known. `over`: the agent ended this attempt itself before. `fenced`: the attempt
 * does not belong to the agent (any more). `illegal`: the current status does not allow it.
 */
export type Outcome = "applied" | "over" | "fenced" | "illegal";

/** An active attempt with its run. */
export interface Held {
  readonly run: RunRecord;
  readonly attempt: AttemptRecord;
}

/** What is known of an attempt while reports are applied. */
export interface Heard {
  /** Of a run as a whole: nothing but reports of this attempt changes it. */
  held?: Held;
  /** Its task runs, by instance. */
  readonly tasks: Map<string, TaskRunRecord>;
  /** The tasks of a slice. */
  slice?: ReadonlySet<string>;
}

/** What the reports of one unit of work are about: most of them follow others about the same, which need not be read again. */
export class Hearing {
  readonly #attempts = new Map<string, Heard>();

  of(word: AttemptName): Heard {
    const name = nameOf(word);
    const known = this.#attempts.get(name);
    if (known !== undefined) return known;
    const heard: Heard = { tasks: new Map() };
    this.#attempts.set(name, heard);
    return heard;
  }

  /** The attempt is over. */
  forget(word: AttemptName): void {
    this.#attempts.delete(nameOf(word));
  }
}

/** Remembers a run that one agent has as a whole. Others change the run of a slice too. */
export function learn(heard: Heard, held: Held): Held {
  if (held.attempt.slice === 0) heard.held = held;
  return held;
}
