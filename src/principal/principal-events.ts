/**
 * Events between the services of a principal, by topic. Each is emitted after the fact; if it concerns the state, after it is on disk.
 * What must happen in the same unit of work is not an event: {@link RunChanges} calls it directly.
 */
import type { EventHub } from "../event-hub.ts";
import type { PauseRecord } from "../storage/operational/pauses.ts";
import type { RunRecord } from "../storage/operational/store.ts";

/** Topic → payload. */
interface PrincipalTopics {
  /** A run, or a slice, was given to an agent; the payload is how long it had waited, ms. */
  readonly "run assigned": number;
  /** It must be confirmed before a deadline. */
  readonly "run offered": undefined;
  /** The principal has to watch the deadline of a run, which may be this far away, ms, or further. */
  readonly "run limited": number;
  /** A run, or a task, waits until this time, ms since the epoch. */
  readonly "wait added": number;
  /** The run with this id may rest, or not rest any more. */
  readonly "run touched": string;
  readonly "run ended": RunRecord;
  /** A run is held for its concurrency group, or because its workflow is paused. */
  readonly "run held": undefined;
  /** Runs that could be admitted to their groups were not, because of this error; null: because there were too many for one commit. */
  readonly "admission due": unknown;
  /** A workflow, or what is known of its file, is another one. */
  readonly "workflows changed": undefined;
  /** Alert files have changed. */
  readonly "alert files changed": undefined;
  /** There is another backfill, or one has another state. */
  readonly "backfill changed": undefined;
  /** A workflow is paused from now on, or its pause has changed. */
  readonly "workflow paused": PauseRecord;
  /** The pause of the workflow with this id is over. */
  readonly "workflow resumed": string;
  /** A schedule or an event should have run a workflow, and could not: it is given up. Not again for what follows it with the same workflow. */
  readonly "firing refused": {
    readonly workflowId: string;
    readonly trigger: string;
    readonly message: string;
  };
  /** Alerts were raised or resolved, or are to be sent. */
  readonly "alerts changed": undefined;
  /** Something is expected by this time, ms since the epoch, or within this time by the store's clock, ms. */
  readonly "expectation added": { readonly dueMs?: number; readonly leftMs?: number };
  /** Something that was expected was not done in time, or was done after all. */
  readonly "expectations changed": undefined;
  /** Finished runs were removed; only the history has them. */
  readonly "runs forgotten": undefined;
  /** There are new status rows for the history. */
  readonly "statuses written": undefined;
  /** There are new orders for the agent with this id. */
  readonly "orders changed": string;
  /** The process of the agent with this id is gone, or accepts no new work. */
  readonly "agent dismissed": string;
  /** An agent's clock was compared with the principal's: `offsetMs` must be added to its times; 0 when they are right. */
  readonly "agent clock compared": { readonly agentId: string; readonly offsetMs: number };
  /** This process was suspended for this long, ms: silence during that time does not count. */
  readonly "principal paused": number;
}

export type PrincipalEvents = EventHub<PrincipalTopics>;
