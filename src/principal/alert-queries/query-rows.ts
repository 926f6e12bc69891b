/** What an evaluation of an alert file changes: pure. */
import type { QueryRowRecord } from "../../storage/operational/query-alerts.ts";
import type { AlertRow, AlertRows } from "../../workflow/alert-rows.ts";

/** What an evaluation changes. */
export interface RowChanges {
  /** Rows that are stored from now on. */
  readonly put: readonly QueryRowRecord[];
  /** Rows that become alerts; they are among {@link put}. */
  readonly raise: readonly AlertRow[];
  /** Keys of alerts that are over; they are among {@link remove}. */
  readonly resolve: readonly string[];
  /** Keys that are not stored any more. */
  readonly remove: readonly string[];
}

/**
 * Compares what an evaluation found with what the one before left. A row becomes an alert when it was found for long enough, and there are
 * not as many alerts as the file allows; it stays one until it is not found.
 * @param known by key
 * @param nowMs when the evaluation began
 */
export function rowChanges(
  known: ReadonlyMap<string, QueryRowRecord>,
  found: AlertRows,
  { for_ms, limit }: { readonly for_ms: number; readonly limit: number },
  nowMs: number,
): RowChanges {
  const remove = [...known.values()].filter(({ key }) => !found.keys.has(key) && !found.isPartial);
  let raised = [...known.values()].filter(({ is_raised }) => is_raised).length;
  raised -= remove.filter(({ is_raised }) => is_raised).length;
  const put: QueryRowRecord[] = [];
  const raise: AlertRow[] = [];
  for (const row of found.rows) {
    const { key } = row;
    const before = known.get(key);
    if (before?.is_raised === true) continue;
    // A clock that was set back starts anew.
    const since_ms = Math.min(before?.since_ms ?? nowMs, nowMs);
    const is_raised = nowMs - since_ms >= for_ms && raised < limit;
    if (is_raised) {
      raised++;
      raise.push(row);
    }
    if (is_raised || before?.since_ms !== since_ms) put.push({ key, since_ms, is_raised });
  }
  return {
    put,
    raise,
    resolve: remove.flatMap(({ key, is_raised }) => (is_raised ? [key] : [])),
    remove: remove.map(({ key }) => key),
  };
}
