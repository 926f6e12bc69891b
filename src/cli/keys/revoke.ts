import { command } from "../support/command.ts";
import { changeKeys, dataDirArg } from "../support/key-store.ts";
import { say } from "../support/report.ts";

export default command({
  meta: { name: "revoke", description: "Shut out the holder of a key at once" },
  args: {
    name: {
      type: "positional",
      required: true,
      description: "The key's name, as shown by 'cdktr keys list'",
    },
    ...dataDirArg,
  },
  extras: {
    completes: { name: "key" },
    details:
      "A running principal stops accepting anything from it almost at once, on existing connections too. Revocation is final: create a new key instead.",
    topic: "security",
    examples: [{ command: "cdktr keys revoke worker-1", does: "for a host that is lost or given up" }],
  },
  async run({ args }) {
    const { name, role } = changeKeys(
      args["data-dir"],
      { action: "key.revoke", subject: args.name },
      (store) => store.revoke(args.name, Date.now()),
      (revoked) => ({ detail: { role: revoked.role } }),
    );
    say(`The key ${name} (${role}) is revoked.`);
  },
});
