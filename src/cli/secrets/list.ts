import type { SecretSummary } from "../../contract/messages.ts";
import { command } from "../support/command.ts";
import { withPrincipal } from "../support/connect.ts";
import { formatInstant } from "../support/format.ts";
import { jsonArg, principalArg } from "../support/globals.ts";
import { say } from "../support/report.ts";
import { printJson, printLine } from "../support/stdout.ts";
import { renderTable } from "../support/table.ts";

export default command({
  meta: { name: "list", description: "List the names of the secrets" },
  args: { ...jsonArg, ...principalArg },
  extras: {
    details: "Shows names, and when and with which key each was set. Nothing shows the secrets themselves.",
    examples: [{ command: "cdktr secrets list", does: "what workflows may refer to" }],
  },
  async run({ args }) {
    const secrets = await withPrincipal(args, ({ client }) => client.listSecrets());
    if (args.json) return printJson(secrets);
    if (secrets.length === 0) return say("No secrets. Set one with 'cdktr secrets set NAME'.");
    const table = renderTable<SecretSummary>(
      [
        { title: "NAME", value: ({ name }) => name },
        { title: "SET", value: ({ changed_at_ms }) => formatInstant(changed_at_ms) },
        { title: "BY", value: ({ actor }) => actor ?? "" },
      ],
      secrets,
    );
    for (const line of table) await printLine(line);
  },
});
