/**
 * Who leads: one row in PostgreSQL, which the leader renews with each of its commits and once a second, and which another member may take
 * when it was not renewed for the length of its lease, by the server's clock. Each time it is taken begins a term with a higher epoch. A commit of
 * an earlier term changes nothing any more: its fence does not find the row.
 */
import { type Clock, systemClock } from "../../clock.ts";
import type { PostgresConnection } from "./connection.ts";

/** How long a term lasts without being renewed unless its leader says otherwise, ms. */
export const LEASE_MS = 3000;
/** How long after its last renewal a leader whose connection the server has lost is given up, ms. */
const GONE_MS = 1000;
/** How long a member that has just connected believes leaders whose connection is not there: they may be about to come back, too, ms. */
const CREDIT_MS = 1500;

/** The channel on which a change of the leader is told. */
export const LEADER_CHANNEL = "cdktr_leader";

const LEASE = "lease_ms * interval '1 millisecond'";

/**
 * The fence of a commit: it takes the row for commit $1 of epoch $2 by member $3, and renews the lease. It finds none when the term is over,
 * and also when this commit is there already.
 */
export const FENCE = `UPDATE cluster_leadership
  SET commit_seq = $1::bigint, renewed_at = clock_timestamp(), until = clock_timestamp() + ${LEASE}
  WHERE one = 1 AND epoch = $2::bigint AND member_id = $3::text AND commit_seq = $1::bigint - 1
  RETURNING commit_seq, epoch`;

/** What may be lost with a primary that dies does not wait for its standbys. */
const NOT_WAITING = "set_config('synchronous_commit', 'local', true)";

/**
 * Whether the server has no connection of the leader's any more, although it was not started anew. A start that is null is another
 * role's.
 */
const IS_GONE = `pg_postmaster_start_time() < l.renewed_at AND NOT EXISTS (SELECT FROM pg_stat_activity a
    WHERE a.pid = l.backend_pid AND (a.backend_start IS NULL OR a.backend_start = l.backend_start))`;

/** Whether the row may be taken. $1: who asks, $2: whether it counts that the leader's connection is gone. */
const IS_FREE = `(l.member_id IS NULL OR l.member_id = $1::text OR l.until < clock_timestamp()
    OR ($2::bool AND abs(extract(epoch FROM clock_timestamp() - l.renewed_at)) * 1000 > ${GONE_MS} AND ${IS_GONE}))`;

const MY_BACKEND = `backend_pid = pg_backend_pid(),
    backend_start = (SELECT a.backend_start FROM pg_stat_activity a WHERE a.pid = pg_backend_pid())`;

const TAKE_OVER = `
WITH taken AS (
  UPDATE cluster_leadership l
  SET epoch = epoch + 1, member_id = $1::text, since = clock_timestamp(), renewed_at = clock_timestamp(),
    until = clock_timestamp() + $3::int * interval '1 millisecond', lease_ms = $3::int, ${MY_BACKEND}
  WHERE one = 1 AND ${IS_FREE}
  RETURNING epoch, commit_seq, schema_version)
SELECT epoch, commit_seq, schema_version, pg_notify('${LEADER_CHANNEL}', epoch::text)::text AS told FROM taken`;

const RENEW = `
WITH renewed AS (
  UPDATE cluster_leadership
  SET renewed_at = clock_timestamp(), until = clock_timestamp() + ${LEASE}, ${MY_BACKEND}
  WHERE one = 1 AND epoch = $1::bigint AND member_id = $2::text
  RETURNING commit_seq)
SELECT commit_seq, ${NOT_WAITING} AS set FROM renewed`;

const RELEASE = `
WITH released AS (
  UPDATE cluster_leadership SET member_id = NULL, until = clock_timestamp(), backend_pid = NULL, backend_start = NULL
  WHERE one = 1 AND epoch = $1::bigint AND member_id = $2::text
  RETURNING epoch)
SELECT pg_notify('${LEADER_CHANNEL}', epoch::text)::text AS told FROM released`;

const LOOK = `
WITH me AS (
  UPDATE cluster_members
  SET heard_at = clock_timestamp(), applied_seq = $3::bigint, workflows_digest = $4::text, is_stopping = $5::bool,
    data = $6::text::jsonb
  WHERE member_id = $1::text
  RETURNING member_id)
SELECT l.epoch, l.member_id, l.commit_seq, l.schema_version,
  (extract(epoch FROM l.since) * 1000)::float8 AS since_ms,
  (extract(epoch FROM l.until - clock_timestamp()) * 1000)::float8 AS left_ms,
  ${IS_FREE} AS is_free,
  (extract(epoch FROM clock_timestamp()) * 1000)::float8 AS server_now_ms,
  EXISTS (SELECT FROM me) AS is_member,
  (SELECT coalesce(json_agg(json_build_object(
      'member_id', m.member_id, 'name', m.name, 'host', m.host, 'api_port', m.api_port,
      'logs_listening_port', m.logs_listening_port, 'logs_publishing_port', m.logs_publishing_port,
      'version', m.version, 'protocol', m.protocol, 'started_at_ms', m.started_at_ms,
      'silent_ms', greatest(0, floor(extract(epoch FROM clock_timestamp() - m.heard_at) * 1000)),
      'applied_seq', m.applied_seq, 'workflows_digest', m.workflows_digest,
      'is_stopping', m.is_stopping, 'data', m.data) ORDER BY m.name, m.member_id), '[]')
    FROM cluster_members m) AS members,
  ${NOT_WAITING} AS set
FROM cluster_leadership l WHERE l.one = 1`;

const JOIN = `
WITH joined AS (
  INSERT INTO cluster_members (member_id, name, host, api_port, logs_listening_port, logs_publishing_port, version, protocol,
    started_at_ms, heard_at, applied_seq, workflows_digest, is_stopping, data)
  VALUES ($1::text, $2::text, $3::text, $4::int, $5::int, $6::int, $7::text, $8::int, $9::bigint, clock_timestamp(), $10::bigint, $11::text, $12::bool, $13::text::jsonb)
  ON CONFLICT (member_id) DO UPDATE SET name = excluded.name, host = excluded.host, api_port = excluded.api_port,
    logs_listening_port = excluded.logs_listening_port, logs_publishing_port = excluded.logs_publishing_port,
    version = excluded.version, protocol = excluded.protocol, started_at_ms = excluded.started_at_ms,
    heard_at = excluded.heard_at, applied_seq = excluded.applied_seq, workflows_digest = excluded.workflows_digest,
    is_stopping = excluded.is_stopping, data = excluded.data
  RETURNING member_id)
SELECT ${NOT_WAITING} AS set FROM joined`;

/** For tests that look at their plans. */
export const CLUSTER_STATEMENTS = {
  takeOver: TAKE_OVER,
  renew: RENEW,
  release: RELEASE,
  look: LOOK,
  join: JOIN,
};

/** What a member says of itself when it joins. */
export interface MemberFacts {
  /** Its own, for as long as its data directory lives. */
  readonly member_id: string;
  readonly name: string;
  /** Where the others and their clients reach it. */
  readonly host: string;
  readonly api_port: number;
  readonly logs_listening_port: number;
  readonly logs_publishing_port: number;
  readonly version: string;
  readonly protocol: number;
  readonly started_at_ms: number;
}

/** What a member says of itself again and again. */
export interface MemberPulse {
  /** The last commit that its replica has. */
  readonly applied_seq: number;
  readonly workflows_digest: string;
  readonly is_stopping: boolean;
  /** Whatever else there is to say of it. */
  readonly data: Readonly<Record<string, unknown>>;
}

/** A member, as the others see it. */
export interface MemberRow extends MemberFacts, MemberPulse {
  /** How long nothing was heard of it, ms. */
  readonly silent_ms: number;
}

/** How things are, by the server's word. */
export interface ClusterSight {
  /** Null when the last leader has released it. Whoever it is may be dead: {@link isFree}. */
  readonly leader: {
    readonly member_id: string;
    readonly epoch: number;
    readonly since_ms: number;
    /** How much of its lease is left, ms; negative when it is over. */
    readonly left_ms: number;
  } | null;
  /** Whether {@link Cluster.takeOver} would succeed. */
  readonly isFree: boolean;
  /** Of the last term that began. */
  readonly epoch: number;
  /** The last commit. */
  readonly commit_seq: number;
  /** Of the mirror of the operational state; 0: there is none yet. */
  readonly schema_version: number;
  /** All that were heard of in the last hour. */
  readonly members: readonly MemberRow[];
  /** The server's clock, ms since the epoch, less this host's. */
  readonly clockOffsetMs: number;
  /** At most so wrong, ms. */
  readonly clockErrorMs: number;
}

/** A time of leading. */
export class Term {
  readonly epoch: number;
  readonly memberId: string;
  /** The last commit when it began. */
  readonly firstSeq: number;
  /** Of the mirror of the operational state when it began; 0: there is none yet. */
  readonly schemaVersion: number;
  readonly #leaseMs: number;
  #leaseUntil: number;

  constructor(
    facts: Pick<Term, "epoch" | "memberId" | "firstSeq" | "schemaVersion">,
    /** When the statement that began it was sent, monotonic. */
    sentAt: number,
    leaseMs = LEASE_MS,
  ) {
    this.#leaseMs = leaseMs;
    this.epoch = facts.epoch;
    this.memberId = facts.memberId;
    this.firstSeq = facts.firstSeq;
    this.schemaVersion = facts.schemaVersion;
    this.#leaseUntil = sentAt + leaseMs;
  }

  /** Until when nobody else can lead, monotonic: unless it is renewed, the term is over then. */
  get leaseUntil(): number {
    return this.#leaseUntil;
  }

  /** A commit or renewal that was sent at this time (monotonic) has succeeded. */
  renewedAt(sentAt: number): void {
    this.#leaseUntil = Math.max(this.#leaseUntil, sentAt + this.#leaseMs);
  }
}

/** The members of an installation, seen from one of them. */
export class Cluster {
  readonly #pg: PostgresConnection;
  readonly #clock: Clock;
  readonly #leaseMs: number;
  #me: MemberFacts | undefined;

  /** @param leaseMs how long its terms last without being renewed, ms */
  constructor(pg: PostgresConnection, clock: Clock = systemClock, leaseMs = LEASE_MS) {
    this.#pg = pg;
    this.#clock = clock;
    this.#leaseMs = leaseMs;
  }

  /**
   * Becomes a member, or says again who it is. If somebody else is there with its name, it gets a number.
   * @returns the name that it has
   */
  async join(facts: MemberFacts, pulse: MemberPulse): Promise<string> {
    const { members } = await this.#look(facts.member_id, pulse);
    const taken = new Set(
      members
        .filter((other) => other.member_id !== facts.member_id && other.silent_ms < LEASE_MS * 10)
        .map(({ name }) => name),
    );
    let name = facts.name;
    for (let n = 2; taken.has(name); n++) name = `${facts.name}-${n}`;
    this.#me = { ...facts, name };
    await this.#insert(this.#me, pulse);
    return name;
  }

  /**
   * Tells the others how this member is, and looks around. A member that they have forgotten joins again.
   * @throws PostgresFailure
   */
  async look(pulse: MemberPulse): Promise<ClusterSight> {
    const me = this.#mine();
    const { isMember, ...sight } = await this.#look(me.member_id, pulse);
    if (!isMember) await this.#insert(me, pulse);
    return sight;
  }

  /** Takes the leadership if it is free. @returns the new term; null when somebody else has it */
  async takeOver(): Promise<Term | null> {
    const { member_id } = this.#mine();
    const sentAt = this.#clock.monotonic();
    const [row] = await this.#pg.query<{ epoch: number; commit_seq: number; schema_version: number }>(
      TAKE_OVER,
      [member_id, this.#pg.upForMs > CREDIT_MS, this.#leaseMs],
    );
    if (row === undefined) return null;
    const { epoch, commit_seq, schema_version } = row;
    return new Term(
      { epoch, memberId: member_id, firstSeq: commit_seq, schemaVersion: schema_version },
      sentAt,
      this.#leaseMs,
    );
  }

  /** Renews the lease of a term. @returns whether it goes on; false: somebody else has taken over */
  async renew(term: Term): Promise<boolean> {
    const sentAt = this.#clock.monotonic();
    const rows = await this.#pg.query(RENEW, [term.epoch, term.memberId], { timeoutMs: this.#leaseMs });
    if (rows.length > 0) term.renewedAt(sentAt);
    return rows.length > 0;
  }

  /** Gives the leadership up, if it still has it: the next member may take it at once. */
  async release(term: Term): Promise<void> {
    await this.#pg.query(CLUSTER_STATEMENTS.release, [term.epoch, term.memberId]);
  }

  /** Is a member no longer. */
  async leave(): Promise<void> {
    const me = this.#me;
    this.#me = undefined;
    if (me !== undefined)
      await this.#pg.query("DELETE FROM cluster_members WHERE member_id = $1::text", [me.member_id]);
  }

  /** Forgets members of whom nothing was heard for an hour. The leader does it now and then. */
  async forgetOthers(): Promise<void> {
    await this.#pg.query(
      "DELETE FROM cluster_members WHERE heard_at < clock_timestamp() - interval '1 hour'",
    );
  }

  #mine(): MemberFacts {
    if (this.#me === undefined) throw new Error("it has not joined");
    return this.#me;
  }

  async #look(memberId: string, pulse: MemberPulse): Promise<ClusterSight & { readonly isMember: boolean }> {
    const from = this.#clock.now();
    const began = this.#clock.monotonic();
    const [row] = await this.#pg.query<LookRow>(LOOK, [
      memberId,
      this.#pg.upForMs > CREDIT_MS,
      pulse.applied_seq,
      pulse.workflows_digest,
      pulse.is_stopping,
      JSON.stringify(pulse.data),
    ]);
    if (row === undefined) throw new Error("cluster_leadership has no row");
    const roundTrip = this.#clock.monotonic() - began;
    const { epoch, member_id, commit_seq, schema_version, since_ms, left_ms } = row;
    return {
      leader: member_id === null ? null : { member_id, epoch, since_ms: since_ms ?? 0, left_ms },
      isFree: row.is_free,
      epoch,
      commit_seq,
      schema_version,
      members: row.members,
      clockOffsetMs: row.server_now_ms - (from + roundTrip / 2),
      clockErrorMs: roundTrip / 2,
      isMember: row.is_member,
    };
  }

  async #insert(facts: MemberFacts, pulse: MemberPulse): Promise<void> {
    await this.#pg.query(JOIN, [
      facts.member_id,
      facts.name,
      facts.host,
      facts.api_port,
      facts.logs_listening_port,
      facts.logs_publishing_port,
      facts.version,
      facts.protocol,
      facts.started_at_ms,
      pulse.applied_seq,
      pulse.workflows_digest,
      pulse.is_stopping,
      JSON.stringify(pulse.data),
    ]);
  }
}

interface LookRow {
  readonly epoch: number;
  readonly member_id: string | null;
  readonly commit_seq: number;
  readonly schema_version: number;
  readonly since_ms: number | null;
  readonly left_ms: number;
  readonly is_free: boolean;
  readonly server_now_ms: number;
  readonly is_member: boolean;
  readonly members: readonly MemberRow[];
}
