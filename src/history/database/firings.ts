/** The runs that firings of schedules have had. */
import type { DuckDBConnection } from "@duckdb/node-api";
import type { HistoricFiring } from "../../contract/history.ts";
import { NEWEST } from "./schema.ts";
import { type AnySources, TABLES_ALONE } from "./sources.ts";

/** The run of a firing may be made before its time, but never a day. */
const BEFORE_MS = 86_400_000;

/** The runs of a workflow with one of these times in its schedule. Rows of other times are left out before anything is grouped. */
export async function findFirings(
  connection: DuckDBConnection,
  workflowId: string,
  timesMs: readonly number[],
  sources: AnySources = TABLES_ALONE,
): Promise<HistoricFiring[]> {
  const sinceMs =
    timesMs.reduce((first, time) => Math.min(first, time), Number.POSITIVE_INFINITY) - BEFORE_MS;
  const statuses = await sources.of("workflow_run_status", { sinceMs });
  const reader = await connection.runAndReadAll(
    `SELECT workflow_instance_id, latest.status::VARCHAR AS status, coalesce(latest.trigger, '') AS trigger,
       latest.scheduled_time_ms::DOUBLE AS scheduled_time_ms, created_at_ms::DOUBLE AS created_at_ms, latest.retry_of AS retry_of,
       latest.schedule AS schedule, latest.params::VARCHAR AS params
     FROM (
       SELECT workflow_instance_id, coalesce(min(created_at_ms), min(timestamp_ms)) AS created_at_ms,
         arg_max({
           status: status, trigger: trigger, scheduled_time_ms: scheduled_time_ms, retry_of: retry_of, schedule: schedule, params: params
         }, ${NEWEST}) AS latest
       FROM ${statuses}
       WHERE workflow_id = $1 AND scheduled_time_ms IN (SELECT unnest(from_json($2, '["BIGINT"]')))
       GROUP BY workflow_instance_id
     )
     ORDER BY scheduled_time_ms, created_at_ms, workflow_instance_id`,
    [workflowId, JSON.stringify(timesMs)],
  );
  return reader.getRowObjects().map((row) => {
    const { params, ...rest } = row as unknown as Omit<HistoricFiring, "params"> & { params: string | null };
    return { ...rest, params: paramsOf(params) };
  });
}

function paramsOf(json: string | null): Readonly<Record<string, string>> {
  try {
    return JSON.parse(json ?? "{}");
  } catch {
    return {};
  }
}
