/** How runs of workflows ended last. */
import type { DuckDBConnection } from "@duckdb/node-api";
import type { LatestEnd } from "../../contract/history.ts";
import { TERMINAL } from "./schema.ts";
import { type AnySources, TABLES_ALONE } from "./sources.ts";

/** How runs of these workflows ended last, by id. It reads the rows of ends only, and groups them by workflow, not by run. */
export async function findLatestEnds(
  connection: DuckDBConnection,
  workflowIds: readonly string[],
  sources: AnySources = TABLES_ALONE,
): Promise<LatestEnd[]> {
  const found = await endsIn(connection, "main.workflow_run_status", workflowIds);
  const known = new Set(found.map(({ workflow_id }) => workflow_id));
  const others = workflowIds.filter((id) => !known.has(id));
  const parts = others.length === 0 ? [] : await sources.parts("workflow_run_status");
  if (parts.length === 0) return found;
  return [...found, ...(await endsIn(connection, sources.over("workflow_run_status", parts), others))];
}

async function endsIn(
  connection: DuckDBConnection,
  source: string,
  workflowIds: readonly string[],
): Promise<LatestEnd[]> {
  const reader = await connection.runAndReadAll(
    `SELECT workflow_id,
       (max(timestamp_ms) FILTER (status = 'COMPLETED'))::DOUBLE AS success_ms,
       (arg_max(duration_ms, timestamp_ms) FILTER (duration_ms IS NOT NULL))::DOUBLE AS duration_ms
     FROM ${source}
     WHERE status IN ${TERMINAL} AND workflow_id IN (SELECT unnest(from_json($1, '["VARCHAR"]')))
     GROUP BY workflow_id
     ORDER BY workflow_id`,
    [JSON.stringify(workflowIds)],
  );
  return reader.getRowObjects() as unknown as LatestEnd[];
}
