/**
 * Runs one command as a run that no principal has ordered: `cdktr exec`. It is executed by an agent of its own in this process, which takes
 * no work, so that output, exit status and resources reach the history in the same way as those of other runs, each once. What cannot be
 * delivered stays in the outbox of that agent, and the next one of the data directory delivers it.
 */
import { constants } from "node:os";
import { basename, resolve } from "node:path";
import type { Clock } from "../clock.ts";
import type { Config } from "../config.ts";
import { COMMAND_TRIGGER } from "../contract/commands.ts";
import { commandDefinition } from "../workflow/command-definition.ts";
import type { WorkflowDefinition } from "../workflow/model.ts";
import { isEnding } from "../workflow/task-state.ts";
import { Agent } from "./agent.ts";
import { COMMANDS_SUFFIX } from "./agent-id.ts";
import type { NewReport } from "./outbox.ts";
import { OutboxLockedError } from "./outbox-file.ts";
import type { TaskSink } from "./task-context.ts";

/** Commands that may run at once on one data directory: a guard against a loop, not a practical limit. */
const MOST_AT_ONCE = 1000;
/** A command, and where its run is reported. */
export interface CommandRunOptions {
  readonly config: Config;
  /** The id of its workflow in the history. */
  readonly workflowId: string;
  readonly argv: readonly [string, ...string[]];
  /** Where it runs; the working directory of this process by default. */
  readonly directory?: string;
  /** Sees what it prints. */
  readonly output: Pick<TaskSink, "room"> & { addLines(text: string): void };
  readonly clock?: Clock;
}

/** How a command ended. */
export interface CommandEnd {
  /** What a shell would say: the exit status, 128 and the number of the signal, or 127 if it could not be started. */
  readonly status: number;
  /** Whether everything about it has reached the principal. */
  readonly isDelivered: boolean;
}

/** A command that runs. */
export class CommandRun {
  readonly id = Bun.randomUUIDv7();
  readonly #options: CommandRunOptions;
  #agent: Agent | undefined;
  #status = 1;

  constructor(options: CommandRunOptions) {
    this.#options = options;
  }

  /**
   * Runs the command, and then delivers what there is to tell of it, unless the principal does not answer.
   * @throws OutboxUnavailableError when the data directory cannot be used; the command was not started then
   */
  async run(): Promise<CommandEnd> {
    const { workflowId, clock } = this.#options;
    const agent = await this.#start();
    this.#agent = agent;
    const now = (clock?.now ?? Date.now)();
    const executed = agent.execute({
      workflow_id: workflowId,
      workflow_instance_id: this.id,
      slice: 0,
      attempt: 1,
      trigger: COMMAND_TRIGGER,
      scheduled_time_ms: null,
      created_at_ms: now,
      params: {},
      completed_tasks: [],
      workflow: definitionOf(this.#options),
    });
    agent.drain();
    await executed;
    const left = await agent.done;
    return { status: this.#status, isDelivered: left === 0 };
  }

  /** Ends the command: TERM, then KILL. */
  cancel(): void {
    this.#agent?.cancelAll();
  }

  async #start(): Promise<Agent> {
    for (let number = 1; ; number++) {
      const agent = new Agent({
        config: this.#options.config,
        suffix: number === 1 ? COMMANDS_SUFFIX : `${COMMANDS_SUFFIX}-${number}`,
        maxConcurrentWorkflows: 1,
        patienceMs: this.#options.config.CDKTR_DEFAULT_ZMQ_TIMEOUT_MS,
        seeing: (sink) => this.#seeing(sink),
        ...(this.#options.clock === undefined ? {} : { clock: this.#options.clock }),
      });
      try {
        await agent.start();
        return agent;
      } catch (error) {
        if (!(error instanceof OutboxLockedError) || number === MOST_AT_ONCE) throw error;
      }
    }
  }

  #seeing(sink: TaskSink): TaskSink {
    const { output } = this.#options;
    return {
      addLines(text, count) {
        sink.addLines(text, count);
        output.addLines(text);
      },
      room: () => sink.room() ?? output.room(),
      addReport: (report) => {
        if (report.kind === "task" && report.workflow_instance_id === this.id) this.#ended(report);
        return sink.addReport(report);
      },
      rememberProcess: (record) => sink.rememberProcess(record),
      forgetProcess: (pid) => sink.forgetProcess(pid),
    };
  }

  #ended({ status, exit_code, signal }: Extract<NewReport, { kind: "task" }>): void {
    if (isEnding(status)) this.#status = shellStatus(exit_code, signal);
  }
}

/** Exit status of a shell for a program that cannot be started. */
const CANNOT_START = 127;
/** Added to the number of a signal for the exit status of what it ended. */
const SIGNALLED = 128;

/** The exit status that a shell gives for a process that ended so; both null: it could not be started. */
export function shellStatus(exitCode: number | null, signal: string | null): number {
  if (exitCode !== null) return exitCode;
  return signal === null ? CANNOT_START : SIGNALLED + (constants.signals[signal as NodeJS.Signals] ?? 0);
}

/** The command as a workflow with one task. Its words are data: nothing in them is an expression. */
function definitionOf({
  workflowId,
  argv: [cmd, ...args],
  directory = ".",
}: CommandRunOptions): WorkflowDefinition {
  const config = { type: "Subprocess" as const, cmd, args, working_directory: resolve(directory) };
  return commandDefinition(workflowId, { id: "command", name: basename(cmd) || cmd, config });
}
