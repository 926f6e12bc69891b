/** What the metrics of a member say of the installation. */
import type { PrincipalSummary } from "../../contract/messages.ts";
import type { Exposition } from "../../metrics/exposition.ts";

/** What a member knows. */
export interface MemberFigures {
  readonly members: readonly PrincipalSummary[];
  /** Whether there is a connection to PostgreSQL. */
  readonly isStoreUp: boolean;
  /** The number of the last term that this member knows. */
  readonly epoch: number;
}

export function addMembers(page: Exposition, { members, isStoreUp, epoch }: MemberFigures): void {
  const own = members.find(({ is_self }) => is_self);
  page.gauge(
    "cdktr_leader",
    "Whether this principal is the leader of its installation",
    own?.role === "leader" ? 1 : 0,
  );
  page.gauge("cdktr_leader_epoch", "Number of the leader's term", epoch);
  const roles = Map.groupBy(members, ({ role }) => role);
  page.gauge(
    "cdktr_members",
    "Principals of the installation by role",
    (["leader", "follower", "joining", "changing", "silent"] as const).map((role) => [
      { role },
      roles.get(role)?.length ?? 0,
    ]),
  );
  page.gauge(
    "cdktr_members_other_workflows",
    "Principals whose workflow files are not those of the leader",
    members.filter(({ same_workflows }) => same_workflows === false).length,
  );
  page.gauge("cdktr_store_up", "Whether this principal is connected to PostgreSQL", isStoreUp ? 1 : 0);
  const { lag = null, store = null } = own ?? {};
  if (lag !== null) {
    page.gauge(
      "cdktr_replica_lag_commits",
      "Commits of the leader that the copy of this follower lacks",
      lag.commits,
    );
    page.gauge(
      "cdktr_replica_lag_seconds",
      "How long the copy of this follower has been behind",
      lag.ms / 1000,
    );
  }
  if (store !== null)
    page.gauge("cdktr_store_commit_seconds", "How long the latest commits to PostgreSQL took", [
      [{ quantile: "0.5" }, store.p50_ms / 1000],
      [{ quantile: "0.99" }, store.p99_ms / 1000],
    ]);
}
