/** What an agent says about itself when it registers. */
import { hostname } from "node:os";
import { VERSION } from "../build-facts.ts";
import type { AgentDescription, AttemptName } from "../contract/messages.ts";
import { COMMANDS_SINCE, PROTOCOL, type ProtocolRange, SLICES_SINCE } from "../contract/version.ts";
import type { Outbox } from "./outbox.ts";
import { followed } from "./outbox-file.ts";

/** An agent as it is now. */
interface Described {
  readonly sessionId: string;
  /** Undefined before it is open. */
  readonly outbox: Outbox | undefined;
  readonly mostRuns: number;
  readonly labels: Readonly<Record<string, string>>;
  /** Attempts that the principal knows, and whose end it does not have yet. */
  readonly running: AttemptName[];
}

export function describeAgent({ sessionId, outbox, mostRuns, labels, running }: Described): AgentDescription {
  return {
    session_id: sessionId,
    stream_id: outbox?.streamId ?? "",
    host: hostname(),
    pid: process.pid,
    version: VERSION,
    protocol: protocolOf(outbox, running),
    max_concurrent_workflows: mostRuns,
    labels,
    running,
    log_first_seq: outbox?.firstLogSeq,
    ...(outbox === undefined ? {} : { follows: followed(outbox.former) }),
    report_seq: outbox !== undefined && outbox.pendingReports > 0 ? outbox.lastReportSeq : 0,
  };
}

/**
 * What it speaks now. A principal that does not know slices would take a report about one for a report about the whole run: while the
 * agent has any, it waits until that principal is upgraded again.
 */
function protocolOf(outbox: Outbox | undefined, running: readonly AttemptName[]): ProtocolRange {
  const { version, oldest } = PROTOCOL;
  const isAboutSlices = outbox?.hasSlices === true || running.some(({ slice }) => slice > 0);
  // An agent of an upgrade test may pretend to be older.
  const needed = isAboutSlices && version >= SLICES_SINCE ? SLICES_SINCE : oldest;
  // An older principal would pass over the run, and everything about it.
  const begun = outbox?.hasBegun === true ? COMMANDS_SINCE : oldest;
  return { version, oldest: Math.max(oldest, needed, begun) };
}
