import { writeSync } from "node:fs";
import { withJoinedPrincipal } from "../agent/join.ts";
import type { Config, LoadedConfig } from "../config.ts";
import { examine } from "../doctor/doctor.ts";
import type { Finding, Severity } from "../doctor/finding.ts";
import { ConfigError } from "../errors.ts";
import { plainText } from "../terminal/foreign-text.ts";
import { fit, wrapProse } from "../terminal/text.ts";
import { command } from "./support/command.ts";
import { misspelt, settings } from "./support/connect.ts";
import { plural } from "./support/format.ts";
import { jsonArg, principalArg } from "./support/globals.ts";
import { say } from "./support/report.ts";
import { printJson, printLine } from "./support/stdout.ts";
import { isTerminal, type Style, styleFor, terminalWidth } from "./support/style.ts";

/** Column at which the text of a finding begins. */
const COLUMN = 14;
const MARKS: Record<Severity, string> = { ok: "✓", warning: "!", error: "✗" };

export default command({
  meta: { name: "doctor", description: "Find problems on this host and how to fix them" },
  args: { ...jsonArg, ...principalArg },
  extras: {
    exit: { 0: "No errors (there may be warnings)", 1: "Something does not work", 3: null },
    see: ["config list", "service status"],
    details:
      "Checks the settings, the ports, the connection to the principal, clock skew, versions, the history database, disk space, permissions and keys, file descriptors, the C and C++ libraries, and uv. For each problem it says what is wrong, why that matters, and how to fix it.",
    topic: "operations",
    examples: [
      { command: "cdktr doctor", does: "on the host of a principal or an agent" },
      { command: "cdktr doctor --principal 10.0.0.5:5561", does: "can an agent here reach that principal?" },
      {
        command: "cdktr doctor --json | jq '.findings[] | select(.severity != \"ok\")'",
        does: "for a program",
      },
    ],
  },
  async run({ args }) {
    const progress = args.json ? () => {} : progressLine();
    const findings = await examineWith(args.principal, progress);
    progress("");
    const count = (severity: Severity) => findings.filter((finding) => finding.severity === severity).length;
    const errors = count("error");
    if (args.json) await printJson({ ok: errors === 0, findings });
    else {
      const style = styleFor("stdout");
      const width = Math.min(terminalWidth(), 100);
      for (const finding of findings) await printFinding(finding, style, width);
      const warnings = count("warning");
      say(
        errors + warnings === 0
          ? "All is well."
          : [errors, warnings]
              .map((number, i) => (number === 0 ? "" : plural(number, i === 0 ? "error" : "warning")))
              .filter((text) => text !== "")
              .join(", "),
      );
    }
    return errors === 0 ? 0 : 1;
  },
});

/** Reports an invalid setting as a finding: it has to be fixed first. */
async function examineWith(
  principal: string | undefined,
  progress: (what: string) => void,
): Promise<Finding[]> {
  try {
    const loaded = settings(principal);
    const warnings = misspelt(loaded).map(
      ({ name, source, near }): Finding => ({
        check: "settings",
        severity: "warning",
        message: `${name} (${source}) is no setting of cdktr.`,
        why: "It has no effect.",
        remedy: `Did you mean ${near}? 'cdktr config list' shows all settings.`,
      }),
    );
    return [...warnings, ...(await examine(joined(loaded), progress))];
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return [
      {
        check: "settings",
        severity: "error",
        message: error.message,
        why: "No cdktr command works with this setting.",
        remedy: error.hint ?? "See 'cdktr docs configuration'.",
      },
    ];
  }
}

/** Reads the settings like an agent: on a host that has joined, the principal's address is stored with the key. */
function joined(loaded: LoadedConfig): Config {
  try {
    return withJoinedPrincipal(loaded);
  } catch {
    // Problems with the key are reported by a later check.
    return loaded.values;
  }
}

/** Shows what is being checked, on a line that disappears afterwards; prints nothing without a terminal. */
function progressLine(): (what: string) => void {
  if (!isTerminal("stderr")) return () => {};
  const style = styleFor("stderr");
  return (what) =>
    writeSync(2, `\r\x1b[K${what === "" ? "" : style.dim(fit(`${what} …`, terminalWidth() - 1))}`);
}

async function printFinding(
  { check, severity, message, why, remedy }: Finding,
  style: Style,
  width: number,
): Promise<void> {
  const paint = { ok: style.green, warning: style.yellow, error: style.red }[severity];
  const column = " ".repeat(COLUMN);
  const wrapped = (text: string, indent: number) =>
    wrapProse(plainText(text), Math.max(20, width - COLUMN - indent));
  const [first = "", ...rest] = wrapped(message, 0);
  await printLine(`${paint(MARKS[severity])} ${style.bold(check.padEnd(COLUMN - 3))} ${first}`);
  for (const line of rest) await printLine(`${column}${line}`);
  if (why !== null) for (const line of wrapped(why, 0)) await printLine(`${column}${style.dim(line)}`);
  if (remedy === null) return;
  for (const [i, line] of wrapped(remedy, 2).entries())
    await printLine(`${column}${i === 0 ? style.cyan("→") : " "} ${line}`);
}
