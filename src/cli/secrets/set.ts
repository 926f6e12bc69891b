import { UsageError } from "../../errors.ts";
import { STORED_NAME } from "../../workflow/secrets.ts";
import { command } from "../support/command.ts";
import { withPrincipal } from "../support/connect.ts";
import { principalArg } from "../support/globals.ts";
import { say } from "../support/report.ts";

export default command({
  meta: { name: "set", description: "Set a secret, read from stdin" },
  args: {
    name: { type: "positional", required: true, description: "Its name, as workflows refer to it" },
    ...principalArg,
  },
  extras: {
    details:
      "Reads the secret from stdin, without its last line break; at a terminal it asks, without echo. Replaces the one that there is. Tasks that start from then on get it.",
    examples: [
      { command: "cdktr secrets set api_key < api_key.txt", does: "from a file" },
      { command: "cdktr secrets set api_key", does: "asks for it" },
    ],
  },
  async run({ args: { name, ...args } }) {
    if (!STORED_NAME.test(name))
      throw new UsageError(`'${name}' is not a name of a secret.`, {
        hint: "Use letters, digits, _, - and ., at most 200, and start with a letter, a digit or _.",
      });
    const value = await readSecret(name);
    const isNew = await withPrincipal(args, async ({ client }) => {
      const known = await client.listSecrets();
      await client.setSecret(name, value);
      return known.every((secret) => secret.name !== name);
    });
    say(
      isNew
        ? `The secret ${name} is set. Workflows refer to it with secrets: {NAME: {store: ${name}}}.`
        : `The secret ${name} has a new value.`,
    );
  },
});

/** @throws UsageError when there is none, or when it is no text */
async function readSecret(name: string): Promise<string> {
  if (process.stdin.isTTY) {
    const { secret } = await import("../init/prompts.ts");
    return secret(`The secret ${name}`, (answer) => (answer === "" ? "Type or paste it." : undefined));
  }
  const bytes = new Uint8Array(await Bun.stdin.arrayBuffer());
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes).replace(/\r?\n$/, "");
  } catch {
    throw new UsageError("What stdin holds is not UTF-8 text.", {
      hint: "Encode it in base64, and decode it in the task.",
    });
  }
  if (text === "")
    throw new UsageError("There is no secret on stdin.", {
      hint: `For example: cdktr secrets set ${name} < FILE`,
    });
  return text;
}
