/** What cdktr says about itself: one line an event, on stderr, through consola. */
import { formatWithOptions } from "node:util";
import { type ConsolaInstance, type ConsolaReporter, createConsola, LogLevels } from "consola";

const LEVELS = { DEBUG: LogLevels.debug, INFO: LogLevels.info, WARN: LogLevels.warn, ERROR: LogLevels.error };

/** For files and pipes: time, level, room and message. The journal of systemd adds the time itself. */
const plain: ConsolaReporter = {
  log({ level, date, tag, args }) {
    const time = process.env.JOURNAL_STREAM === undefined ? `${date.toISOString()} ` : "";
    const room = tag === "" ? "" : `[${tag}] `;
    process.stderr.write(
      `${time}${severityOf(level)} ${room}${formatWithOptions({ colors: false }, ...args)}\n`,
    );
  },
};

function severityOf(level: number): string {
  if (level <= LogLevels.error) return "ERROR";
  if (level <= LogLevels.warn) return "WARN ";
  return level < LogLevels.debug ? "INFO " : "DEBUG";
}

/** The logger of the process; `log.withTag("scheduler")` names the room that speaks. */
export const log: ConsolaInstance = createConsola({
  level: LEVELS.INFO,
  stdout: process.stderr,
  stderr: process.stderr,
  formatOptions: { date: false },
  ...(process.stderr.isTTY ? {} : { reporters: [plain] }),
});

/** Applies `CDKTR_LOG_LEVEL`. */
export function setLogLevel(level: keyof typeof LEVELS): void {
  log.level = LEVELS[level];
}
