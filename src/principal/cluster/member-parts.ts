/** What the principal of a term shares with the other terms of its member. */
import type { PrincipalInfo, PrincipalSummary } from "../../contract/messages.ts";
import type { MetricsServerOptions } from "../../metrics/metrics-server.ts";
import type { OperationalStore } from "../../storage/operational/store.ts";
import type { ApiTarget } from "../api/api-target.ts";
import type { Entrance } from "../api/entrance.ts";
import type { Front } from "../api/front.ts";

/** Given to a principal that is one of several; see {@link Member}. */
export interface MemberParts {
  /** The state, for this term: the principal starts and stops it. */
  readonly store: OperationalStore;
  /** The epoch of the term: the history of an earlier one cannot write into a lake any more. */
  readonly epoch: number;
  /** Open while the member runs. */
  readonly entrance: Entrance;
  /** What is there already: its service lets the target answer requests. */
  front(
    target: ApiTarget,
    pages: Pick<MetricsServerOptions, "page" | "health">,
  ): Pick<Front, "services" | "port">;
  /** The principals of the installation. */
  principals(): readonly PrincipalSummary[];
  /** Where clients reach this member and the others. */
  place(): Pick<PrincipalInfo, "host" | "member" | "members">;
  /** The principal is about to stop: what is asked from now on waits for the next leader. */
  hold(): void;
}
