/** What an outbox holds for installations of cdktr that its agent is not connected to now. */
import type { Database } from "bun:sqlite";
import { log } from "../log.ts";

/**
 * Content for another installation is dropped after the agent has registered elsewhere on this many days. Days are counted, not time: a
 * clock that is wrong once does not make it old.
 */
const PARKED_DAYS = 30;

/**
 * Sets the current stream aside and continues the one of another installation, or starts a new one.
 * @param isNeeded whether the current one has content
 */
export function exchangeStreams(db: Database, from: string, to: string, isNeeded: boolean): void {
  if (isNeeded) {
    db.run(
      "INSERT INTO parked_streams SELECT ?, session_id, stream_id, report_seq, log_seq FROM stream, owner",
      [from],
    );
    db.run("INSERT INTO parked_reports SELECT ?, seq, report FROM reports", [from]);
    db.run("INSERT INTO parked_frames SELECT ?, last_seq, first_seq, frame FROM frames", [from]);
  }
  db.run("DELETE FROM reports");
  db.run("DELETE FROM frames");
  const parked = db
    .query<{ session_id: string | null; stream_id: string; report_seq: number; log_seq: number }, [string]>(
      "SELECT * FROM parked_streams WHERE installation = ?",
    )
    .get(to);
  db.run("UPDATE owner SET session_id = ?", [parked?.session_id ?? null]);
  db.run("UPDATE stream SET stream_id = ?, report_seq = ?, log_seq = ?", [
    parked?.stream_id ?? crypto.randomUUID(),
    parked?.report_seq ?? 0,
    parked?.log_seq ?? 0,
  ]);
  db.run("INSERT INTO reports SELECT seq, report FROM parked_reports WHERE installation = ?", [to]);
  db.run("INSERT INTO frames SELECT last_seq, first_seq, frame FROM parked_frames WHERE installation = ?", [
    to,
  ]);
  for (const table of ["parked_streams", "parked_reports", "parked_frames"])
    db.run(`DELETE FROM ${table} WHERE installation = ?`, [to]);
}

/** Drops what waits for installations that were left for good. */
export function dropLeft(db: Database, nowMs: number): void {
  const day = new Date(nowMs).toISOString().slice(0, 10);
  const dropped: { reports: number; lines: number }[] = [];
  db.transaction(() => {
    db.run("DELETE FROM parked_days WHERE installation NOT IN (SELECT installation FROM parked_streams)");
    db.run("INSERT OR IGNORE INTO parked_days SELECT installation, 0, '' FROM parked_streams");
    db.run("UPDATE parked_days SET days = days + 1, last_day = ? WHERE last_day <> ?", [day, day]);
    const over = db
      .query<{ installation: string; reports: number; lines: number }, [number]>(
        `SELECT installation,
           (SELECT count(*) FROM parked_reports AS r WHERE r.installation = d.installation) AS reports,
           (SELECT coalesce(sum(last_seq - first_seq + 1), 0) FROM parked_frames AS f
            WHERE f.installation = d.installation) AS lines
         FROM parked_days AS d WHERE days > ?`,
      )
      .all(PARKED_DAYS);
    for (const { installation, ...content } of over) {
      for (const table of ["parked_days", "parked_streams", "parked_reports", "parked_frames"])
        db.run(`DELETE FROM ${table} WHERE installation = ?`, [installation]);
      dropped.push(content);
    }
  })();
  if (dropped.length > 0) db.query("PRAGMA incremental_vacuum").all();
  for (const { reports, lines } of dropped)
    log.warn(
      `${reports} reports and ${lines} log lines were dropped: they were for an installation of cdktr to which this agent was not connected on ${PARKED_DAYS} days.`,
    );
}
