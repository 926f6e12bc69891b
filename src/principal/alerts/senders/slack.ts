/** Posts to an incoming webhook of Slack, or of what takes the same: Mattermost, Rocket.Chat, Discord with /slack. */
import type { SlackSettings } from "../../../workflow/channels.ts";
import type { ChannelSecrets } from "../channel-secrets.ts";
import type { ComposedMessage } from "../message.ts";
import { post } from "./http-post.ts";
import type { Transport } from "./transport.ts";

/** The longest text of a block, characters: Slack takes 3000. */
const LONGEST_BLOCK = 2900;
/** The most blocks of text; what is longer is cut. */
const MOST_BLOCKS = 10;

/** @param secrets reads where the URL is */
export function slackTransport(settings: SlackSettings, secrets: ChannelSecrets): Transport {
  return {
    async send(composed, _message, signal) {
      const url = await secrets.textOf("The URL of the Slack channel", settings.url, signal);
      const ca = await secrets.certificates(settings.ca_file);
      await post({
        url,
        body: JSON.stringify(bodyOf(composed, settings.channel)),
        ca,
        secrets: [url],
        signal,
      });
    },
  };
}

/** What Slack shows: the subject, and the text as it is, in fixed width. */
function bodyOf({ subject, text }: ComposedMessage, channel: string | undefined): unknown {
  const title = subject.replace(/^\[cdktr\] /, "");
  const parts = partsOf(text.trimEnd());
  const shown = parts.slice(0, MOST_BLOCKS);
  if (parts.length > shown.length) shown.push("… and more: cdktr alerts list");
  return {
    ...(channel === undefined ? {} : { channel }),
    // What notifications show, and servers that know no blocks.
    text: escaped(title),
    blocks: [
      { type: "section", text: { type: "mrkdwn", text: `*${escaped(title)}*` } },
      ...shown.map((part) => ({ type: "section", text: { type: "mrkdwn", text: `\`\`\`${part}\`\`\`` } })),
    ],
  };
}

/** Slack reads `<…>` as links and mentions. */
function escaped(text: string): string {
  // Three of these would end the fixed width.
  return text
    .replaceAll("&", "&amp;")
    .replaceAll("<", "&lt;")
    .replaceAll(">", "&gt;")
    .replaceAll("```", "'''");
}

/** A text in parts of whole lines. */
function partsOf(text: string): string[] {
  const parts: string[] = [];
  let part = "";
  for (const line of text.split("\n").flatMap((each) => chunksOf(escaped(each)))) {
    if (part !== "" && part.length + 1 + line.length > LONGEST_BLOCK) {
      parts.push(part);
      part = line;
    } else part = part === "" ? line : `${part}\n${line}`;
  }
  return [...parts, part];
}

function chunksOf(line: string): string[] {
  if (line.length <= LONGEST_BLOCK) return [line];
  return Array.from({ length: Math.ceil(line.length / LONGEST_BLOCK) }, (_, n) =>
    line.slice(n * LONGEST_BLOCK, (n + 1) * LONGEST_BLOCK),
  );
}
