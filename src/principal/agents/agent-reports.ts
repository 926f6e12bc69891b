/** Applies an agent's numbered stream of reports: each counts once, in order, and only for an attempt that the agent holds. */
import type { ConsolaInstance } from "consola";
import type { AgentReport, AgentReports } from "../../contract/messages.ts";
import type { OperationalTx } from "../../storage/operational/store.ts";
import { type AttemptName, nameOf } from "../runs/attempt-name.ts";
import type { ReportedClock, RunChanges } from "../runs/run-changes.ts";

/** The result of a batch. */
export interface AppliedReports {
  /** Last report of the stream that is on disk after this unit of work. */
  readonly seq: number;
  /** Attempts that the agent does not hold (any more), although it seems to continue them. */
  readonly fenced: readonly AttemptName[];
}

/** Applies the new reports of a batch; part of a unit of work. */
export async function applyReports(
  tx: OperationalTx,
  batch: AgentReports,
  context: { changes: RunChanges; log: ConsolaInstance; nowMs: number; aheadMs: number },
): Promise<AppliedReports> {
  const { agent_id, stream_id, reports } = batch;
  const before = (await tx.getStream(stream_id))?.seq ?? null;
  const from = before ?? 0;
  const first = reports[0]?.seq ?? from + 1;
  if (first > from + 1) {
    tx.afterCommit(() =>
      context.log.warn(
        `Agent ${agent_id}: reports ${from + 1} to ${first - 1} never arrived; this principal's state is older than the agent's.`,
      ),
    );
  }
  let seq = from;
  const latest_ms = reports.reduce((latest, report) => Math.max(latest, report.timestamp_ms), 0);
  for (const report of reports) {
    if (report.seq <= seq) continue;
    seq = report.seq;
    await apply(tx, batch, report, { ...context, latest_ms, ahead_ms: context.aheadMs });
  }
  if (seq > from) await tx.advanceStream(stream_id, agent_id, before, seq, context.nowMs);
  return { seq, fenced: await fencedIn(tx, batch) };
}

async function apply(
  tx: OperationalTx,
  { agent_id, stream_id }: AgentReports,
  report: AgentReport,
  {
    changes,
    log,
    latest_ms,
    ahead_ms,
  }: { changes: RunChanges; log: ConsolaInstance } & Required<ReportedClock>,
): Promise<void> {
  const outcome =
    report.kind === "run"
      ? await changes.hearRun(tx, { ...report, agent_id, stream_id, latest_ms, ahead_ms })
      : await changes.hearTask(tx, { ...report, agent_id, latest_ms, ahead_ms });
  if (outcome !== "illegal") return;
  const what = report.kind === "run" ? "run" : `task ${report.task_id} of run`;
  tx.afterCommit(() =>
    log.warn(
      `Agent ${agent_id}: a report that ${what} ${report.workflow_instance_id} is ${report.status} does not fit its state and was ignored.`,
    ),
  );
}

async function fencedIn(tx: OperationalTx, batch: AgentReports): Promise<AttemptName[]> {
  const named = new Map(batch.reports.map((report) => [nameOf(report), report]));
  const fenced: AttemptName[] = [];
  for (const { workflow_instance_id, slice, attempt } of named.values()) {
    const record = await tx.getAttempt({ workflow_instance_id, slice, attempt });
    const isMine = record?.agent_id === batch.agent_id;
    // RELEASED: the agent itself reported the end.
    if (isMine && ["OFFERED", "HELD", "RELEASED"].includes(record.lease)) continue;
    fenced.push({ workflow_instance_id, slice, attempt });
  }
  return fenced;
}
