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
      compiled: BUILD_FACTS !== null,
      ...BUILD_FACTS,
      bun: Bun.version,
      platform: `${process.platform}-${process.arch}`,
    });
  },
});
