import { NotFoundError } from "../../errors.ts";
import { nearest } from "../../terminal/did-you-mean.ts";
import { command } from "../support/command.ts";
import { withPrincipal } from "../support/connect.ts";
import { principalArg } from "../support/globals.ts";
import { say } from "../support/report.ts";

export default command({
  meta: { name: "remove", description: "Remove a secret" },
  args: {
    name: {
      type: "positional",
      required: true,
      description: "Its name, as shown by 'cdktr secrets list'",
    },
    ...principalArg,
  },
  extras: {
    details: "Tasks that use it do not start from then on; those that run keep it.",
    examples: [{ command: "cdktr secrets remove api_key", does: "one that nothing uses any more" }],
  },
  async run({ args: { name, ...args } }) {
    await withPrincipal(args, async ({ client }) => {
      const names = (await client.listSecrets()).map((secret) => secret.name);
      if (!names.includes(name)) {
        const near = nearest(name, names);
        throw new NotFoundError(`There is no secret '${name}'.`, {
          hint: near === undefined ? "See 'cdktr secrets list'." : `Did you mean '${near}'?`,
        });
      }
      await client.removeSecret(name);
      say(`The secret ${name} is removed.`);
    });
  },
});
