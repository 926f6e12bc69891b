/** `channels` of `_cdktr.yml`: where alerts are sent. */
import { z } from "zod";
import { didYouMean } from "../terminal/did-you-mean.ts";
import { KINDS_OF_ALERTS } from "./alert-kinds.ts";
import {
  Block,
  Field,
  list,
  type NameCheck,
  named,
  oneOf,
  scalar,
  VARIABLE_NAME,
  type ValueOf,
} from "./field.ts";
import { HEADER_NAME, headerNames, headerText, url } from "./kinds/http.ts";
import { MAX_RECIPIENTS } from "./limits.ts";
import { duration, filled, formed, whole } from "./scalars.ts";
import { STORED_NAME } from "./secrets.ts";

/** Names of channels. */
export const CHANNEL_NAME = /^[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}$/;

/** The kinds of channels: each channel has exactly one of these keys. */
export const CHANNEL_KINDS = ["mail", "slack", "webhook", "pagerduty", "command"] as const;
export type ChannelKind = (typeof CHANNEL_KINDS)[number];

const CHANNEL_HELP = "such as channels: {ops: {mail: ops@example.org}}";

const channelNames = (): NameCheck => (name) => {
  if (CHANNEL_NAME.test(name)) return null;
  const shown = JSON.stringify(name.length > 60 ? `${name.slice(0, 60)}…` : name);
  return {
    code: "E115",
    message: `${shown} is not a valid name for a channel`,
    help: "use letters, digits, _, - and ., at most 100",
  };
};

/** Where a secret of a channel is, which the principal reads anew for each message: exactly one of these. */
const Source = new Block({
  file: filled()
    .sparse()
    .describe("A file on the principal's host; a relative path starts at its working directory"),
  env: formed(VARIABLE_NAME, "is not a name of an environment variable", "write the name without $")
    .sparse()
    .describe("A variable of the principal's environment"),
  command: list(filled(), { min: 1 })
    .sparse()
    .describe(
      "A program with its arguments that prints the secret on the principal's host; no shell is involved",
    ),
  store: formed(STORED_NAME, "is not a name of a secret", "use letters, digits, _, - and .")
    .sparse()
    .describe("A name in the principal's store, see cdktr secrets"),
});
/** Where a secret of a channel is. */
export type ChannelSecret = ValueOf<typeof Source>;

/** A text, or where the secret is that stands in its place. */
function orSecret(text: Field<string>, noun: string): Field<string | ChannelSecret> {
  return new Field(
    z.union([text.file, Source.file]) as z.ZodType<string | ChannelSecret>,
    z.union([z.string(), Source.stored]),
    { ...text.traits, ...Source.traits, noun: `${noun}, or where it is: {file: /path}` },
  );
}

const MAILBOX = /^[^\s@<>,;:"()[\]\\\x00-\x1f\x7f]{1,64}(@[^\s@<>,;:"()\\\x00-\x1f\x7f]{1,253})?$/;

/** An address of a mail: `ops@example.org`, or `Operations <ops@example.org>`; a user of the mail server's host alone is one, too. */
const address = () =>
  scalar(
    z.string(),
    { type: "string", minLength: 1, maxLength: 400 },
    (text, refuse) => {
      const given = text.trim();
      if (given.length > 400) return refuse("E115", "is longer than 400 characters");
      if (/[\x00-\x1f\x7f]/.test(given))
        return refuse("E115", "contains a control character or a line break");
      const mailbox = /^[^<>]*<([^<>]*)>$/.exec(given)?.[1]?.trim() ?? given;
      if (MAILBOX.test(mailbox)) return given;
      const several = /[,;\s]/.test(mailbox) && mailbox.split(/[,;\s]+/).every((each) => MAILBOX.test(each));
      return refuse(
        "E115",
        `must be an address, not "${given.length > 60 ? `${given.slice(0, 60)}…` : given}"`,
        several ? `write a list: [${mailbox.split(/[,;\s]+/).join(", ")}]` : ADDRESS_HELP,
      );
    },
    { noun: "an address", help: ADDRESS_HELP },
  );
const ADDRESS_HELP = "such as ops@example.org, or Operations <ops@example.org>";

/** One or several addresses, stored as a list. */
const addresses = () => {
  const one = address();
  const several = z
    .array(one.file)
    .min(1)
    .transform((all) => [...new Set(all)])
    .refine((all) => all.length <= MAX_RECIPIENTS, `has more than ${MAX_RECIPIENTS} addresses`);
  return new Field<string[]>(
    z.union([one.file.transform((text) => [text]), several]) as unknown as z.ZodType<string[]>,
    z.array(z.string()),
    { entry: one, noun: "an address or a list of addresses", help: ADDRESS_HELP },
  );
};

export const TLS = ["starttls", "implicit", "none"] as const;

/** The host of a server: a name or an address. */
const hostName = () =>
  scalar(
    z.string(),
    { type: "string", minLength: 1, maxLength: 253 },
    (text, refuse) => {
      const host = text.trim().replace(/^\[(.*)\]$/, "$1");
      return /^[^\s/@,;"'<>\x00-\x1f\x7f]{1,253}$/.test(host) &&
        (!host.includes(":") || /^[0-9a-f:.]+(%\w+)?$/i.test(host))
        ? host
        : refuse(
            "E115",
            "must be a name of a host or an address",
            "such as smtp.example.org; the port is a key of its own",
          );
    },
    { noun: "a name of a host", help: "such as smtp.example.org" },
  );

const Smtp = new Block({
  host: hostName().default("localhost").describe("The mail server"),
  port: whole(1, 65_535)
    .sparse()
    .describe("By default 465 with tls: implicit, 587 with starttls, 25 with none"),
  tls: oneOf(...TLS)
    .sparse()
    .describe(
      "How the connection is encrypted; by default implicit on port 465, none to this host itself, and starttls, which is insisted on, to all others",
    ),
  user: filled().sparse().describe("The user to log in as; without it, nobody logs in"),
  password: Source.sparse().describe("Where the password of the user is: one of file, env, command or store"),
  ca_file: filled()
    .sparse()
    .describe(
      "PEM file on the principal's host with the certificates to trust, instead of the usual authorities",
    ),
});

const smtp = () => {
  const short = hostName().file.transform((host): ValueOf<typeof Smtp> => ({ host }));
  return new Field(z.union([short, Smtp.file]) as unknown as typeof Smtp.file, Smtp.stored, {
    ...Smtp.traits,
    noun: "a name of a host, or a mapping",
    help: "such as {host: smtp.example.org, user: cdktr, password: {file: /run/secrets/smtp}}",
  });
};

const Mail = new Block({
  to: addresses().describe("Who gets it: an address, or a list of addresses"),
  from: address().sparse().describe("Whom it is from; by default cdktr at the principal's host"),
  smtp: smtp()
    .orElse({ host: "localhost" })
    .describe("The mail server; by default the one on the principal's host"),
});
/** A channel that sends mail. */
export type MailSettings = ValueOf<typeof Mail>;
export type SmtpSettings = MailSettings["smtp"];

const caFile = () =>
  filled()
    .sparse()
    .describe(
      "PEM file on the principal's host with the certificates to trust, instead of the usual authorities",
    );

const httpUrl = () => orSecret(url(), "a URL");

/** A mapping, or its URL alone. */
function orUrl<T extends { url: string | ChannelSecret }>(
  block: Field<T>,
  help: string,
): Field<T | undefined> {
  const short = url().file.transform((text) => ({ url: text }) as T);
  return new Field(z.union([short, block.file]) as unknown as z.ZodType<T>, block.stored, {
    ...block.traits,
    noun: "a URL or a mapping",
    help,
  }).sparse();
}

const Slack = new Block({
  url: httpUrl().describe("URL of an incoming webhook, or where it is: who knows it can post"),
  channel: filled().sparse().describe("Where it posts, for servers that let the sender choose, such as #ops"),
  ca_file: caFile(),
});
/** A channel that posts to Slack, or to what takes the same. */
export type SlackSettings = ValueOf<typeof Slack>;

const header = () => orSecret(headerText(), "a text");

const Webhook = new Block({
  url: httpUrl().describe("Where it is posted to, or where this URL is if it is secret"),
  secret: Source.sparse().describe("Where the secret is with which each request is signed"),
  headers: named(HEADER_NAME, headerNames, header())
    .sparse()
    .describe("Further headers: texts, or where the value is if it is secret"),
  ca_file: caFile(),
});
/** A channel that posts JSON. */
export type WebhookSettings = ValueOf<typeof Webhook>;

const SEVERITIES = ["critical", "error", "warning", "info"] as const;
/** How bad it is, as pagers have it. */
export type Severity = (typeof SEVERITIES)[number];

const Pagerduty = new Block({
  routing_key: Source.describe(
    "Where the integration key of the service is: one of file, env, command or store",
  ),
  severity: severities().sparse().describe("How bad each kind of alert is: critical, error, warning or info"),
  url: url().sparse().describe("Another endpoint of the Events API v2, such as that of the EU region"),
});
/** A channel that sends events to PagerDuty. */
export type PagerdutySettings = ValueOf<typeof Pagerduty>;

function severities(): Field<Partial<Record<string, Severity>>> {
  const one = oneOf(...SEVERITIES);
  const all = one.file.transform((severity): Record<string, Severity> => ({ all: severity }));
  const byKind = named(/^[a-z_]+$/, () => problemOfKind, one);
  return new Field<Partial<Record<string, Severity>>>(
    z.union([all, byKind.file]) as z.ZodType<Partial<Record<string, Severity>>>,
    z.record(z.string(), z.string()) as unknown as z.ZodType<Partial<Record<string, Severity>>>,
    {
      ...byKind.traits,
      noun: "a severity, or one for each kind of alert",
      help: "such as {failed: critical, late: warning}",
    },
  );
}

const problemOfKind: NameCheck = (name) => {
  if (KINDS_OF_ALERTS.some((kind) => kind === name)) return null;
  return {
    code: "E115",
    message: `"${name.slice(0, 60)}" is not a kind of alert`,
    help: didYouMean(name, KINDS_OF_ALERTS) ?? `the kinds are ${KINDS_OF_ALERTS.join(", ")}`,
  };
};

/** How many messages a channel may send in a time. */
export interface MessageLimit {
  readonly messages: number;
  readonly per_ms: number;
}

const PERIODS: Readonly<Record<string, number>> = { s: 1000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const LIMIT_HELP = "such as 30/h: letters for the time are s, m, h and d";

const messageLimit = (): Field<MessageLimit> =>
  scalar(
    z.looseObject({ messages: z.number(), per_ms: z.number() }) as unknown as z.ZodType<MessageLimit>,
    { type: "string", pattern: "^[1-9]\\d{0,5} ?/ ?[smhd]$" },
    (text, refuse) => {
      const [, messages, unit = ""] = /^([1-9]\d{0,5}) ?\/ ?([smhd])$/.exec(text.trim()) ?? [];
      const per_ms = PERIODS[unit];
      if (messages === undefined || per_ms === undefined)
        return refuse(
          "E115",
          `must be a number of messages in a time, not "${text.length > 40 ? `${text.slice(0, 40)}…` : text}"`,
          LIMIT_HELP,
        );
      return { messages: Number(messages), per_ms };
    },
    { noun: "a number of messages in a time", help: LIMIT_HELP },
  );

/** The longest time that alerts are collected, ms. */
const LONGEST_GROUP_MS = 86_400_000;

const orList = (block: Field<MailSettings>): Field<MailSettings | undefined> => {
  const short = addresses().file.transform((to): MailSettings => ({ to, smtp: { host: "localhost" } }));
  return new Field(z.union([short, block.file]) as unknown as z.ZodType<MailSettings>, block.stored, {
    ...block.traits,
    entry: address(),
    noun: "an address, a list of addresses or a mapping",
    help: "such as mail: ops@example.org, or mail: {to: [ops@example.org], smtp: {host: smtp.example.org}}",
  }).sparse();
};

const Channel = new Block(
  {
    mail: orList(Mail).describe("Sends mail: an address, or {to: …, from: …, smtp: …}"),
    slack: orUrl(Slack, "such as slack: {url: {file: /run/secrets/slack}}").describe(
      "Posts to an incoming webhook of Slack, or of what takes the same, such as Mattermost",
    ),
    webhook: orUrl(Webhook, "such as webhook: https://example.org/alerts").describe(
      "Posts JSON, signed if it has a secret",
    ),
    pagerduty: Pagerduty.help("such as pagerduty: {routing_key: {file: /run/secrets/pagerduty}}")
      .sparse()
      .describe("Opens and closes incidents of PagerDuty, with its Events API v2"),
    command: list(filled(), { min: 1 })
      .help("such as command: [/usr/local/bin/page, --now]")
      .sparse()
      .describe(
        "A program with its arguments on the principal's host, which gets the message as JSON on its standard input; no shell is involved",
      ),
    group: duration(0, LONGEST_GROUP_MS)
      .sparse()
      .as("group_ms")
      .describe(
        "How long alerts are collected that go into one message; by default 1m for mail and slack, and 0s for others",
      ),
    limit: messageLimit()
      .sparse()
      .describe("The most messages in a time; beyond it, alerts wait, and share a message. By default 30/h"),
  },
  "Where alerts are sent",
);
/** A channel as it is stored. */
export type ChannelSettings = ValueOf<typeof Channel>;

/** Channels, by name. */
export const channels = () =>
  named(
    CHANNEL_NAME,
    channelNames,
    (Channel as Field<ChannelSettings>).help("such as {mail: ops@example.org}"),
  )
    .help(CHANNEL_HELP)
    .sparse();
