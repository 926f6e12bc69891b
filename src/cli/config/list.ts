import { type Config, SETTINGS, type SettingName } from "../../config.ts";
import { ConfigError } from "../../errors.ts";
import { withoutJoinTokens } from "../../redaction.ts";
import { withoutPassword } from "../../storage/postgres/url.ts";
import { wrapProse } from "../../terminal/text.ts";
import { command } from "../support/command.ts";
import { settings } from "../support/connect.ts";
import { jsonArg, principalArg } from "../support/globals.ts";
import { printJson, printLine } from "../support/stdout.ts";
import { isTerminal, styleFor, terminalWidth } from "../support/style.ts";
import { renderTable } from "../support/table.ts";

/** Terminal width from which everything about a setting fits on one line. */
const WIDE = 150;

interface Row {
  readonly name: SettingName;
  readonly value: string | number;
  readonly source: string;
  readonly description: string;
  readonly bounds: string;
}

export default command({
  meta: { name: "list", description: "List every setting with its value and its source" },
  args: { ...jsonArg, ...principalArg },
  extras: {
    exit: { 3: null },
    see: ["doctor"],
    details:
      "Settings come from a .env file in the working directory, the environment, and flags; later sources override earlier ones.",
    topic: "configuration",
    examples: [
      { command: "cdktr config list", does: "the settings as a command started here sees them" },
      { command: "cdktr config list --json", does: "for a program" },
    ],
  },
  async run({ args }) {
    const { values, sources } = settings(args.principal);
    const rows = (Object.keys(SETTINGS) as SettingName[]).map(
      (name): Row => ({
        name,
        value: shownValue(values, name),
        source: sources[name],
        description: SETTINGS[name].description,
        bounds: SETTINGS[name].bounds,
      }),
    );
    if (args.json) return printJson(rows);
    const style = styleFor("stdout");
    const width = isTerminal("stdout") ? terminalWidth() : Number.POSITIVE_INFINITY;
    const isNarrow = width < WIDE;
    const table = renderTable<Row>(
      [
        { title: "SETTING", value: (row) => row.name },
        {
          title: "VALUE",
          value: (row) => String(row.value),
          flexible: true,
          paint: (row) => (row.source === "default" ? (text) => text : style.bold),
        },
        {
          title: "SOURCE",
          value: (row) => row.source,
          paint: (row) => (row.source === "default" ? style.dim : style.green),
        },
        // A truncated description is useless, so on a narrow terminal it goes below.
        ...(isNarrow ? [] : [{ title: "MEANING", value: (row: Row) => row.description, flexible: true }]),
      ],
      rows,
    );
    for (const [i, line] of table.entries()) {
      await printLine(line);
      const meaning = rows[i - 1]?.description;
      if (!isNarrow || meaning === undefined) continue;
      for (const part of wrapProse(meaning, width - 2)) await printLine(`  ${style.dim(part)}`);
    }
  },
});

/** The value; in place of one that this host cannot tell, what there is to do. */
function shownValue(values: Config, name: SettingName): string | number {
  try {
    const value = values[name];
    return typeof value === "string" ? withoutPassword(withoutJoinTokens(value)) : value;
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return `(none: ${error.hint ?? error.message})`;
  }
}
