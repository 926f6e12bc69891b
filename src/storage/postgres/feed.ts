/** The feed: what each commit of the leader has changed, in order, for the replicas of the others. */
import { type Clock, systemClock } from "../../clock.ts";
import type { PostgresConnection } from "./connection.ts";

/** The channel on which the sequence number of a new commit is told. */
export const COMMITS_CHANNEL = "cdktr_commits";

/** How long the feed keeps a commit, ms. A replica that is further behind is loaded anew. */
const KEPT_MS = 600_000;

/** A commit of the leader. */
export interface FeedCommit {
  readonly seq: number;
  readonly epoch: number;
  /** The change set; null: everything must be loaded again. */
  readonly changes: string | null;
}

const AFTER = `
SELECT seq, epoch, changes FROM cluster_commits WHERE seq > $1::bigint ORDER BY seq LIMIT $2::int`;

/** The last of them stays: it tells in which term it was committed. */
const TRIM = `DELETE FROM cluster_commits WHERE seq < $1::bigint`;

/**
 * The commits after `seq`, in order, at most `limit`. They follow each other without a gap; if the first does not follow `seq`, those
 * between are not kept any more.
 */
export function commitsAfter(pg: PostgresConnection, seq: number, limit = 200): Promise<FeedCommit[]> {
  return pg.query<FeedCommit>(FEED_STATEMENTS.after, [seq, limit]);
}

/** Keeps the feed short. The leader has one for each of its terms. */
export class FeedTrimmer {
  readonly #pg: PostgresConnection;
  readonly #clock: Clock;
  /** Which commit was the last at which time, oldest first. */
  #marks: { readonly at: number; readonly seq: number }[] = [];

  constructor(pg: PostgresConnection, clock: Clock = systemClock) {
    this.#pg = pg;
    this.#clock = clock;
  }

  /** Forgets what is older than a replica may be behind. @param seq the last commit now */
  async trim(seq: number): Promise<void> {
    const now = this.#clock.monotonic();
    this.#marks.push({ at: now, seq });
    const old = this.#marks.filter(({ at }) => at <= now - KEPT_MS).at(-1);
    if (old === undefined) return;
    await this.#pg.query(TRIM, [old.seq]);
    this.#marks = this.#marks.filter(({ at }) => at > old.at);
  }
}

/** For tests that look at their plans. */
export const FEED_STATEMENTS = { after: AFTER, trim: TRIM };
