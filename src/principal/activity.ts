/**
 * Recent events of the principal: what its services log, kept in memory for clients that ask for it (`LSEVENTS`). Everything that is
 * worth a line on stderr is also shown in the terminal UI.
 */
import { type ConsolaInstance, createConsola, LogLevels, type LogObject } from "consola";
import type { Clock } from "../clock.ts";
import type { ActivityEvent, ListEvents } from "../contract/messages.ts";
import { wordsOf } from "../log.ts";

/** Number of events to keep; the oldest are dropped. */
const CAPACITY = 1000;
const LONGEST_MESSAGE = 4000;

/** The latest events of this principal process. */
export class Activity {
  readonly #clock: Clock;
  readonly #events: ActivityEvent[] = [];
  #seq = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** A logger that logs to `log` and records every line from INFO on, whatever the level of `log` is. */
  listeningTo(log: ConsolaInstance): ConsolaInstance {
    return createConsola({
      ...log.options,
      level: Math.max(log.level, LogLevels.info),
      reporters: [
        {
          log: (line, context) => {
            if (line.level <= LogLevels.info) this.#add(line);
            if (line.level > log.level) return;
            for (const reporter of log.options.reporters) reporter.log(line, context);
          },
        },
      ],
    });
  }

  /** Events after `after`, oldest first; if there are more than `limit`, the newest ones. */
  list({ after = 0, limit }: ListEvents): ActivityEvent[] {
    return this.#events.filter((event) => event.seq > after).slice(-limit);
  }

  #add(line: LogObject): void {
    const message = wordsOf(line.args.map((arg) => (arg instanceof Error ? arg.message : arg)));
    this.#events.push({
      seq: ++this.#seq,
      timestamp_ms: this.#clock.now(),
      kind: line.tag === "" ? "principal" : line.tag,
      level: line.level <= LogLevels.error ? "ERROR" : line.level <= LogLevels.warn ? "WARN" : "INFO",
      message: message.slice(0, LONGEST_MESSAGE),
    });
    if (this.#events.length > CAPACITY) this.#events.shift();
  }
}
