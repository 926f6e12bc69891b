/** The traces that triggers of runs are part of. */
import type { DuckDBConnection } from "@duckdb/node-api";

/** Runs whose contexts are looked up. */
const MOST = 10_000;

/** The contexts that triggers of runs have brought lately: run and `traceparent`. Runs without one cost nothing. */
export async function findBroughtContexts(connection: DuckDBConnection): Promise<[string, string][]> {
  const reader = await connection.runAndReadAll(
    `SELECT workflow_instance_id, any_value(traceparent)
     FROM workflow_run_status WHERE traceparent IS NOT NULL
     GROUP BY workflow_instance_id ORDER BY max(timestamp_ms) DESC LIMIT ${MOST}`,
  );
  return reader.getRows().map(([run, traceparent]) => [String(run), String(traceparent)]);
}
