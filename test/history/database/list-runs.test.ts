import { expect, test } from "bun:test";
import type { PendingStatus } from "../../../src/contract/history-rows.ts";
import { RUN_STATUSES } from "../../../src/workflow/status.ts";
import { openHistory, rowsOf, runRow, TestDirectory } from "../database-support.ts";

test.each([1, 2, 3])("a list has the newest runs, however their rows are spread (seed %d)", async (seed) => {
  using directory = new TestDirectory();
  const history = await openHistory(directory);
  let state = seed;
  const below = (most: number) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * most);
  };
  // Many rows of few runs, ties, and rows of old programs, which do not say when a run was created.
  const created = Array.from({ length: 120 }, () => 1_760_000_000_000 + below(60) * 1000);
  const statuses = Array.from({ length: 900 }, (_, n): PendingStatus => {
    const run = n < created.length ? n : below(3) === 0 ? below(4) : below(created.length);
    const at = created[run] ?? 0;
    const row = runRow({
      workflow_instance_id: `run-${String(run).padStart(3, "0")}`,
      workflow_id: run % 3 === 0 ? "rare" : "often",
      status: RUN_STATUSES[below(RUN_STATUSES.length)] ?? "PENDING",
      timestamp_ms: at + below(50_000),
      created_at_ms: run % 5 === 0 ? null : at,
      attempt: 1 + below(2),
    } as Parameters<typeof runRow>[0]);
    return { id: n + 1, table: "workflow_run_status", row };
  });
  await history.write({ logs: [], statuses, disordered: [] });
  for (const workflow_id of [undefined, "rare"])
    for (const status of [undefined, "FAILED", "SKIPPED"] as const)
      for (const before of [undefined, 1_760_000_030_000])
        for (const limit of [1, 4, 30, 500]) {
          const conditions = [
            workflow_id && `workflow_id = '${workflow_id}'`,
            status && `status = '${status}'`,
            before && `created_at_ms < ${before}`,
          ].filter((condition) => condition !== undefined);
          const where = conditions.length === 0 ? "" : `WHERE ${conditions.join(" AND ")}`;
          const wanted = await rowsOf(
            history,
            `SELECT workflow_instance_id FROM workflow_runs ${where} ORDER BY created_at_ms DESC, workflow_instance_id DESC LIMIT ${limit}`,
          );
          const found = await history.listRuns(
            { limit, ...(workflow_id && { workflow_id }), ...(status && { status }) },
            before,
          );
          expect(found.map(({ workflow_instance_id }) => workflow_instance_id)).toEqual(
            wanted.flat().map(String),
          );
        }
  await history.close();
});
