import type { KnownClient } from "../../protocol/doors/key-store.ts";
import { command } from "../support/command.ts";
import { formatInstant } from "../support/format.ts";
import { jsonArg } from "../support/globals.ts";
import { dataDirArg, keyStore } from "../support/key-store.ts";
import { say } from "../support/report.ts";
import { printJson, printLine } from "../support/stdout.ts";
import { styleFor } from "../support/style.ts";
import { renderTable } from "../support/table.ts";

export default command({
  meta: { name: "list", description: "List the keys that the principal knows" },
  args: { ...jsonArg, ...dataDirArg },
  extras: {
    exit: { 4: "There are no keys yet: run 'cdktr keys init'" },
    details: "Shows public keys only.",
    topic: "security",
    examples: [{ command: "cdktr keys list", does: "who may connect, and who no longer may" }],
  },
  async run({ args }) {
    const store = keyStore(args["data-dir"]);
    store.serverKeys();
    const clients = store.clients((error) => say(`warning: ${error.message}`));
    if (args.json) return printJson(clients);
    const style = styleFor("stdout");
    const table = renderTable<KnownClient>(
      [
        { title: "NAME", value: (client) => client.name },
        { title: "ROLE", value: (client) => client.role },
        {
          title: "STATUS",
          value: ({ revoked_at_ms }) =>
            revoked_at_ms === null ? "valid" : `revoked ${formatInstant(revoked_at_ms)}`,
          paint: ({ revoked_at_ms }) => (revoked_at_ms === null ? style.green : style.red),
        },
        {
          title: "SINCE",
          value: (client) => formatInstant(client.created_at_ms),
          short: (client) => formatInstant(client.created_at_ms).slice(0, 10),
        },
        { title: "BY", value: (client) => client.added_by, flexible: true, dispensable: true },
        { title: "PUBLIC KEY", value: (client) => client.public_key, dispensable: true },
      ],
      clients,
    );
    for (const line of table) await printLine(line);
  },
});
