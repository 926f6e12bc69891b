import type { LogLine } from "../../contract/log-line.ts";
import type { RunDetails } from "../../contract/messages.ts";
import { errorMessage, InvalidInputError, UsageError } from "../../errors.ts";
import type { PrincipalClient } from "../../protocol/client.ts";
import { LogFollower } from "../../protocol/log-follower.ts";
import { searchPages } from "../../protocol/log-search.ts";
import type { LogSubscription } from "../../protocol/log-subscription.ts";
import { Timer } from "../../timer.ts";
import { allTasks } from "../../workflow/hooks.ts";
import { RUN_TRANSITIONS } from "../../workflow/run-state.ts";
import { isTerminal } from "../../workflow/status.ts";
import { command } from "../support/command.ts";
import { type Connection, principalNow, withPrincipal } from "../support/connect.ts";
import { askPatiently, subscribe } from "../support/live-log.ts";
import { logArgs, readLogFilter, withRun } from "../support/log-filter.ts";
import { LogText } from "../support/log-text.ts";
import { say } from "../support/report.ts";
import { flushStdout, jsonLine, printLine } from "../support/stdout.ts";
import { refuseUnknownNames } from "../support/unknown-names.ts";

const DEFAULT_LINES = 10;

export default command({
  meta: { name: "tail", description: "Follow log lines as they are written" },
  args: logArgs,
  extras: {
    see: ["run"],
    completes: { workflow: "workflow", run: "run" },
    details:
      "Prints the newest lines of the history (-n, 10 of them by default; all that match with --last or --since), then every line as it is written, without gap or repetition, until Ctrl-C or --until. For a run that is over it prints what there is and ends.",
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
    const pattern = args.grep === undefined ? undefined : toRegExp(args.grep);
    await withPrincipal(args, async (connection) => {
      const search = await withRun(connection, readLogFilter(args, principalNow()).search, args.run);
      await refuseUnknownNames(connection.client, search);
      const show = async (lines: readonly LogLine[]) => {
        text.expect(lines);
        for (const line of lines) await printLine(args.json ? jsonLine(line) : text.format(line));
        await flushStdout();
      };
      const over = await overRun(connection.client, search.workflow_instance_id);
      if (over !== undefined) {
        for await (const { lines } of searchPages(askPatiently(connection), search, limit)) await show(lines);
        say(`Run ${over.workflow_instance_id} is over (${over.status}): it prints nothing more.`);
        return;
      }
      const live = subscribe(connection, search.workflow_id);
      const stop = () => live.close();
      process.once("SIGINT", stop);
      process.once("SIGTERM", stop);
      const timer = closeAt(live, search.until_ms);
      try {
        if (!(await live.connect(connection.config.CDKTR_DEFAULT_ZMQ_TIMEOUT_MS))) {
          say(`warning: no live log from ${live.endpoint} yet; waiting for it.`);
        }
        const follower = new LogFollower({
          live,
          ask: askPatiently(connection),
          search,
          matches: matcher(connection, pattern, search.task),
          limit,
          failed: (error) => say(`warning: the history cannot be read now: ${errorMessage(error)}`),
        });
        for await (const lines of follower.lines()) await show(lines);
      } finally {
        timer?.cancel();
        process.off("SIGINT", stop);
        process.off("SIGTERM", stop);
        live.close();
      }
    });
  },
});

/** The run, if it is over. */
async function overRun(client: PrincipalClient, id: string | undefined): Promise<RunDetails | undefined> {
  if (id === undefined) return undefined;
  const run = await client.getRun(id);
  return isTerminal(RUN_TRANSITIONS, run.status) ? run : undefined;
}

function closeAt(live: LogSubscription, until: number | undefined): Timer | undefined {
  if (until === undefined) return undefined;
  const left = until - principalNow();
  if (left <= 0) throw new UsageError("--until is in the past: 'cdktr logs query' searches the past.");
  const timer = new Timer(() => live.close());
  timer.in(left);
  return timer;
}

/** Applies `--grep` and `--task` to live lines. Lines carry no task id, so it is looked up in the definition of their run. */
function matcher(
  { client }: Connection,
  pattern: RegExp | undefined,
  task: string | undefined,
): (line: LogLine) => boolean | Promise<boolean> {
  const nameIn = new Map<string, Promise<string | undefined>>();
  return (line) => {
    if (pattern !== undefined && !pattern.test(line.payload)) return false;
    if (task === undefined || isCalled(line, task) || line.task_instance_id === task) return true;
    let name = nameIn.get(line.workflow_instance_id);
    if (name === undefined) {
      name = client.getRun(line.workflow_instance_id).then(
        (run) => {
          const found = (run.definition === null ? [] : allTasks(run.definition)).find(
            ({ id }) => id === task || task.startsWith(`${id}[`),
          );
          return found && found.name + task.slice(found.id.length);
        },
        () => undefined,
      );
      nameIn.set(line.workflow_instance_id, name);
    }
    return name.then((found) => found !== undefined && isCalled(line, found));
  };
}

/** Whether a line is of a task of this name, or of an item of a fan-out of this name. */
function isCalled({ task_name }: LogLine, name: string): boolean {
  return task_name === name || task_name.startsWith(`${name}[`);
}

/**
 * RE2 sets flags inside the expression, at its beginning: `(?i)refused`.
 * @throws InvalidInputError when it is not a regular expression
 */
function toRegExp(re2: string): RegExp {
  const flags = /^\(\?([ims]+)\)/.exec(re2);
  try {
    return flags === null ? new RegExp(re2, "u") : new RegExp(re2.slice(flags[0].length), `u${flags[1]}`);
  } catch {
    throw new InvalidInputError(`--grep ${re2} is not a regular expression.`);
  }
}
