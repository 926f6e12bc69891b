/** cdktr's own log: one line per event, on stderr, through consola. */
import { formatWithOptions } from "node:util";
import { type ConsolaInstance, type ConsolaReporter, createConsola, LogLevels } from "consola";
import { type Priority, stderrIsJournal, withPriority } from "./host/journal.ts";
import { LogOutput } from "./log-output.ts";
import { withoutJoinTokens } from "./redaction.ts";
import { messageText } from "./terminal/foreign-text.ts";

const LEVELS = { DEBUG: LogLevels.debug, INFO: LogLevels.info, WARN: LogLevels.warn, ERROR: LogLevels.error };

const output = new LogOutput(process.stderr, (lost) =>
  lineOf(
    LogLevels.warn,
    new Date(),
    "log",
    `${lost === 1 ? "1 message was" : `${lost} messages were`} lost here: the log could not be written (its reader was gone, or the disk was full).`,
  ),
);

/** Format for files and pipes: time, level, room and message. The journal adds the time itself. */
const plain: ConsolaReporter = {
  log({ level, date, tag, args }) {
    output.write(lineOf(level, date, tag, textOf(args)));
  },
};

/** The words of a log entry without secrets, for everything that shows or keeps log entries. */
export function wordsOf(args: readonly unknown[]): string {
  return withoutJoinTokens(formatWithOptions({ colors: false }, ...args));
}

/** The message of a log entry. Text from others in it cannot control the terminal or imitate another entry. */
function textOf(args: readonly unknown[]): string {
  return messageText(wordsOf(args)).replaceAll("\n", "\n  ");
}

function lineOf(level: number, date: Date, tag: string, message: string): string {
  const time = stderrIsJournal() ? "" : `${date.toISOString()} `;
  const room = tag === "" ? "" : `[${tag}] `;
  return `${withPriority(`${time}${severityOf(level)} ${room}${message}`, priorityOf(level))}\n`;
}

function priorityOf(level: number): Priority {
  if (level <= LogLevels.error) return "error";
  if (level <= LogLevels.warn) return "warning";
  return level < LogLevels.debug ? "info" : "debug";
}

function severityOf(level: number): string {
  if (level <= LogLevels.error) return "ERROR";
  if (level <= LogLevels.warn) return "WARN ";
  return level < LogLevels.debug ? "INFO " : "DEBUG";
}

/** The logger of the process; `log.withTag("scheduler")` adds the name of the room. */
export const log: ConsolaInstance = createConsola({
  level: LEVELS.INFO,
  stdout: process.stderr,
  stderr: process.stderr,
  formatOptions: { date: false },
  ...(process.stderr.isTTY ? {} : { reporters: [plain] }),
});
if (process.stderr.isTTY) {
  log.options.reporters = log.options.reporters.map((reporter) => ({
    log: (entry, context) => reporter.log({ ...entry, args: [textOf(entry.args)] }, context),
  }));
}

/** Applies `CDKTR_LOG_LEVEL`. */
export function setLogLevel(level: keyof typeof LEVELS): void {
  log.level = LEVELS[level];
}

/** Time limit for writing the rest of the log when the process exits, ms: its reader may have stopped reading. */
const DRAIN_MS = 2000;

/** Resolves when the log is written, or the time for that is over. */
export function drainLog(): Promise<void> {
  return output.drain(DRAIN_MS);
}
