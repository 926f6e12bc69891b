/** How commands take a join token. */
import { hideArgument } from "../../native/hide-argument.ts";

/** The token of `--join`, or of stdin for `-`; nobody sees it in the list of processes from here on. */
export async function joinTokenOf(given: string | undefined): Promise<string | undefined> {
  if (given !== "-") return given === undefined ? undefined : hideArgument(given);
  return (await Bun.stdin.text()).trim();
}
