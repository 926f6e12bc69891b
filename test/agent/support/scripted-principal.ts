/** A peer that answers an agent as scripted by a test: for replies that get lost, are late, or contain orders at an awkward moment. */

import { decodeLogBatch } from "../../../src/contract/log-line.ts";
import {
  type AgentDescription,
  type AgentOrders,
  type AgentReport,
  AgentReports,
  type RunAssignment,
} from "../../../src/contract/messages.ts";
import { encodeReply, SEPARATOR } from "../../../src/contract/wire.ts";
import type { PrincipalPorts } from "../../../src/principal/principal.ts";
import { type Frame, Pull, Router } from "../../../src/zmq/index.ts";

/** `lose`: the reply gets lost; `drop`: the request never came. */
type Answer = Uint8Array | "lose" | "drop";

export class ScriptedPrincipal implements AsyncDisposable {
  readonly #router = new Router();
  readonly #pull = new Pull();
  #serving: Promise<unknown> = Promise.resolve();
  #lines = 0;
  #polls: (() => void)[] = [];
  /** Another one: the principal was started anew. */
  id = crypto.randomUUID();
  readonly descriptions: AgentDescription[] = [];
  /** Reports in the order in which they came first. */
  readonly reports: AgentReport[] = [];
  readonly fetchIds: string[] = [];
  /** Numbers of the reports of each request, repeated ones too. */
  readonly batches: number[][] = [];
  #news: () => void = () => {};

  /** What a request for work gets; null: it waits. */
  onFetch: (fetchId: string) => RunAssignment | "lose" | null = () => null;
  /** Orders beside the numbers. */
  stop: AgentOrders["stop"] = [];
  onReport: (reports: readonly AgentReport[]) => Answer | undefined = () => undefined;
  onHeartbeat: () => Answer | undefined = () => undefined;
  /** What a heartbeat gets that has waited. */
  onBeatEnd: () => Answer | undefined = () => undefined;
  /** What a request for work gets that has waited. */
  onFetchEnd: () => Answer | undefined = () => undefined;
  onRegister: () => Answer | undefined = () => undefined;
  /** What it says of itself; by default it cannot, as others that speak the wire format. */
  onInfo: () => Answer = () => encodeReply("CLIENTERROR", 'There is no verb "PRINCIPALINFO".');

  async start(): Promise<this> {
    await this.#router.bind("tcp://127.0.0.1:*");
    await this.#pull.bind("tcp://127.0.0.1:*");
    this.#serving = Promise.all([this.#serve(), this.#takeLines()]);
    return this;
  }

  get ports(): PrincipalPorts {
    const port = (endpoint: string) => Number(endpoint.split(":").at(-1));
    return {
      api: port(this.#router.lastEndpoint),
      logsListening: port(this.#pull.lastEndpoint),
      logsPublishing: 1,
    };
  }

  /** Resolves when something is so; looked at whenever a request has come. */
  async until(isSo: () => boolean): Promise<void> {
    while (!isSo()) await new Promise<void>((resolve) => (this.#news = resolve));
  }

  /** Answers the long polls that wait. */
  wake(): void {
    for (const answer of this.#polls.splice(0)) answer();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#router.close();
    this.#pull.close();
    await this.#serving;
  }

  async #serve(): Promise<void> {
    for await (const message of this.#router) {
      const envelope = message.slice(0, -1);
      const [verb = "", ...fields] = (message.at(-1)?.toString() ?? "").split(SEPARATOR);
      this.#answer(verb, fields, envelope);
      this.#news();
    }
  }

  async #takeLines(): Promise<void> {
    for await (const [frame] of this.#pull) {
      const { first_seq, lines } = decodeLogBatch(frame?.toString() ?? "");
      if (first_seq <= this.#lines + 1) this.#lines = Math.max(this.#lines, first_seq + lines.length - 1);
    }
  }

  #answer(verb: string, fields: string[], envelope: Frame[]): void {
    const reply = (answer: Answer) => {
      if (answer !== "lose" && answer !== "drop" && !this.#router.closed)
        void this.#router.send([...envelope, answer]);
    };
    const orders = () => encodeReply("OK", JSON.stringify(this.#orders()));
    const later = (answer: () => Answer) => this.#polls.push(() => reply(answer()));
    if (verb === "PING") reply(encodeReply("PONG"));
    else if (verb === "PRINCIPALINFO") reply(this.onInfo());
    else if (verb === "REGISTERAGENT") {
      this.descriptions.push(JSON.parse(fields[1] ?? ""));
      reply(this.onRegister() ?? orders());
    } else if (verb === "AGENTHEARTBEAT") {
      const answer = this.onHeartbeat();
      if (answer !== undefined) reply(answer);
      else if (JSON.parse(fields[0] ?? "").wait_ms === 0) reply(orders());
      else later(() => this.onBeatEnd() ?? orders());
    } else if (verb === "FETCHWORKFLOW") {
      const { fetch_id } = JSON.parse(fields[1] ?? "");
      this.fetchIds.push(fetch_id);
      const run = this.onFetch(fetch_id);
      if (run === null) later(() => this.onFetchEnd() ?? encodeReply("OK"));
      else reply(run === "lose" ? run : encodeReply("SUCCESS", JSON.stringify(run)));
    } else if (verb === "AGENTREPORT") {
      const { reports } = AgentReports.parse(JSON.parse(fields[0] ?? ""));
      this.batches.push(reports.map((report) => report.seq));
      const answer = this.onReport(reports);
      // What is lost is the reply: the reports have come.
      if (answer === undefined || answer === "lose") {
        const last = this.reports.at(-1)?.seq ?? 0;
        this.reports.push(...reports.filter((report) => report.seq > last));
      }
      reply(answer ?? orders());
    } else {
      reply(encodeReply("CLIENTERROR", `unknown verb ${verb}`));
    }
  }

  #orders(): AgentOrders {
    return {
      principal_id: this.id,
      stop: this.stop,
      drain: false,
      log_received_seq: this.#lines,
      log_durable_seq: this.#lines,
      report_durable_seq: this.reports.at(-1)?.seq ?? 0,
    };
  }
}
