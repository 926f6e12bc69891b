import { BUILD_FACTS, VERSION } from "../build-facts.ts";
import { command } from "./support/command.ts";
import { jsonArg } from "./support/globals.ts";
import { printJson, printLine } from "./support/stdout.ts";

export default command({
  meta: { name: "version", description: "Show the version" },
  args: { ...jsonArg },
  extras: {
    see: ["doctor"],
    topic: "operations",
    examples: [{ command: "cdktr version --json", does: "what it was built from, for a bug report" }],
  },
  async run({ args }) {
    if (!args.json) return printLine(VERSION);
    await printJson({
      version: VERSION,
      protocol: (await import("../protocol/version.ts")).PROTOCOL,
      schemas: await schemas(),
      compiled: BUILD_FACTS !== null,
      ...BUILD_FACTS,
      bun: Bun.version,
      platform: `${process.platform}-${process.arch}`,
    });
  },
});

/** The newest schema of each file that this cdktr keeps. */
async function schemas() {
  const [state, history, outbox, triggers] = await Promise.all([
    import("../storage/operational-schema.ts"),
    import("../storage/history-migrations.ts"),
    import("../agent/outbox.ts"),
    import("../events/trigger-buffer.ts"),
  ]);
  return {
    "state.db": state.STATE_MIGRATIONS.length,
    "app.db": history.HISTORY_MIGRATIONS.length,
    "outbox.db": outbox.OUTBOX_MIGRATIONS.length,
    "triggers.db": triggers.TRIGGER_BUFFER_MIGRATIONS.length,
  };
}
