/** How runs of workflows ended last. */
import type { DuckDBConnection } from "@duckdb/node-api";
import type { LatestEnd } from "../../contract/history.ts";
import { TERMINAL } from "./schema.ts";

/** How runs of these workflows ended last, by id. It reads the rows of ends only, and groups them by workflow, not by run. */
export async function findLatestEnds(
  connection: DuckDBConnection,
  workflowIds: readonly string[],
): Promise<LatestEnd[]> {
  const reader = await connection.runAndReadAll(
    `SELECT workflow_id,
       (max(timestamp_ms) FILTER (status = 'COMPLETED'))::DOUBLE AS success_ms,
       (arg_max(duration_ms, timestamp_ms) FILTER (duration_ms IS NOT NULL))::DOUBLE AS duration_ms
     FROM workflow_run_status
     WHERE status IN ${TERMINAL} AND workflow_id IN (SELECT unnest(from_json($1, '["VARCHAR"]')))
     GROUP BY workflow_id
     ORDER BY workflow_id`,
    [JSON.stringify(workflowIds)],
  );
  return reader.getRowObjects() as unknown as LatestEnd[];
}
