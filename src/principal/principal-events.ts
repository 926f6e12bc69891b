/**
 * What the services of a principal tell each other, by topic. Each is told after the fact, on disk where it is about the state. What
 * must happen in the same unit of work is no event: {@link RunChanges} calls it.
 */
import type { EventHub } from "../event-hub.ts";
import type { RunRecord } from "../storage/operational/store.ts";

/** Topic → what comes with it. */
interface PrincipalTopics {
  /** A run was offered to an agent; so long it had waited for one, ms. */
  readonly "run offered": number;
  readonly "run ended": RunRecord;
  /** Runs that are over were forgotten; only the history has them. */
  readonly "runs forgotten": undefined;
  /** The history has new status rows to get. */
  readonly "statuses written": undefined;
  /** There are new orders for the agent of this id. */
  readonly "orders changed": string;
  /** The process of the agent of this id is gone, or takes nothing new. */
  readonly "agent dismissed": string;
  /** This process stood still for so long, ms: nobody's silence in that time counts. */
  readonly "principal paused": number;
}

export type PrincipalEvents = EventHub<PrincipalTopics>;
