/** Messages that people send to channels to see whether they arrive. They are in memory only. */
import { hostname } from "node:os";
import type { ConsolaInstance } from "consola";
import type { Clock } from "../../clock.ts";
import type { ChannelTested } from "../../contract/messages.ts";
import { errorMessage, NotFoundError } from "../../errors.ts";
import type { Service } from "../../service.ts";
import type { OperationalStore } from "../../storage/operational/store.ts";
import { didYouMean } from "../../terminal/did-you-mean.ts";
import { isDoneWithin } from "../../timer.ts";
import type { Audit } from "../audit/audit.ts";
import type { ChannelSenders } from "./channel-senders.ts";
import { TEST_KIND } from "./message.ts";
import { type OutgoingMessage, SendError } from "./senders/sender.ts";

/** How many tests are remembered, for clients that ask again. */
const REMEMBERED = 100;

/** What {@link ChannelTests} needs. */
export interface ChannelTestsOptions {
  readonly store: Pick<OperationalStore, "transact">;
  readonly senders: Pick<ChannelSenders, "get" | "names">;
  readonly clock: Clock;
  readonly log: ConsolaInstance;
}

interface Test {
  readonly tested: () => ChannelTested;
  readonly done: Promise<void>;
}

/** Sends them. */
export class ChannelTests implements Service {
  readonly name = "tests of channels";
  readonly #o: ChannelTestsOptions;
  readonly #tests = new Map<string, Test>();
  readonly #ended = new AbortController();

  constructor(options: ChannelTestsOptions) {
    this.#o = options;
  }

  async start(): Promise<void> {}

  /** Ends what is under way. */
  async stop(): Promise<void> {
    this.#ended.abort();
    await Promise.all([...this.#tests.values()].map(({ done }) => done));
  }

  /**
   * Sends a message, unless this test has been asked for before.
   * @param actor who asked; null for nobody in particular
   * @returns how it ended, or that it is still under way after the time
   * @throws NotFoundError when there is no such channel
   */
  async run(
    {
      channel,
      test_id,
      wait_ms,
    }: { readonly channel: string; readonly test_id: string; readonly wait_ms: number },
    actor: string | null,
    audit: Audit,
  ): Promise<ChannelTested> {
    const key = `${channel} ${test_id}`;
    let test = this.#tests.get(key);
    if (test === undefined) {
      test = this.#begin(channel, test_id, actor, audit);
      this.#tests.set(key, test);
      for (const [oldest] of this.#tests) {
        if (this.#tests.size <= REMEMBERED) break;
        this.#tests.delete(oldest);
      }
    }
    await isDoneWithin(wait_ms, test.done, this.#o.clock);
    return test.tested();
  }

  #begin(channel: string, testId: string, actor: string | null, audit: Audit): Test {
    const { store, senders, clock, log } = this.#o;
    const found = senders.get(channel);
    if (found === undefined) throw unknownChannel(channel, [...senders.names()]);
    const begun = clock.monotonic();
    let end: { readonly at: number; readonly error: SendError | null } | undefined;
    const send = async () => {
      let error: SendError | null = null;
      try {
        await store.transact((tx) => audit(tx));
        await found.sender.send(testMessage(channel, testId, actor, clock.now()), this.#ended.signal);
        log.info(`A test message was sent to channel ${channel}.`);
      } catch (thrown) {
        error = thrown instanceof SendError ? thrown : new SendError(errorMessage(thrown));
        log.warn(`A test message could not be sent to channel ${channel}: ${error.text}`);
      }
      end = { at: clock.monotonic(), error };
    };
    const done = send();
    const tested = (): ChannelTested => ({
      channel,
      kind: found.kind ?? null,
      state: end === undefined ? "SENDING" : end.error === null ? "SENT" : "FAILED",
      error: end?.error?.message ?? null,
      hint: end?.error?.hint ?? null,
      permanent: end?.error?.isPermanent ?? false,
      took_ms: Math.round((end?.at ?? clock.monotonic()) - begun),
    });
    return { done, tested };
  }
}

function testMessage(channel: string, testId: string, actor: string | null, nowMs: number): OutgoingMessage {
  return {
    id: `test-${testId}`,
    channel,
    alerts: [
      {
        alert_id: `test-${testId}`,
        kind: TEST_KIND,
        key: `${TEST_KIND} ${channel}`,
        about: "raised",
        workflow_id: null,
        workflow_instance_id: null,
        subject: `test of channel ${channel}: if you read this, alerts arrive`,
        facts: { principal: hostname(), ...(actor === null ? {} : { actor }) },
        raised_at_ms: nowMs,
        resolved_at_ms: null,
      },
    ],
    more: 0,
    created_at_ms: nowMs,
  };
}

function unknownChannel(channel: string, names: readonly string[]): NotFoundError {
  const message = `There is no channel ${channel}.`;
  if (names.length === 0)
    return new NotFoundError(message, {
      hint: "Channels are in _cdktr.yml of the workflow directory, such as channels: {ops: {mail: ops@example.org}}; see 'cdktr docs channels'.",
    });
  const hint = didYouMean(channel, names) ?? `The channels are ${names.slice(0, 20).join(", ")}.`;
  return new NotFoundError(message, { hint: hint.charAt(0).toUpperCase() + hint.slice(1) });
}
