import { BUILD_FACTS, VERSION } from "../build-facts.ts";
import { UnprocessableError } from "../errors.ts";
import { command } from "./support/command.ts";
import { jsonArg } from "./support/globals.ts";
import { printJson, printLine, writeStdout } from "./support/stdout.ts";

export default command({
  meta: { name: "version", description: "Show the version" },
  args: {
    licenses: {
      type: "boolean",
      description: "Print the licenses of everything that is inside, with their texts",
    },
    sbom: { type: "boolean", description: "Print the bill of materials of what is inside (CycloneDX, JSON)" },
    ...jsonArg,
  },
  extras: {
    see: ["doctor"],
    topic: "operations",
    examples: [
      { command: "cdktr version --json", does: "what it was built from, for a bug report" },
      { command: "cdktr version --licenses | less", does: "whose work is inside, and on what terms" },
      { command: "cdktr version --sbom > cdktr.cdx.json", does: "for a scanner of dependencies" },
    ],
  },
  async run({ args }) {
    if (args.licenses || args.sbom) return writeStdout(await carried(args.licenses ? "licenses" : "sbom"));
    if (!args.json) return printLine(VERSION);
    await printJson({
      version: VERSION,
      protocol: (await import("../contract/version.ts")).PROTOCOL,
      schemas: await schemas(),
      compiled: BUILD_FACTS !== null,
      ...BUILD_FACTS,
      bun: Bun.version,
      platform: `${process.platform}-${process.arch}`,
    });
  },
});

/** The newest schema version of each file that this cdktr writes. */
async function schemas() {
  const [state, history, outbox, triggers] = await Promise.all([
    import("../storage/operational/sqlite/schema.ts"),
    import("../history/database/migrations.ts"),
    import("../agent/outbox-file.ts"),
    import("../events/trigger-buffer.ts"),
  ]);
  return {
    "state.db": state.STATE_MIGRATIONS.length,
    "app.db": history.HISTORY_MIGRATIONS.length,
    "outbox.db": outbox.OUTBOX_MIGRATIONS.length,
    "triggers.db": triggers.TRIGGER_BUFFER_MIGRATIONS.length,
  };
}

/** A list that the build embedded in the executable. */
async function carried(list: "licenses" | "sbom"): Promise<string> {
  const { THIRD_PARTY } = await import("../third-party.ts");
  if (THIRD_PARTY !== null) return THIRD_PARTY[list];
  throw new UnprocessableError("This runs from its sources: only a compiled executable carries that list.", {
    hint: "Build it: npm run build",
  });
}
