/** The import report: every line of a crontab and what became of it. */
import { escapedText } from "../../terminal/foreign-text.ts";
import type { CrontabImport, LineOutcome } from "./import-crontab.ts";
import { leftLines } from "./import-crontab.ts";

/** The report as Markdown; `directory` is where the workflow files are. */
export function importReport(imported: CrontabImport, directory: string): string {
  const { source, workflows, lines } = imported;
  const left = leftLines(imported);
  const enabled = workflows.filter(({ disabled }) => !disabled).length;
  const disabled = workflows.length - enabled;
  const notes = lines.filter((line) => line.notes.length > 0);
  const sections = [
    `# Import of ${source}

${count(enabled, "job")} became ${enabled === 1 ? "a workflow" : "workflows"} in \`${directory}/\`${disabled === 0 ? "" : `, ${count(disabled, "commented-out job")} ${disabled === 1 ? "a workflow" : "workflows"} that never ${disabled === 1 ? "fires" : "fire"}`}. ${left.length === 0 ? "Every line was translated." : `${count(left.length, "line")} could not be translated.`}

The crontab itself was not changed: **its jobs still run.** Remove them (\`crontab -e\`) before the principal fires the workflows, or they run twice.`,
  ];
  if (left.length > 0) {
    sections.push(
      `## Not translated\n\n${left.map((line) => `${quoteLine(line)}\n${capital(line.detail)}.`).join("\n\n")}`,
    );
  }
  if (imported.notes.length > 0) {
    sections.push(`## The crontab as a whole\n\n${imported.notes.map((note) => `- ${note}`).join("\n")}`);
  }
  if (notes.length > 0) {
    sections.push(
      `## To check\n\n${notes.map((line) => `${quoteLine(line)}\n${line.notes.join("\n")}`).join("\n\n")}`,
    );
  }
  sections.push(`## As with cron, and otherwise

- The command runs in the same shell, in the same directory (\`HOME\`), at the same times if the principal is in the time zone of this host (${imported.zone}): where no \`timezone\` is given, a workflow follows the principal's. Missed firings are not caught up (\`catchup: none\`), and jobs are not rerun when a host dies (\`failover: never\`); both can be changed in each file.
- What a command puts into the background (\`&\`, \`nohup\`, \`setsid\`) runs on, and the run ends when that has ended (\`background: wait\`). For a daemon that is to stay, write \`background: leave\`.
- What a job prints is in its log instead of a mail; a status other than 0 makes the run FAILED.${
    imported.channels.length === 0
      ? ""
      : ` Whom \`MAILTO\` names gets a mail then, and when the next run completes (\`notify\` of the workflows, \`channels\` in \`_cdktr.yml\`: \`cdktr docs channels\`).`
  }
- Variables that the crontab does not set come from the agent: its \`PATH\` is usually longer than cron's \`/usr/bin:/bin\`.
- When the clock is put forward or back, a job with one fixed time a day runs once, as with cron. A job with several fixed times (\`0,30 2 * * *\`) follows the clock, whereas cron would catch up on skipped times and not repeat doubled ones.`);
  sections.push(`## Every line\n\n~~~text\n${lines.map(lineOf).join("\n")}\n~~~`);
  return `${sections.join("\n\n")}\n`;
}

function quoteLine({ number, text }: LineOutcome): string {
  return `Line ${number}:\n\n    ${escapedText(text)}\n`;
}

function lineOf(line: LineOutcome): string {
  const what: Record<LineOutcome["outcome"], string> = {
    workflow: line.detail,
    disabled: `${line.detail} (never fires)`,
    environment: line.detail,
    comment: "comment",
    blank: "blank",
    left: "NOT TRANSLATED",
  };
  return `${String(line.number).padStart(4)}  ${what[line.outcome].padEnd(24)}  ${escapedText(line.text)}`.trimEnd();
}

function count(number: number, noun: string): string {
  return `${number} ${noun}${number === 1 ? "" : "s"}`;
}

function capital(text: string): string {
  return text.startsWith("cdktr ") ? text : text.charAt(0).toUpperCase() + text.slice(1);
}
