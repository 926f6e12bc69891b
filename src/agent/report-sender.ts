import type { AgentOrders, AgentReport } from "../contract/messages.ts";
import { errorMessage, PrincipalUnreachableError } from "../errors.ts";
import { log } from "../log.ts";
import { type PrincipalClient, RequestRefusedError } from "../protocol/client.ts";
import { BackgroundService } from "../service.ts";
import type { LogSender } from "./log-sender.ts";
import type { Outbox } from "./outbox.ts";
import type { PrincipalLink } from "./principal-link.ts";

const BATCH = 500;
/** How long reports for which nobody waits may wait for others, to be sent together, ms. */
const GATHER_MS = 10;
/** How long the report of a run's end waits for the run's log lines to be sent, ms. */
const LINES_FIRST_MS = 1000;
const RETRY_MS = 500;

/** Delivers reports in order, a batch at a time, and repeats each batch until the principal has it on its disk. */
export class ReportSender extends BackgroundService {
  readonly name = "report sender";
  readonly #outbox: Outbox;
  readonly #link: PrincipalLink;
  readonly #client: PrincipalClient;
  readonly #lines: LogSender;
  readonly #who: { agent_id: string; session_id: string };
  readonly #waiting: { readonly seq: number; readonly resolve: () => void }[] = [];
  #durable = 0;
  #limit = BATCH;
  #isSending = false;
  /** Whether what waits is to be sent now. */
  #isDue = false;
  readonly #gathering = this.timer(() => this.wake());
  /** Why the principal does not accept reports at the moment. */
  #refusal = "";

  constructor(options: {
    outbox: Outbox;
    link: PrincipalLink;
    client: PrincipalClient;
    lines: LogSender;
    agentId: string;
    sessionId: string;
  }) {
    super();
    this.#outbox = options.outbox;
    this.#link = options.link;
    this.#client = options.client;
    this.#lines = options.lines;
    this.#who = {
      agent_id: options.agentId,
      session_id: options.sessionId,
    };
  }

  /** Starts with what an earlier process of this agent left. What is in transit at the end stays in the outbox. */
  protected override onStart(): void {
    if (this.#outbox.pendingReports > 0) this.wake();
  }

  /** Called when the outbox has switched to another stream. */
  restart(): void {
    this.#durable = 0;
    if (this.#outbox.pendingReports > 0) this.wake();
  }

  /** There are new reports. @param isUrgent whether they are sent at once */
  hear(isUrgent: boolean): void {
    if (isUrgent) this.wake();
    else this.#gathering.within(GATHER_MS);
  }

  /** Sends what waits. */
  wake(): void {
    this.#isDue = true;
    if (!this.#isSending && !this.isStopping) this.track(this.#sendAll());
  }

  /** The principal has the reports up to `seq` on its disk. */
  acknowledge(seq: number): void {
    this.#outbox.forgetReports(seq);
    this.#durable = Math.max(this.#durable, seq);
    for (let index = this.#waiting.length - 1; index >= 0; index--) {
      const waiting = this.#waiting[index];
      if (waiting === undefined || waiting.seq > this.#durable) continue;
      this.#waiting.splice(index, 1);
      waiting.resolve();
    }
  }

  /** Number of the last report that the principal has on its disk, as far as this process knows. */
  get lastDurable(): number {
    return this.#durable;
  }

  /** Resolves when the principal has report `seq` on its disk. */
  durable(seq: number): Promise<void> {
    if (seq <= this.#durable) return Promise.resolve();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.push({ seq, resolve });
    return promise;
  }

  /**
   * Sends what waits before this process is registered: what an earlier process has written counts, whoever has the agent's id in the
   * end. Only while the link is down, so that nothing else sends.
   */
  async sendEarly(): Promise<void> {
    try {
      for (;;) {
        const reports = this.#outbox.reports(this.#durable, BATCH);
        if (reports.length === 0) return;
        const orders = await this.#send(reports);
        if (orders.report_durable_seq <= this.#durable) return;
        this.acknowledge(orders.report_durable_seq);
      }
    } catch (error) {
      log.debug(`Reports cannot be delivered yet: ${errorMessage(error)}`);
    }
  }

  #send(reports: AgentReport[]): Promise<AgentOrders> {
    const request = {
      ...this.#who,
      stream_id: this.#outbox.streamId,
      reports,
      last_token: this.#link.lastToken,
    };
    return this.#client.call("AGENTREPORT", request, { signal: this.stopSignal });
  }

  async #sendAll(): Promise<void> {
    this.#isSending = true;
    try {
      while (this.#isDue && !this.isStopping) await this.#sendBatch(this.stopSignal);
    } catch (error) {
      if (!this.isStopping) log.error(`Reports cannot be sent: ${errorMessage(error)}`);
    } finally {
      // In the same turn in which nothing was due: who wakes it must see that.
      this.#isSending = false;
    }
  }

  async #sendBatch(signal: AbortSignal): Promise<void> {
    await this.#link.untilUp(signal);
    const reports = this.#outbox.reports(this.#durable, this.#limit);
    const last = reports.at(-1);
    // What is added from now on is due in its own time.
    this.#gathering.cancel();
    this.#isDue = last !== undefined && last.seq < this.#outbox.lastReportSeq;
    if (last === undefined) {
      // None is left: if the last one was lost, nobody has to wait for it.
      if (this.#outbox.pendingReports === 0) this.acknowledge(this.#outbox.lastReportSeq);
      return;
    }
    const lines = reports.findLast((report) => report.kind === "run")?.log_seq ?? 0;
    await this.#lines.handedOver(lines, LINES_FIRST_MS);
    try {
      this.#link.obey(await this.#send(reports));
      this.#limit = BATCH;
      if (this.#refusal !== "") log.info("The principal accepts reports again.");
      this.#refusal = "";
    } catch (error) {
      if (signal.aborted) return;
      if (error instanceof RequestRefusedError) this.#passOver(reports.length, reports[0]?.seq ?? 0, error);
      else if (error instanceof PrincipalUnreachableError) this.#link.suspect();
      else if (!this.#link.mustRegister(error)) {
        this.#tellRefusal(errorMessage(error));
        await this.pause(RETRY_MS);
      }
    }
    if (this.#durable < last.seq) this.#isDue = true;
  }

  /** Logs the same problem only once. */
  #tellRefusal(reason: string): void {
    if (this.#refusal === reason) return;
    this.#refusal = reason;
    log.warn(`Reports are kept on this agent's disk: ${reason}`);
  }

  /** The principal rejects any batch that contains a certain report: finds it, and continues without it. */
  #passOver(count: number, seq: number, error: Error): void {
    if (count > 1) {
      this.#limit = Math.max(1, count >> 1);
      return;
    }
    log.error(`The principal refuses report ${seq}, which is skipped: ${error.message}`);
    this.acknowledge(seq);
  }
}
