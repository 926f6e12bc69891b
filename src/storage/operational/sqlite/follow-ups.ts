/** Statements about runs that follow others. */
import type { FollowUpIntentions } from "../store.ts";
import type { Statements } from "./statements.ts";

/** The operations of a unit of work on the feed of follow-ups. Since there is only one process, numbers grow with the order of commits. */
export function followUpIntentions(db: Statements): FollowUpIntentions {
  return {
    async appendFollowUp(followUp) {
      db.insert("follow_ups", followUp);
    },

    async listFollowUps(afterSeq, limit) {
      return db.all("SELECT * FROM follow_ups WHERE seq > ? ORDER BY seq LIMIT ?", afterSeq, limit);
    },

    async followUpFeed() {
      const feed = db.one<{ id: string; last_seq: number }>(
        `SELECT id, coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'follow_ups'), 0) AS last_seq
         FROM follow_up_feed`,
      );
      if (feed === null) throw new Error("the feed of follow-ups has no id");
      return feed;
    },

    async followUpsBefore(ms, lastSeq) {
      const sql = "SELECT min(seq) AS seq FROM follow_ups WHERE created_at_ms >= ?";
      const first = db.one<{ seq: number | null }>(sql, ms);
      return first?.seq == null ? lastSeq : first.seq - 1;
    },
  };
}
