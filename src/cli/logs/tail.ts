import { type LogLine, lineKey } from "../../contract/log-line.ts";
import type { SearchLogs } from "../../contract/messages.ts";
import { InvalidInputError, UsageError } from "../../errors.ts";
import type { LiveBatch, LogSubscription } from "../../protocol/log-subscription.ts";
import { command } from "../support/command.ts";
import { type Connection, withPrincipal } from "../support/connect.ts";
import { ExactlyOnce } from "../support/exactly-once.ts";
import { subscribe } from "../support/live-log.ts";
import { logArgs, readLogFilter, withRun } from "../support/log-filter.ts";
import { LogText } from "../support/log-text.ts";
import { say } from "../support/report.ts";
import { searchPages } from "../support/search-pages.ts";
import { flushStdout, printLine } from "../support/stdout.ts";

const DEFAULT_LINES = 10;

export default command({
  meta: { name: "tail", description: "Follow log lines as they are written" },
  args: logArgs,
  extras: {
    see: ["run"],
    completes: { workflow: "workflow", run: "run" },
    details:
      "Prints the newest lines of the history (-n, 10 of them by default; all that match with --last or --since), then every line as it is written, without gap or repetition, until Ctrl-C or --until.",
    topic: "logs-and-history",
    examples: [
      { command: "cdktr logs tail", does: "everything that is written" },
      {
        command: "cdktr logs tail --workflow etl.daily --level ERROR -n 0",
        does: "new lines of stderr of one workflow",
      },
      { command: "cdktr logs tail --json | jq .payload", does: "for a program" },
    ],
  },
  async run({ args }) {
    const filter = readLogFilter(args, Date.now());
    const bounded = filter.search.since_ms !== undefined;
    const limit = filter.limit ?? (bounded ? undefined : DEFAULT_LINES);
    const text = new LogText(args.verbose ?? false);
    const print = (line: LogLine) => printLine(args.json ? JSON.stringify(line) : text.format(line));
    const matches = matcher(filter.search);
    await withPrincipal(args, async (connection) => {
      const search = await withRun(connection, filter.search, args.run);
      const isOfTask = taskMatcher(connection, search.task);
      const wanted = async (line: LogLine) =>
        matches(line) &&
        (search.workflow_instance_id === undefined ||
          line.workflow_instance_id === search.workflow_instance_id) &&
        (await isOfTask(line));
      const live = subscribe(connection, search.workflow_id);
      const stop = () => live.close();
      process.once("SIGINT", stop);
      process.once("SIGTERM", stop);
      const timer = closeAt(live, search.until_ms);
      try {
        if (!(await live.connect(connection.config.CDKTR_DEFAULT_ZMQ_TIMEOUT_MS))) {
          say(`warning: no live log from ${live.endpoint} yet; waiting for it.`);
        }
        const tail = new Tail(wanted, print, live.connection);
        if (limit !== 0) {
          for await (const lines of searchPages(connection, search, limit)) {
            text.expect(lines);
            await tail.printHistory(lines);
          }
        }
        await tail.printArrived(
          live.closed ? [] : live.takeArrived(tail.connection),
          limit !== undefined && limit !== 0,
        );
        await flushStdout();
        for await (const batch of live.batches()) {
          if (batch.connection !== tail.connection) {
            // What was published while there was no connection is in the history.
            tail.restart(batch.connection);
            const since_ms = Math.max(search.since_ms ?? 0, tail.newestMs - OVERLAP_MS);
            for await (const lines of searchPages(connection, { ...search, since_ms })) {
              await tail.printHistory(lines);
            }
          }
          await tail.printLive(batch.lines);
          await flushStdout();
        }
      } finally {
        clearTimeout(timer);
        process.off("SIGINT", stop);
        process.off("SIGTERM", stop);
        live.close();
      }
    });
  },
});

/** So many lines are remembered to recognise them when they come again. */
const REMEMBERED = 300_000;
/** After a break the history is read from so long before the newest line: clocks of agents differ. */
const OVERLAP_MS = 60_000;

/** Prints each line once, whether it comes from the history, live, or from both. */
class Tail {
  readonly #wanted: (line: LogLine) => boolean | Promise<boolean>;
  readonly #print: (line: LogLine) => Promise<void>;
  readonly #once = new ExactlyOnce(REMEMBERED);
  #oldestMs: number | undefined;
  /** Time of the newest line that was printed; before the first one, when this began. */
  newestMs = Date.now();
  /** The connection by which the last live lines came. */
  connection: number;

  constructor(
    wanted: (line: LogLine) => boolean | Promise<boolean>,
    print: (line: LogLine) => Promise<void>,
    connection: number,
  ) {
    this.#wanted = wanted;
    this.#print = print;
    this.connection = connection;
  }

  restart(connection: number): void {
    this.connection = connection;
    this.#once.restartLive();
    this.#once.restartHistory();
  }

  async printHistory(lines: readonly LogLine[]): Promise<void> {
    this.#oldestMs ??= lines[0]?.timestamp_ms;
    for (const line of lines) if (this.#once.offerHistory(lineKey(line))) await this.#show(line);
  }

  /**
   * Prints what came live while the history was being read.
   * @param cut the history was cut to its newest lines: what is older than those lies beyond
   */
  async printArrived(batches: readonly LiveBatch[], cut: boolean): Promise<void> {
    const from = cut ? (this.#oldestMs ?? 0) : 0;
    for (const { lines } of batches) await this.printLive(lines.filter((line) => line.timestamp_ms >= from));
  }

  async printLive(lines: readonly LogLine[]): Promise<void> {
    for (const line of lines) {
      if ((await this.#wanted(line)) && this.#once.offerLive(lineKey(line))) await this.#show(line);
    }
  }

  async #show(line: LogLine): Promise<void> {
    this.newestMs = Math.max(this.newestMs, line.timestamp_ms);
    await this.#print(line);
  }
}

function closeAt(live: LogSubscription, until: number | undefined): Timer | undefined {
  if (until === undefined) return undefined;
  const left = until - Date.now();
  if (left <= 0) throw new UsageError("--until is in the past: 'cdktr logs query' searches the past.");
  return setTimeout(() => live.close(), Math.min(left, 2_147_483_647));
}

/**
 * The filters, applied here to what the publisher sends for a whole workflow.
 * @throws InvalidInputError when the regular expression is none
 */
function matcher(search: SearchLogs): (line: LogLine) => boolean {
  const { level, since_ms, until_ms, grep } = search;
  let pattern: RegExp | undefined;
  try {
    if (grep !== undefined) pattern = toRegExp(grep);
  } catch {
    throw new InvalidInputError(`--grep ${grep} is not a regular expression.`);
  }
  return (line) =>
    (level === undefined || line.level === level) &&
    (since_ms === undefined || line.timestamp_ms >= since_ms) &&
    (until_ms === undefined || line.timestamp_ms <= until_ms) &&
    (pattern === undefined || pattern.test(line.payload));
}

/** Whether a line is of the task with this id, name or task run id. Lines carry no task id: the definition of their run tells it. */
function taskMatcher(
  { client }: Connection,
  task: string | undefined,
): (line: LogLine) => boolean | Promise<boolean> {
  if (task === undefined) return () => true;
  const nameIn = new Map<string, Promise<string | undefined>>();
  return async (line) => {
    if (line.task_name === task || line.task_instance_id === task) return true;
    let name = nameIn.get(line.workflow_instance_id);
    if (name === undefined) {
      name = client.getRun(line.workflow_instance_id).then(
        (run) => run.definition?.tasks.find(({ id }) => id === task)?.name,
        () => undefined,
      );
      nameIn.set(line.workflow_instance_id, name);
    }
    return line.task_name === (await name);
  };
}

/** RE2 sets flags inside the expression, at its beginning: `(?i)refused`. */
function toRegExp(re2: string): RegExp {
  const flags = /^\(\?([ims]+)\)/.exec(re2);
  return flags === null ? new RegExp(re2, "u") : new RegExp(re2.slice(flags[0].length), `u${flags[1]}`);
}
