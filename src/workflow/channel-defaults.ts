/** What a channel is, and what its settings leave open. */
import { isLoopback } from "../host/addresses.ts";
import {
  CHANNEL_KINDS,
  type ChannelKind,
  type ChannelSettings,
  type MessageLimit,
  type SmtpSettings,
  type TLS,
} from "./channels.ts";

/** What a channel is made of; undefined if a newer cdktr has written one of a kind that this one does not know. */
export function kindOfChannel(channel: ChannelSettings): ChannelKind | undefined {
  return CHANNEL_KINDS.find((kind) => channel[kind] !== undefined);
}

const GROUP_MS: Readonly<Record<ChannelKind, number>> = {
  mail: 60_000,
  slack: 60_000,
  webhook: 0,
  pagerduty: 0,
  command: 0,
};
const DEFAULT_LIMIT: MessageLimit = { messages: 30, per_ms: 3_600_000 };

/** How a channel paces its messages. */
export function paceOf(channel: ChannelSettings): { readonly groupMs: number; readonly limit: MessageLimit } {
  const kind = kindOfChannel(channel);
  return {
    groupMs: channel.group_ms ?? (kind === undefined ? 0 : GROUP_MS[kind]),
    limit: channel.limit ?? DEFAULT_LIMIT,
  };
}

/** How a connection to a mail server is made: what the settings leave open is decided here. */
export function smtpOf({ host, port, tls }: SmtpSettings): {
  readonly host: string;
  readonly port: number;
  readonly tls: (typeof TLS)[number];
} {
  const chosen = tls ?? (port === 465 ? "implicit" : isLoopback(host) ? "none" : "starttls");
  return { host, port: port ?? { implicit: 465, starttls: 587, none: 25 }[chosen], tls: chosen };
}

/** The variables of the principal that hold secrets of a channel. */
export function variablesOfChannel({ mail, slack, webhook, pagerduty }: ChannelSettings): string[] {
  const sources = [
    mail?.smtp.password,
    slack?.url,
    webhook?.url,
    webhook?.secret,
    ...Object.values(webhook?.headers ?? {}),
    pagerduty?.routing_key,
  ];
  return sources.flatMap((source) =>
    typeof source === "object" && source.env !== undefined ? [source.env] : [],
  );
}
