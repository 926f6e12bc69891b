/** Applies an agent's numbered stream of reports: each counts once, in order, and only for an attempt that the agent holds. */
import type { ConsolaInstance } from "consola";
import type { AgentReport, AgentReports } from "../../contract/messages.ts";
import type { OperationalTx } from "../../storage/operational/store.ts";
import { type AttemptName, nameOf } from "../runs/attempt-name.ts";
import type { ReportedClock } from "../runs/hearing.ts";
import { Hearing, type Outcome } from "../runs/hearing.ts";
import type { RunChanges } from "../runs/run-changes.ts";

/** The result of a batch. */
export interface AppliedReports {
  /** Last report of the stream that is on disk after this unit of work. */
  readonly seq: number;
  /** Attempts that the agent does not hold (any more), although it seems to continue them. */
  readonly fenced: readonly AttemptName[];
}

/**
 * Applies the new reports of a batch; part of a unit of work.
 * @param context.before last report of the stream that was applied; null for an unknown stream
 */
export async function applyReports(
  tx: OperationalTx,
  batch: AgentReports,
  context: {
    changes: RunChanges;
    log: ConsolaInstance;
    before: number | null;
    nowMs: number;
    aheadMs: number;
  },
): Promise<AppliedReports> {
  const { agent_id, stream_id, reports } = batch;
  const { before } = context;
  const from = before ?? 0;
  const first = reports[0]?.seq ?? from + 1;
  if (first > from + 1) {
    tx.afterCommit(() =>
      context.log.warn(
        from === 0
          ? `Agent ${agent_id}: nothing is known here of its first ${first - 1} reports: it was away for more than a week, or this principal's state is older than the agent's.`
          : `Agent ${agent_id}: reports ${from + 1} to ${first - 1} never arrived; this principal's state is older than the agent's.`,
      ),
    );
  }
  let seq = from;
  const hearing = new Hearing();
  const latest_ms = reports.reduce((latest, report) => Math.max(latest, report.timestamp_ms), 0);
  const clock = { latest_ms, ahead_ms: context.aheadMs };
  /** Attempts that the agent may not hold any more. */
  const doubtful = new Map<string, AgentReport>();
  for (const report of reports) {
    const isNew = report.seq > seq;
    if (isNew) seq = report.seq;
    const outcome = isNew ? await apply(tx, batch, report, { ...context, hearing, clock }) : null;
    // What counts is about an attempt that the agent holds, or ended itself, unless it gives the attempt up.
    if (outcome === "fenced" || outcome === null || report.status === "CRASHED")
      doubtful.set(nameOf(report), report);
  }
  if (seq > from) await tx.advanceStream(stream_id, agent_id, before, seq, context.nowMs);
  return { seq, fenced: await fencedOf(tx, agent_id, doubtful.values()) };
}

async function apply(
  tx: OperationalTx,
  { agent_id, stream_id }: AgentReports,
  report: AgentReport,
  {
    changes,
    log,
    hearing,
    clock,
  }: { changes: RunChanges; log: ConsolaInstance; hearing: Hearing; clock: Required<ReportedClock> },
): Promise<Outcome> {
  const outcome =
    report.kind === "run"
      ? await changes.hearRun(tx, { ...report, agent_id, stream_id, ...clock }, hearing)
      : await changes.hearTask(tx, { ...report, agent_id, ...clock }, hearing);
  if (outcome !== "illegal") return outcome;
  const what = report.kind === "run" ? "run" : `task ${report.task_id} of run`;
  tx.afterCommit(() =>
    log.warn(
      `Agent ${agent_id}: a report that ${what} ${report.workflow_instance_id} is ${report.status} does not fit its state and was ignored.`,
    ),
  );
  return outcome;
}

async function fencedOf(
  tx: OperationalTx,
  agentId: string,
  attempts: Iterable<AttemptName>,
): Promise<AttemptName[]> {
  const fenced: AttemptName[] = [];
  for (const { workflow_instance_id, slice, attempt } of attempts) {
    const record = await tx.getAttempt({ workflow_instance_id, slice, attempt });
    const isMine = record?.agent_id === agentId;
    // RELEASED: the agent itself reported the end.
    if (isMine && ["OFFERED", "HELD", "RELEASED"].includes(record.lease)) continue;
    fenced.push({ workflow_instance_id, slice, attempt });
  }
  return fenced;
}
