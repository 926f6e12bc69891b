import { command } from "../support/command.ts";
import { withPrincipal } from "../support/connect.ts";
import { plural } from "../support/format.ts";
import { jsonArg, principalArg } from "../support/globals.ts";
import { say } from "../support/report.ts";
import { printJson } from "../support/stdout.ts";
import { unknownPool } from "./list.ts";

export default command({
  meta: { name: "reset", description: "Go back to the size in _cdktr.yml, or remove a pool" },
  args: {
    name: { type: "positional", required: true, description: "Its name" },
    ...jsonArg,
    ...principalArg,
  },
  extras: {
    details:
      "Takes back what 'cdktr pools set' said. A pool that is not in _cdktr.yml is gone then: tasks that take slots of it wait until it is made again.",
    completes: { name: "pool" },
    see: ["pools list"],
    examples: [{ command: "cdktr pools reset warehouse", does: "the size in _cdktr.yml counts again" }],
  },
  async run({ args: { name, json, ...args } }) {
    const { known, set } = await withPrincipal(args, async ({ client }) => {
      const pools = await client.pools();
      const known = pools.find((pool) => pool.name === name);
      if (known === undefined) throw unknownPool(name, pools);
      return { known, set: await client.setPool(name, null) };
    });
    if (json) return printJson({ name, ...set });
    const size = set.size === null ? "" : plural(set.size, "slot");
    if (set.size === null) {
      const waiting =
        known.waiting === 0
          ? ""
          : ` ${plural(known.waiting, "task")} ${known.waiting === 1 ? "waits" : "wait"} for it.`;
      say(`Pool ${name} is gone: _cdktr.yml does not name it.${waiting}`);
    } else if (known.source === "file")
      say(`Pool ${name} has ${size}, as _cdktr.yml says: nothing to reset.`);
    else say(`Pool ${name} has ${size} again, as _cdktr.yml says.`);
  },
});
