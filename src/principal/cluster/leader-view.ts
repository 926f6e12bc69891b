/** What a member knows of the others: who it is itself, and who leads. */
import type { EventHub } from "../../event-hub.ts";

/** A member, and where others reach it. */
interface MemberPlace {
  readonly member_id: string;
  readonly name: string;
  readonly host: string;
  readonly api_port: number;
  readonly logs_listening_port: number;
  readonly logs_publishing_port: number;
}

/** The member that leads. */
export interface LeaderPlace extends MemberPlace {
  /** Of its term. Another term of the same member has another one. */
  readonly epoch: number;
}

/** What a member knows at the moment. */
export interface ClusterView {
  readonly self: MemberPlace;
  /** Null while nobody leads. */
  leader(): LeaderPlace | null;
  /** `leader`: {@link leader} has changed. */
  readonly signals: EventHub<{ readonly leader: undefined }>;
}

/** Whether both are the same term of the same member at the same place. */
export function isSameTerm(a: LeaderPlace, b: LeaderPlace | null): boolean {
  return (
    b !== null &&
    a.epoch === b.epoch &&
    a.member_id === b.member_id &&
    a.host === b.host &&
    a.api_port === b.api_port
  );
}
