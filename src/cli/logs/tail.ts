import { InvalidInputError, UsageError } from "../../errors.ts";
import type { LogLine } from "../../protocol/log-frames.ts";
import type { SearchLogs } from "../../protocol/messages.ts";
import { command } from "../support/command.ts";
import { type Connection, withPrincipal } from "../support/connect.ts";
import { LiveLog } from "../support/live-log.ts";
import { logArgs, readLogFilter, withRun } from "../support/log-filter.ts";
import { LogText, lineKey } from "../support/log-text.ts";
import { say } from "../support/report.ts";
import { searchPages } from "../support/search-pages.ts";
import { flushStdout, printLine } from "../support/stdout.ts";

const DEFAULT_LINES = 10;

export default command({
  meta: { name: "tail", description: "Follow log lines as they are written" },
  args: logArgs,
  extras: {
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
      const live = new LiveLog(connection, search.workflow_id);
      const stop = () => live.close();
      process.once("SIGINT", stop);
      process.once("SIGTERM", stop);
      const timer = closeAt(live, search.until_ms);
      try {
        if (!(await live.connect(connection.config.CDKTR_DEFAULT_ZMQ_TIMEOUT_MS))) {
          say(`warning: no live log from ${live.endpoint} yet; waiting for it.`);
        }
        const history: LogLine[] = [];
        if (limit !== 0) {
          for await (const lines of searchPages(connection, search, limit)) {
            text.expect(lines);
            for (const line of lines) await print(line);
            history.push(...lines);
            // They are kept to join the two, and the join concerns the newest.
            history.splice(0, Math.max(0, history.length - JOINED));
          }
        }
        await flushStdout();
        const join = new Join(history, limit !== undefined && limit !== 0);
        for (const line of live.closed ? [] : live.takeArrived()) {
          if ((await wanted(line)) && join.isNew(line)) await print(line);
        }
        await flushStdout();
        join.arrivedIsOver();
        for await (const lines of live.batches()) {
          for (const line of lines) if ((await wanted(line)) && join.isNew(line)) await print(line);
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

/** So many lines of the history are remembered to recognise them in the live log. */
const JOINED = 200_000;

/** Joins the live log to the history that was printed before: tells which live lines are new. */
class Join {
  readonly #printed = new Map<bigint | number, number>();
  /** Lines that came before the history was read and are older than what was printed of it lie beyond `-n`. */
  #oldest: number;

  constructor(history: readonly LogLine[], cut: boolean) {
    for (const line of history) {
      const key = lineKey(line);
      this.#printed.set(key, (this.#printed.get(key) ?? 0) + 1);
    }
    this.#oldest = cut ? (history[0]?.timestamp_ms ?? 0) : 0;
  }

  isNew(line: LogLine): boolean {
    if (line.timestamp_ms < this.#oldest) return false;
    const key = lineKey(line);
    const count = this.#printed.get(key) ?? 0;
    if (count === 0) return true;
    if (count === 1) this.#printed.delete(key);
    else this.#printed.set(key, count - 1);
    return false;
  }

  /** From now on a line may be older than all others and still be new: an agent was cut off. */
  arrivedIsOver(): void {
    this.#oldest = 0;
  }
}

function closeAt(live: LiveLog, until: number | undefined): Timer | undefined {
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
