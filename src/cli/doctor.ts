import { examine } from "../doctor/doctor.ts";
import type { Finding, Severity } from "../doctor/finding.ts";
import { ConfigError } from "../errors.ts";
import { command } from "./support/command.ts";
import { settings } from "./support/connect.ts";
import { plainText, plural } from "./support/format.ts";
import { jsonArg, principalArg } from "./support/globals.ts";
import { say } from "./support/report.ts";
import { printJson, printLine } from "./support/stdout.ts";
import { type Style, styleFor } from "./support/style.ts";

const MARKS: Record<Severity, string> = { ok: "✓", warning: "!", error: "✗" };

export default command({
  meta: { name: "doctor", description: "Find what is wrong on this host, and its remedy" },
  args: { ...jsonArg, ...principalArg },
  extras: {
    details:
      "Looks at the settings, the ports, the way to the principal, the clock against its clock, versions, the history database, disk space, permissions, file descriptors, the C and C++ libraries, and uv. The exit status is 1 when something does not work, 0 when there are warnings at most.",
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
    const findings = await examineWith(args.principal);
    const count = (severity: Severity) => findings.filter((finding) => finding.severity === severity).length;
    const errors = count("error");
    if (args.json) await printJson({ ok: errors === 0, findings });
    else {
      const style = styleFor("stdout");
      for (const finding of findings) await printFinding(finding, style);
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

/** A setting that does not parse is a finding as well: the first that is to be mended. */
async function examineWith(principal: string | undefined): Promise<Finding[]> {
  try {
    return await examine(settings(principal).values);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return [
      {
        check: "settings",
        severity: "error",
        message: error.message,
        remedy: error.hint ?? "See 'cdktr docs configuration'.",
      },
    ];
  }
}

async function printFinding({ check, severity, message, remedy }: Finding, style: Style): Promise<void> {
  const paint = { ok: style.green, warning: style.yellow, error: style.red }[severity];
  await printLine(`${paint(MARKS[severity])} ${style.bold(check.padEnd(11))} ${plainText(message)}`);
  if (remedy !== null) await printLine(`${" ".repeat(14)}${style.cyan("→")} ${plainText(remedy)}`);
}
