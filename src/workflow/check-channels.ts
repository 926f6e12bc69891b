/** Checks `channels` of `_cdktr.yml`, as far as they can be read, whatever else is wrong with the file. Never quotes what may be a secret. */
import { isLoopback } from "../host/addresses.ts";
import { CHANNEL_KINDS } from "./channels.ts";
import { checkSource } from "./check-secrets.ts";
import type { Finding } from "./diagnostic.ts";
import { type IssuePath, nodeAt, placeOf } from "./issues.ts";
import { MAX_CHANNELS } from "./limits.ts";
import type { Located } from "./yaml-tree.ts";

/** Where a channel has secrets that no text may hold. */
const SECRETS: readonly IssuePath[] = [
  ["mail", "smtp", "password"],
  ["webhook", "secret"],
  ["pagerduty", "routing_key"],
];
/** Where it has a text, or says where a secret is that stands in its place. */
const EITHER: readonly IssuePath[] = [
  ["slack", "url"],
  ["webhook", "url"],
];
/** Where a text is a secret, by mistake or because a URL is as good as a password. */
const CONFIDENTIAL: readonly IssuePath[] = [...SECRETS, ...EITHER, ["slack"], ["webhook"]];

/** What is wrong with the channels of a settings file. */
export function checkChannels(root: Located): Finding[] {
  const channels = nodeAt(root, ["channels"]);
  if (channels === null) return [];
  const findings: Finding[] = [];
  if (channels.children.size > MAX_CHANNELS) {
    const message = `there are ${channels.children.size} channels; at most ${MAX_CHANNELS} are allowed`;
    findings.push({ code: "E115", message, ...placeOf(root, ["channels"]) });
  }
  for (const [name, { node }] of channels.children)
    if (typeof node.value === "object" && node.value !== null && !Array.isArray(node.value))
      findings.push(...checkChannel(String(name), node, root));
  return findings;
}

function checkChannel(name: string, channel: Located, root: Located): Finding[] {
  const findings: Finding[] = [];
  const path = ["channels", name];
  const keys = [...channel.children.keys()].map(String);
  const kinds = CHANNEL_KINDS.filter((kind) => keys.includes(kind));
  const isKnown = keys.every((key) => [...CHANNEL_KINDS, "group", "limit"].some((each) => each === key));
  if (kinds.length > 1 || (kinds.length === 0 && isKnown)) {
    const message =
      kinds.length > 1
        ? `channel "${name}" is more than one thing: ${kinds.join(", ")}`
        : `channel "${name}" must say where it sends: one of ${CHANNEL_KINDS.join(", ")}`;
    const help =
      kinds.length > 1
        ? "make a channel of each: a workflow may name several"
        : "such as {mail: ops@example.org}";
    findings.push({ code: "E115", message, help, ...placeOf(root, path) });
  }
  const headers = [...(nodeAt(channel, ["webhook", "headers"])?.children.keys() ?? [])];
  const sources = [
    ...SECRETS.map((at) => ({ at, isText: false })),
    ...[...EITHER, ...headers.map((header) => ["webhook", "headers", header])].map((at) => ({
      at,
      isText: true,
    })),
  ];
  for (const { at, isText } of sources) {
    const node = nodeAt(channel, at);
    if (node === null || (isText && typeof node.value === "string")) continue;
    const problem = checkSource(String(at.at(-1)), node);
    if (problem !== null) findings.push({ ...problem, ...placeOf(root, [...path, ...at]) });
  }
  findings.push(...checkLogin(channel, [...path, "mail", "smtp"], root));
  return findings;
}

/** A user and a password belong together, and neither crosses a network in the clear. */
function checkLogin(channel: Located, path: IssuePath, root: Located): Finding[] {
  const smtp = nodeAt(channel, ["mail", "smtp"]);
  const text = (key: string) => {
    const value = smtp?.children.get(key)?.node.value;
    return typeof value === "string" ? value : undefined;
  };
  const [hasUser, hasPassword] = [smtp?.children.has("user"), smtp?.children.has("password")];
  if (hasUser !== hasPassword) {
    const [given, lacking] = hasUser === true ? ["user", "password"] : ["password", "user"];
    const message = `"${given}" in smtp needs "${lacking}" beside it`;
    const help =
      lacking === "user"
        ? "say who logs in"
        : "say where the password is: password: {file: /run/secrets/smtp}";
    return [{ code: "E115", message, help, ...placeOf(root, [...path, given ?? ""]) }];
  }
  const host = text("host") ?? "localhost";
  if (hasPassword !== true || text("tls") !== "none" || isLoopback(host)) return [];
  const message = `the secret "password" is sent to ${host} without encryption`;
  return [
    {
      code: "W014",
      message,
      help: "remove tls: none, if the server speaks TLS",
      ...placeOf(root, [...path, "tls"]),
    },
  ];
}

/** The findings; those within a channel that has a secret written in the file do not show their line. */
export function hidingSecrets(findings: readonly Finding[], root: Located): Finding[] {
  const open: { readonly start: number; readonly end: number }[] = [];
  for (const { key, node } of nodeAt(root, ["channels"])?.children.values() ?? [])
    if (CONFIDENTIAL.some((path) => typeof nodeAt(node, path)?.value === "string"))
      open.push({ start: key?.start ?? node.start, end: node.end });
  const isOpen = (finding: Finding) =>
    open.some(({ start, end }) => finding.start < end && finding.end > start);
  return findings.map((finding) => (isOpen(finding) ? { ...finding, isPrivate: true } : finding));
}
