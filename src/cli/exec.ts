import { basename } from "node:path";
import { type CommandEnd, CommandRun, shellStatus } from "../agent/command-run.ts";
import { withJoinedPrincipal } from "../agent/join.ts";
import type { LogLine } from "../contract/log-line.ts";
import { CdktrError, errorMessage, UsageError } from "../errors.ts";
import { keepDataPrivate } from "../host/private-data.ts";
import { drainLog, log, setLogLevel } from "../log.ts";
import { workflowIdOrNull } from "../workflow/workflow-id.ts";
import { hostAndPort } from "../zmq/endpoint.ts";
import { command } from "./support/command.ts";
import { settings } from "./support/connect.ts";
import { principalArg } from "./support/globals.ts";
import { say } from "./support/report.ts";
import { onStopSignals } from "./support/signals.ts";
import { writeStdout } from "./support/stdout.ts";
import { styleFor } from "./support/style.ts";
import { TaskOutput } from "./support/task-output.ts";

export default command({
  meta: { name: "exec", description: "Run a command here, and record it in the history" },
  args: {
    name: {
      type: "string",
      valueHint: "N",
      description: "The workflow of the run in the history (else the name of the program)",
    },
    "agent-data": {
      type: "string",
      valueHint: "DIR",
      description: "Directory for what cannot be delivered yet (else CDKTR_APP_DATA_DIRECTORY)",
    },
    ...principalArg,
  },
  extras: {
    rest: "COMMAND",
    restDescription: "The command, after --",
    exit: { 0: "the command succeeded", 1: null, 3: null, 4: null },
    details: `For a line of somebody else's cron, or a timer: the command runs here and now, as without cdktr, with its output on stdout and stderr and its own exit status (127: it could not be started; 128 and the number of the signal that ended it). Its output, exit status, duration, memory and processor time become a run of the history, which the principal knows while it runs: 'cdktr runs list', 'cdktr logs tail', 'cdktr runs cancel'.

      While the principal is away the command runs all the same. What there is to tell waits on the disk: the next 'cdktr exec', or the agent that uses the same directory, delivers it.`,
    topic: "exec",
    see: ["runs list", "logs query"],
    examples: [
      { command: "cdktr exec -- /usr/local/bin/backup.sh --full", does: "the run is one of backup.sh" },
      {
        command: "cdktr exec --name nightly.backup -- rsync -a /srv /backup",
        does: "… of nightly.backup",
      },
      {
        command: "cdktr exec --name report -- sh -c 'make report | mail -s report ops'",
        does: "a line for a shell",
      },
    ],
  },
  async run({ args }) {
    const [program, ...rest] = args._;
    if (program === undefined || program === "")
      throw new UsageError("There is no command to run.", {
        hint: "It comes after --: cdktr exec --name backup -- /usr/local/bin/backup.sh --full",
      });
    const workflowId = idOf(args.name, program);
    const config = withJoinedPrincipal(
      settings(args.principal, { CDKTR_APP_DATA_DIRECTORY: args["agent-data"] }),
    );
    // What the agent in this process says is not of the command.
    setLogLevel(config.CDKTR_LOG_LEVEL === "INFO" ? "ERROR" : config.CDKTR_LOG_LEVEL);
    const argv = [program, ...rest] as const;
    const output = new TaskOutput(print);
    let end: CommandEnd;
    try {
      keepDataPrivate(config.CDKTR_APP_DATA_DIRECTORY, null, log);
      const run = new CommandRun({ config, workflowId, argv, output });
      const ignoreSignals = onStopSignals(() => run.cancel());
      end = await run.run();
      ignoreSignals();
    } catch (error) {
      if (!(error instanceof CdktrError)) throw error;
      warn(`The run cannot be recorded: ${errorMessage(error)} The command runs without that.`);
      return await withoutRecord(argv);
    }
    await output.drained();
    if (!end.isDelivered)
      warn(
        `The principal at ${hostAndPort(config.CDKTR_PRINCIPAL_HOST, config.CDKTR_PRINCIPAL_PORT)} does not have all of this run yet: it waits in ${config.CDKTR_APP_DATA_DIRECTORY}, and the next 'cdktr exec', or the agent of this directory, delivers it.`,
      );
    await drainLog();
    return end.status;
  },
});

/** @throws UsageError */
function idOf(name: string | undefined, program: string): string {
  const id = name ?? basename(program).replace(/[^A-Za-z0-9_.-]/g, "-");
  if (workflowIdOrNull(`${id}.yml`) !== null) return id;
  throw new UsageError(
    name === undefined
      ? `${JSON.stringify(basename(program))} cannot be the name of a workflow.`
      : `--name ${name}: that cannot be the name of a workflow.`,
    {
      hint: "Use --name with letters, digits, '_', '-' and '.', at most 200, which begins with a letter, a digit or '_': --name nightly.backup",
    },
  );
}

/** What the command has written to stdout is of level INFO. The rest is of its stderr, or about it. */
async function print({ level, payload }: LogLine): Promise<void> {
  if (level === "INFO") await writeStdout(`${payload}\n`);
  else say(payload);
}

function warn(text: string): void {
  say(`${styleFor("stderr").yellow("warning:")} ${text}`);
}

/** Runs the command as without cdktr. Returns its exit status. */
async function withoutRecord(argv: readonly string[]): Promise<number> {
  try {
    const child = Bun.spawn([...argv], { stdio: ["ignore", "inherit", "inherit"] });
    const ignoreSignals = onStopSignals(() => child.kill("SIGTERM"));
    await child.exited;
    ignoreSignals();
    return shellStatus(child.exitCode, child.signalCode === null ? null : String(child.signalCode));
  } catch (error) {
    say(`cdktr exec: ${errorMessage(error)}`);
    return shellStatus(null, null);
  }
}
