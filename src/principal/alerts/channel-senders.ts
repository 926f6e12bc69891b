/** Who sends to which channel, as `_cdktr.yml` has them now. */
import type { ConsolaInstance } from "consola";
import { kindOfChannel, paceOf, variablesOfChannel } from "../../workflow/channel-defaults.ts";
import type { ChannelKind, ChannelSettings, MessageLimit } from "../../workflow/channels.ts";
import type { ChannelSecrets } from "./channel-secrets.ts";
import type { LogTail } from "./log-tail.ts";
import { compose } from "./message.ts";
import { commandTransport } from "./senders/command.ts";
import { mailTransport } from "./senders/mail.ts";
import { pagerdutyTransport } from "./senders/pagerduty.ts";
import { type AlertForMessage, type OutgoingMessage, SendError, type Sender } from "./senders/sender.ts";
import { slackTransport } from "./senders/slack.ts";
import type { Transport } from "./senders/transport.ts";
import { webhookTransport } from "./senders/webhook.ts";

/** The most logs that are looked up for one message: the others are named with the command that shows them. */
const MOST_LOGS = 20;

/** The most alerts in a message of a kind that tells each: one that is only counted would not close its incident. */
const MOST_ALERTS: Readonly<Partial<Record<ChannelKind, number>>> = { pagerduty: 30 };

/** A channel. */
export interface Channel {
  /** Undefined for a kind that this cdktr does not know. */
  readonly kind: ChannelKind | undefined;
  /** How long alerts are collected that go into one message, ms. */
  readonly groupMs: number;
  /** The most messages in a time. */
  readonly limit: MessageLimit;
  /** The most alerts in a message; the others are in the next one. */
  readonly mostAlerts: number | undefined;
  readonly sender: Sender;
}

/** What {@link ChannelSenders} needs. */
export interface ChannelSendersOptions {
  /** The channels of `_cdktr.yml`. */
  readonly channels: () => ReadonlyMap<string, ChannelSettings>;
  readonly secrets: ChannelSecrets;
  /** Looks up the end of the log that an alert is about. */
  readonly logTail: (alert: AlertForMessage, signal: AbortSignal) => Promise<LogTail | null>;
  /** IANA name of the zone in which times are written. */
  readonly zone: string;
  /** The id of this installation. */
  readonly installation: () => string;
  /** The time, ms since the epoch. */
  readonly now: () => number;
  readonly log: ConsolaInstance;
}

/** Knows them. */
export class ChannelSenders {
  readonly #o: ChannelSendersOptions;
  /** Those that were asked for, as they were then. */
  readonly #made = new Map<string, { readonly settings: string; readonly channel: Channel }>();

  constructor(options: ChannelSendersOptions) {
    this.#o = options;
  }

  /** A channel as it is now, the same object while it is the same; undefined if there is none of this name. */
  get(name: string): Channel | undefined {
    const own = this.#o.channels().get(name);
    if (own === undefined) return undefined;
    const settings = JSON.stringify(own);
    const made = this.#made.get(name);
    if (made?.settings === settings) return made.channel;
    const kind = kindOfChannel(own);
    const mostAlerts = kind && MOST_ALERTS[kind];
    const channel = { kind, ...paceOf(own), mostAlerts, sender: this.#senderOf(name, own) };
    this.#made.set(name, { settings, channel });
    return channel;
  }

  /** The names of the channels that there are. */
  names(): Iterable<string> {
    return this.#o.channels().keys();
  }

  #senderOf(name: string, settings: ChannelSettings): Sender {
    const transport = this.#transportOf(name, settings);
    return {
      send: async (message, signal) => {
        const alerts = await this.#withLogs(message, signal);
        await transport.send(compose(message, alerts, this.#o.zone), message, signal);
      },
    };
  }

  async #withLogs({ alerts }: OutgoingMessage, signal: AbortSignal) {
    // Some of them at once: each may wait for the history, which may not answer.
    return Promise.all(
      alerts.map(async (alert, n) => ({
        alert,
        log: n < MOST_LOGS ? await this.#o.logTail(alert, signal) : null,
      })),
    );
  }

  #transportOf(name: string, settings: ChannelSettings): Transport {
    const { secrets, installation, now, log } = this.#o;
    const { mail, slack, webhook, pagerduty, command } = settings;
    if (mail !== undefined)
      return mailTransport(mail, secrets, (message) => log.warn(`Channel ${name}: ${message}`));
    if (slack !== undefined) return slackTransport(slack, secrets);
    if (webhook !== undefined) return webhookTransport(webhook, secrets, now);
    if (pagerduty !== undefined) return pagerdutyTransport(pagerduty, { secrets, installation });
    if (command !== undefined) {
      const hidden = () => [...this.#o.channels().values()].flatMap(variablesOfChannel);
      return commandTransport(command, { environment: () => secrets.environment(hidden()) });
    }
    return {
      async send() {
        throw new SendError(`The channel ${name} is of a kind that this cdktr does not know.`, {
          hint: "A newer one has written it: upgrade this one.",
        });
      },
    };
  }
}
