import { type KnownToken, tokenStatus } from "../../protocol/doors/key-store.ts";
import { command } from "../support/command.ts";
import { formatInstant } from "../support/format.ts";
import { jsonArg } from "../support/globals.ts";
import { dataDirArg, keyStore } from "../support/key-store.ts";
import { say } from "../support/report.ts";
import { printJson, printLine } from "../support/stdout.ts";
import { styleFor } from "../support/style.ts";
import { renderTable } from "../support/table.ts";

export default command({
  meta: { name: "list", description: "List the join tokens" },
  args: { ...jsonArg, ...dataDirArg },
  extras: {
    exit: { 4: "There are no keys yet: run 'cdktr keys init'" },
    details:
      "Never shows the tokens themselves: only 'cdktr join-token create' prints them. Tokens stay in the list for 30 days after they expire.",
    topic: "security",
    examples: [{ command: "cdktr join-token list", does: "what is still good, and who joined with what" }],
  },
  async run({ args }) {
    const store = keyStore(args["data-dir"]);
    store.serverKeys();
    const now = Date.now();
    const tokens = store
      .tokens(now, (error) => say(`warning: ${error.message}`))
      .sort((a, b) => a.created_at_ms - b.created_at_ms);
    if (args.json) return printJson(tokens.map((token) => ({ ...token, status: tokenStatus(token, now) })));
    const style = styleFor("stdout");
    const table = renderTable<KnownToken>(
      [
        { title: "ID", value: ({ id }) => id },
        { title: "ROLE", value: ({ role }) => role },
        {
          title: "STATUS",
          value: (token) => tokenStatus(token, now),
          paint: (token) => (tokenStatus(token, now) === "valid" ? style.green : style.dim),
        },
        { title: "USED", value: ({ used, uses }) => `${used.length} of ${uses}` },
        { title: "UNTIL", value: ({ expires_at_ms }) => formatInstant(expires_at_ms) },
        { title: "BY", value: ({ used }) => used.map(({ name }) => name).join(", ") },
      ],
      tokens,
    );
    for (const line of table) await printLine(line);
  },
});
