/** What cdktr says about itself: one line an event, on stderr, through consola. */
import { type ConsolaInstance, createConsola, LogLevels } from "consola";

const LEVELS = { DEBUG: LogLevels.debug, INFO: LogLevels.info, WARN: LogLevels.warn, ERROR: LogLevels.error };

/** The logger of the process; `log.withTag("scheduler")` names the room that speaks. */
export const log: ConsolaInstance = createConsola({
  level: LEVELS.INFO,
  stdout: process.stderr,
  stderr: process.stderr,
  formatOptions: { date: false },
});

/** Applies `CDKTR_LOG_LEVEL`. */
export function setLogLevel(level: keyof typeof LEVELS): void {
  log.level = LEVELS[level];
}
