/** The channels that take the place of `MAILTO` of a crontab. */
import type { ChannelSettings } from "../../workflow/channels.ts";
import { parseSettings } from "../../workflow/settings-file.ts";
import { yamlScalar } from "../yaml-text.ts";

/** Channels that `_cdktr.yml` has, by name. */
type Channels = Readonly<Record<string, ChannelSettings>>;

/** A channel that sends mail. */
export interface MailChannel {
  readonly name: string;
  readonly to: readonly string[];
  /** `MAILFROM`. */
  readonly from: string | undefined;
}

/** The channels of a crontab, in order; the same recipients share one. */
export class MailChannels {
  readonly all: MailChannel[] = [];
  readonly #known: Channels;

  /** @param current the text of `_cdktr.yml`: a channel that it has may be of another crontab, with other recipients */
  constructor(current?: string) {
    const before = current === undefined ? undefined : parseSettings(current, "_cdktr.yml", true);
    this.#known = (before?.ok === true ? before.settings.channels : undefined) ?? {};
  }

  /** The channel of a job with these settings; undefined if they want no mail. */
  take({ to, from }: MailSettings): MailChannel | undefined {
    const addresses = addressesIn(to);
    if (addresses.length === 0) return undefined;
    const same = this.all.find((one) => one.from === from && one.to.join() === addresses.join());
    if (same !== undefined) return same;
    const channel: MailChannel = { name: this.#nameFor(addresses), to: addresses, from };
    this.all.push(channel);
    return channel;
  }

  #nameFor(to: readonly string[]): string {
    for (let n = 1; ; n++) {
      const name = n === 1 ? "cron" : `cron-${n}`;
      if (this.all.some((one) => one.name === name)) continue;
      const known = Object.hasOwn(this.#known, name) ? this.#known[name] : undefined;
      // One that is no mail any more was replaced on purpose.
      if (known?.mail === undefined || known.mail.to.join() === to.join()) return name;
    }
  }
}

/** What `MAILTO` and `MAILFROM` say. */
export interface MailSettings {
  readonly to: string;
  readonly from: string | undefined;
}

/** Why there can be no channel for these settings; null if there can be one, or need not be. */
export function problemOfMail({ to, from }: MailSettings): string | null {
  const addresses = addressesIn(to);
  if (addresses.length === 0) return null;
  const checked = parseSettings(settingsText([{ name: "cron", to: addresses, from }]), "_cdktr.yml", true);
  return checked.ok ? null : checked.diagnostics.map(({ message }) => message).join("; ");
}

function addressesIn(to: string): string[] {
  const all = to.split(",").map((address) => address.trim());
  return [...new Set(all)].filter((address) => address !== "");
}

const HEAD =
  "# Where alerts are sent, see 'cdktr docs channels'. Mail goes to the mail server of the principal's host, unless smtp says another.\n";

function settingsText(channels: readonly MailChannel[]): string {
  return `${HEAD}channels:\n${channels.map((channel) => `  ${entryOf(channel)}`).join("\n")}\n`;
}

function entryOf({ name, to, from }: MailChannel): string {
  const addresses = `[${to.map(yamlScalar).join(", ")}]`;
  const mail = from === undefined ? addresses : `{to: ${addresses}, from: ${yamlScalar(from)}}`;
  return `${name}: {mail: ${mail}}`;
}

/**
 * The text of `_cdktr.yml` with these channels: all that it has stays.
 * @param current its text; undefined if there is none
 * @returns the same text if it has them already, or if they cannot be added
 */
export function withChannels(current: string | undefined, channels: readonly MailChannel[]): string {
  if (current === undefined || current.trim() === "") return settingsText(channels);
  const before = parseSettings(current, "_cdktr.yml", true);
  if (!before.ok) return current;
  const known = before.settings.channels;
  const missing = channels.filter(({ name }) => known === undefined || !Object.hasOwn(known, name));
  if (missing.length === 0) return current;
  const gap = current.endsWith("\n") ? "" : "\n";
  const added =
    known === undefined
      ? `${current}${gap}\n${settingsText(missing)}`
      : current.replace(
          /^channels:[ \t]*(?:#.*)?\n( +)/m,
          (head, indentation: string) =>
            `${head}${missing.map((channel) => `${entryOf(channel)}\n${indentation}`).join("")}`,
        );
  return parseSettings(added, "_cdktr.yml", true).ok ? added : current;
}
