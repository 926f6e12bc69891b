import { MAX_POOL_SIZE } from "../../contract/messages.ts";
import { UsageError } from "../../errors.ts";
import { POOL_NAME } from "../../workflow/pool.ts";
import { command } from "../support/command.ts";
import { withPrincipal } from "../support/connect.ts";
import { plural } from "../support/format.ts";
import { jsonArg, principalArg } from "../support/globals.ts";
import { say } from "../support/report.ts";
import { printJson } from "../support/stdout.ts";

export default command({
  meta: { name: "set", description: "Set the number of slots of a pool" },
  args: {
    name: { type: "positional", required: true, description: "Its name, as workflows refer to it" },
    slots: { type: "positional", required: true, description: "How many slots it has; 0 closes it" },
    ...jsonArg,
    ...principalArg,
  },
  extras: {
    details:
      "Makes the pool if there is none. The size wins over that in _cdktr.yml until 'cdktr pools reset'. Tasks that have slots keep them: a pool that is made smaller than what is in use gives no slots until enough are free.",
    completes: { name: "pool" },
    see: ["pools list"],
    examples: [
      { command: "cdktr pools set warehouse 4", does: "four slots, from now on" },
      { command: "cdktr pools set warehouse 0", does: "nothing that takes slots of it begins" },
    ],
  },
  async run({ args: { name, slots, json, ...args } }) {
    if (!POOL_NAME.test(name))
      throw new UsageError(`'${name}' is not a name of a pool.`, {
        hint: "Use letters, digits, _, - and ., at most 200, and start with a letter, a digit or _.",
      });
    const size = Number(slots);
    if (!/^\d{1,9}$/.test(slots) || size > MAX_POOL_SIZE)
      throw new UsageError(
        `'${slots}' is not a number of slots: expected a whole number from 0 to ${MAX_POOL_SIZE}.`,
        { hint: `For example: cdktr pools set ${name} 4` },
      );
    const set = await withPrincipal(args, ({ client }) => client.setPool(name, size));
    if (json) return printJson({ name, ...set });
    const drains = set.used > size ? ` ${set.used} are in use: it drains.` : "";
    say(`Pool ${name} has ${plural(size, "slot")}.${drains}`);
  },
});
