/** Delivers what an agent still has when it ends. */
import { isDoneWithin, pause } from "../timer.ts";
import type { LogSender } from "./log-sender.ts";
import type { Outbox } from "./outbox.ts";
import type { PrincipalLink } from "./principal-link.ts";
import type { ReportSender } from "./report-sender.ts";

/** How often the principal is asked how far it is, ms. */
const ASK_MS = 10;

/** The parts of an agent that deliver. */
interface Delivering {
  readonly outbox: Outbox;
  readonly link: PrincipalLink;
  readonly lines: LogSender;
  readonly reports: ReportSender;
}

/**
 * Waits until the principal has all reports and all lines are in its history, as long as it makes progress.
 * @param patienceMs how long to wait without any progress, ms
 */
export async function deliverAll(
  { outbox, link, lines, reports }: Delivering,
  patienceMs: number,
): Promise<void> {
  const last = outbox.lastReportSeq;
  const undelivered = () => outbox.pendingReports + outbox.pendingLines;
  let least = undelivered();
  let deadline = performance.now() + patienceMs;
  while (undelivered() > 0 && !link.isGone && performance.now() < deadline) {
    if (outbox.pendingReports > 0) await isDoneWithin(100, reports.durable(last));
    else {
      await lines.handedOver(outbox.lastLogSeq, patienceMs);
      // The reply says what the principal has received.
      await link.ask();
      if (undelivered() > 0) await pause(ASK_MS);
    }
    if (undelivered() < least) {
      least = undelivered();
      deadline = performance.now() + patienceMs;
    }
  }
}

/** Number of log lines that the principal does not have. @param receivedSeq the last one that it has confirmed */
export function unreceivedLines(outbox: Outbox, receivedSeq: number): number {
  return Math.max(0, outbox.lastLogSeq - Math.max(receivedSeq, outbox.firstLogSeq - 1));
}
