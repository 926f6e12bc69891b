/** A principal, and an agent that delivers numbered lines to it. */
import { encodeLogBatch, type LogLine } from "../../src/contract/log-line.ts";
import type { SearchLogs } from "../../src/contract/messages.ts";
import type { PrincipalPorts } from "../../src/principal/principal.ts";
import { PrincipalClient } from "../../src/protocol/client.ts";
import { type FollowOptions, LogFollower } from "../../src/protocol/log-follower.ts";
import { LogSubscription, type LogSubscriptionOptions } from "../../src/protocol/log-subscription.ts";
import { Push } from "../../src/zmq/index.ts";
import { line } from "../history/database-support.ts";
import { TestPrincipal } from "../principal/support.ts";
import { until } from "../support/until.ts";

const SOON_MS = 10_000;

export class LogBench implements AsyncDisposable {
  readonly principal = new TestPrincipal();
  readonly #followers: LogSubscription[] = [];
  /** Time of line 0, ms. */
  readonly startMs = Date.now();
  #ports: PrincipalPorts | undefined;
  #client: PrincipalClient | undefined;
  #agent: Push | undefined;
  #delivered = 0;

  async start(): Promise<this> {
    await this.principal.start();
    this.#ports = this.principal.ports;
    this.#client = new PrincipalClient({ host: "127.0.0.1", port: this.ports.api, timeoutMs: SOON_MS });
    this.#agent = new Push({ linger: 0, sendHighWaterMark: 0, reconnectInterval: 10 });
    this.#agent.connect(`tcp://127.0.0.1:${this.ports.logsListening}`);
    return this;
  }

  /** The ports that it has had from the beginning. */
  get ports(): PrincipalPorts {
    if (this.#ports === undefined) throw new Error("not started");
    return this.#ports;
  }

  get client(): PrincipalClient {
    if (this.#client === undefined) throw new Error("not started");
    return this.#client;
  }

  /** Starts the principal again, at the ports that it had; its live log perhaps at another one, where nobody looks for it. */
  async restart(liveLog: "reachable" | "elsewhere"): Promise<void> {
    await this.principal.principal?.stop();
    await this.principal.start({
      CDKTR_PRINCIPAL_PORT: this.ports.api,
      CDKTR_LOGS_LISTENING_PORT: this.ports.logsListening,
      CDKTR_LOGS_PUBLISHING_PORT: liveLog === "reachable" ? this.ports.logsPublishing : 0,
    });
  }

  /** Delivers the next lines: number N has the payload `N` and is N ms younger than the first. */
  async deliver(count: number, fields: Partial<LogLine> = {}): Promise<void> {
    const first_seq = this.#delivered + 1;
    const lines = Array.from({ length: count }, (_, i) =>
      line({ timestamp_ms: this.startMs + first_seq + i, payload: `${first_seq + i}`, ...fields }),
    );
    this.#delivered += count;
    await this.#agent?.send(encodeLogBatch({ agent_id: "agent-1", stream_id: "s", first_seq, lines }));
  }

  /** Delivers lines and waits until the history has them. */
  async store(count: number): Promise<void> {
    await this.deliver(count);
    const sql = "SELECT max(seq)::INTEGER FROM logstore";
    await until("the history has the lines", async () => {
      const { rows } = await this.client.queryDatabase({ sql });
      return rows[0]?.[0] === this.#delivered;
    });
  }

  /** A subscription that is in force. */
  async subscribe(options: Partial<LogSubscriptionOptions> = {}): Promise<LogSubscription> {
    const live = new LogSubscription({
      client: this.client,
      port: this.ports.logsPublishing,
      workflowId: undefined,
      ...options,
    });
    this.#followers.push(live);
    if (!(await live.connect(SOON_MS))) throw new Error("the subscription is not in force");
    return live;
  }

  follow(live: LogSubscription, options: Partial<FollowOptions> = {}): FollowedLines {
    return new FollowedLines(
      new LogFollower({
        live,
        ask: (search: SearchLogs) => this.client.searchLogs(search),
        search: {},
        limit: undefined,
        failed: (error) => {
          throw error;
        },
        ...options,
      }),
    );
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const live of this.#followers) live.close();
    this.#agent?.close();
    await this.#client?.close();
    await this.principal[Symbol.asyncDispose]();
  }
}

/** What a follower tells, as payloads. */
export class FollowedLines {
  readonly follower: LogFollower;
  readonly payloads: string[] = [];
  readonly #lines: AsyncGenerator<readonly LogLine[]>;

  constructor(follower: LogFollower) {
    this.follower = follower;
    this.#lines = follower.lines();
  }

  /** Reads on until a line with this payload has come. */
  async readTo(payload: string): Promise<string[]> {
    while (!this.payloads.includes(payload)) {
      const { value, done } = await this.#lines.next();
      if (done) throw new Error(`the log has ended before ${payload} came`);
      this.payloads.push(...value.map((one) => one.payload));
    }
    return this.payloads;
  }

  /** Reads to the end. */
  async readAll(): Promise<string[]> {
    for await (const lines of this.#lines) this.payloads.push(...lines.map((one) => one.payload));
    return this.payloads;
  }
}

/** The payloads of lines `from` to `to`. */
export function numbers(from: number, to: number): string[] {
  return Array.from({ length: to - from + 1 }, (_, i) => `${from + i}`);
}
