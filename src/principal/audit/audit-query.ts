/** Reads the audit log from the history. */
import { AuditEntry, type AuditPage, type ListAudit, type QueryResult } from "../../contract/messages.ts";

const COLUMNS = Object.keys(AuditEntry.shape);

/** The statement for a request: one row more than are asked for says that there are more. */
export function auditSql({ since_ms, until_ms, actor, action, subject, refused, limit }: ListAudit): string {
  const conditions = [
    ...(since_ms === undefined ? [] : [`timestamp_ms >= ${since_ms}`]),
    ...(until_ms === undefined ? [] : [`timestamp_ms <= ${until_ms}`]),
    ...Object.entries({ actor, action, subject }).flatMap(([column, pattern]) =>
      pattern === undefined ? [] : [`${column} ${matches(pattern)}`],
    ),
    ...(refused === undefined ? [] : [`outcome ${refused ? "<>" : "="} 'done'`]),
  ];
  const where = conditions.length === 0 ? "" : ` WHERE ${conditions.join(" AND ")}`;
  // Rows of the same time are in the order in which they were written.
  return `SELECT ${COLUMNS.join(", ")} FROM (SELECT *, row_number() OVER () AS n FROM audit_log${where}) ORDER BY timestamp_ms DESC, n DESC LIMIT ${limit + 1}`;
}

/** The reply with the result of that statement. */
export function auditPage(
  { rows, truncated, warning }: QueryResult,
  { limit }: ListAudit,
  revision: string,
): AuditPage {
  return {
    rows: rows
      .slice(0, limit)
      .map((row) => AuditEntry.parse(Object.fromEntries(COLUMNS.map((name, n) => [name, row[n]]))))
      .reverse(),
    more: truncated || rows.length > limit,
    revision,
    warning,
  };
}

/** A condition on a column. Whatever the pattern has is text, apart from `*`. */
function matches(pattern: string): string {
  const text = (value: string) => `'${value.replaceAll("'", "''")}'`;
  if (!pattern.includes("*")) return `= ${text(pattern)}`;
  return `LIKE ${text(pattern.replace(/[\\%_]/g, "\\$&").replaceAll("*", "%"))} ESCAPE '\\'`;
}
