/** Reading a join token from the command line. */
import { hideArgument } from "../../native/hide-argument.ts";

/** The token given with `--join`, or read from stdin for `-`; it is hidden from the process list from here on. */
export async function joinTokenOf(given: string | undefined): Promise<string | undefined> {
  if (given !== "-") return given === undefined ? undefined : hideArgument(given);
  return (await Bun.stdin.text()).trim();
}
