import { command } from "../support/command.ts";
import { changeKeys, dataDirArg } from "../support/key-store.ts";
import { say } from "../support/report.ts";

export default command({
  meta: { name: "revoke", description: "Invalidate a join token" },
  args: {
    id: {
      type: "positional",
      required: true,
      description: "The token's id, as shown by 'cdktr join-token list'",
    },
    ...dataDirArg,
  },
  extras: {
    completes: { id: "token" },
    details: "Keys that were issued with it stay valid: use 'cdktr keys revoke' to shut them out.",
    topic: "security",
    examples: [{ command: "cdktr join-token revoke 5f0c2a1b", does: "for a token that was seen by others" }],
  },
  async run({ args }) {
    const deed = { action: "token.revoke", subject: args.id };
    const { used } = changeKeys(args["data-dir"], deed, (store) => store.revokeToken(args.id, Date.now()));
    say(`The join token ${args.id} is revoked.`);
    if (used.length > 0) say(`Hosts that joined with it before: ${used.map(({ name }) => name).join(", ")}.`);
  },
});
