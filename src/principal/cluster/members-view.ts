/** What a member knows of the installation, from when it looked last. */
import type { MemberRole, PrincipalSummary } from "../../contract/messages.ts";
import type { ProtocolRange } from "../../contract/version.ts";
import { EventHub } from "../../event-hub.ts";
import type { ClusterSight, MemberRow } from "../../storage/postgres/leadership.ts";
import { type ClusterView, isSameTerm, type LeaderPlace } from "./leader-view.ts";
import type { MemberState } from "./member-state.ts";

/** A member that was not heard of for so long is silent, ms. */
export const SILENT_MS = 5000;

/** What members tell each other beside what PostgreSQL needs. */
export interface MemberNews {
  readonly state: MemberState;
  readonly protocol: ProtocolRange;
  /** Since when it is in that state. */
  readonly since_ms: number;
  readonly lag: PrincipalSummary["lag"];
  readonly store: PrincipalSummary["store"];
  readonly problem: string | null;
  /** Where it keeps the files of runs. */
  readonly blobs: string;
  /** Where it keeps the history. */
  readonly history: string;
}

const ROLES: Readonly<Record<MemberState, MemberRole>> = {
  JOINING: "joining",
  FOLLOWING: "follower",
  TAKING_OVER: "changing",
  LEADING: "leader",
  STEPPING_DOWN: "changing",
  STOPPED: "silent",
};

type MemberPlace = ClusterView["self"];

export class MembersView implements ClusterView {
  readonly signals = new EventHub<{ readonly leader: undefined }>();
  #self: MemberPlace;
  #sight: ClusterSight | undefined;
  #leader: LeaderPlace | null = null;

  constructor(self: MemberPlace) {
    this.#self = self;
  }

  get self(): MemberPlace {
    return this.#self;
  }

  /** The name that it got, as another has the one that it wanted. */
  set name(name: string) {
    this.#self = { ...this.#self, name };
  }

  leader(): LeaderPlace | null {
    return this.#leader;
  }

  /** What was seen. */
  saw(sight: ClusterSight): void {
    this.#sight = sight;
    const { leader } = sight;
    const row = sight.members.find(({ member_id }) => member_id === leader?.member_id);
    this.lead(leader === null || row === undefined ? null : { ...placeOf(row), epoch: leader.epoch });
  }

  /** Somebody else leads, or nobody. */
  lead(leader: LeaderPlace | null): void {
    const before = this.#leader;
    if (leader === null ? before === null : before !== null && isSameTerm(before, leader)) return;
    this.#leader = leader;
    this.signals.emit("leader");
  }

  /** The members that others can be sent to. */
  alive(): MemberPlace[] {
    const rows = this.#sight?.members ?? [];
    return rows.filter(({ is_stopping, silent_ms }) => !is_stopping && silent_ms < SILENT_MS).map(placeOf);
  }

  /** The number of the last term that was seen. */
  get epoch(): number {
    return this.#sight?.epoch ?? 0;
  }

  /** The number of the last commit that was seen. */
  get commitSeq(): number {
    return this.#sight?.commit_seq ?? 0;
  }

  /**
   * All members, by name.
   * @param own the entry of this one
   */
  summaries(own: MemberRow): PrincipalSummary[] {
    const others = (this.#sight?.members ?? []).filter(({ member_id }) => member_id !== own.member_id);
    const all = [own, ...others];
    const leads = all.find(({ member_id }) => member_id === this.#leader?.member_id);
    const digest = leads?.workflows_digest ?? "";
    return all.map((row) => this.#summary(row, own, digest)).sort((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** What it says may be a second old, and PostgreSQL knows who has the term. */
  #roleOf(memberId: string, state: MemberState): MemberRole {
    const hasTerm = memberId === this.#leader?.member_id;
    if (hasTerm) return state === "LEADING" ? "leader" : "changing";
    return state === "LEADING" ? "changing" : ROLES[state];
  }

  #summary(row: MemberRow, own: MemberRow, digest: string): PrincipalSummary {
    const { name, host, api_port, logs_listening_port, logs_publishing_port, version } = row;
    const { started_at_ms, silent_ms, workflows_digest } = row;
    const news = row.data as unknown as MemberNews;
    const role = silent_ms >= SILENT_MS ? "silent" : this.#roleOf(row.member_id, news.state);
    return {
      name,
      is_self: row === own,
      role,
      host,
      api_port,
      logs_listening_port,
      logs_publishing_port,
      version,
      protocol: news.protocol,
      started_at_ms,
      since_ms: news.since_ms,
      silent_ms,
      epoch: role === "leader" ? (this.#leader?.epoch ?? null) : null,
      lag: role === "leader" ? null : news.lag,
      same_workflows: digest === "" || workflows_digest === "" ? null : digest === workflows_digest,
      store: news.store,
      problem: news.problem,
    };
  }
}

function placeOf(row: MemberRow): MemberPlace {
  const { member_id, name, host, api_port, logs_listening_port, logs_publishing_port } = row;
  return { member_id, name, host, api_port, logs_listening_port, logs_publishing_port };
}
