/** Channels that do not work, and what people were not told because of that. */
import type { ChannelSummary } from "../contract/messages.ts";
import { type PrincipalClient, RequestRefusedError } from "../protocol/client.ts";
import { type Finding, warning } from "./finding.ts";

export async function checkChannels(client: PrincipalClient): Promise<Finding[]> {
  try {
    return judgeChannels(await client.call("LSCHANNELS", {}));
  } catch (error) {
    // An older principal knows none.
    if (error instanceof RequestRefusedError) return [];
    throw error;
  }
}

/** Assesses channels. What only waits for its time is no problem. */
export function judgeChannels(
  channels: readonly Pick<ChannelSummary, "channel" | "exists" | "pending" | "dead" | "error">[],
): Finding[] {
  return channels.flatMap(({ channel, exists, pending, dead, error }) => {
    const findings: Finding[] = [];
    if (pending > 0 && !exists)
      findings.push(
        warning(
          "channels",
          `There is no channel ${channel} in _cdktr.yml, and ${alerts(pending)} for it.`,
          "Nobody is told of them; they are given up after a day.",
          `Add it to channels: in _cdktr.yml, or correct "notify" of the workflow: cdktr alerts channels`,
        ),
      );
    else if (pending > 0 && error !== null)
      findings.push(
        warning(
          "channels",
          `Channel ${channel} does not work, and ${alerts(pending)} for it: ${error}`,
          "Nobody is told of them until it works; they are given up after a day.",
          `Correct it in _cdktr.yml, and try it: cdktr alerts test ${channel}`,
        ),
      );
    if (dead > 0)
      findings.push(
        warning(
          "channels",
          `Channel ${channel} could not be told of ${dead === 1 ? "an alert" : `${dead} alerts`}, for good.`,
          "Somebody does not know of them.",
          "See them: cdktr alerts list --dead. Send them again: cdktr alerts retry --all-dead",
        ),
      );
    return findings;
  });
}

function alerts(count: number): string {
  return count === 1 ? "an alert waits" : `${count} alerts wait`;
}
