import type { LogLevel } from "../../contract/log-line.ts";
import type { Outputs } from "../../contract/outputs.ts";
import { CdktrError } from "../../errors.ts";
import type { RegularFile } from "../../host/regular-file.ts";
import type { ResponseValues } from "../../workflow/expressions.ts";

export type { ResponseValues } from "../../workflow/expressions.ts";

/** The command that does the work of a task. No shell is involved: the program receives exactly `argv`. */
export interface Command {
  readonly argv: readonly [string, ...string[]];
  /** Absolute. */
  readonly cwd: string;
  /** The complete environment. */
  readonly env: Readonly<Record<string, string>>;
}

/** Where and how a task runs. */
export interface ExecutionContext {
  /** Where the task starts unless it says otherwise, and the base of relative working directories; see {@link Executor.startsInRunDirectory}. */
  readonly directory: string;
  /** The environment of the task. */
  readonly environment: Readonly<Record<string, string>>;
  /** The file with its {@link Executor.script}; absolute. */
  readonly script?: string | undefined;
  /** The file with the {@link Executor.preload}; absolute. */
  readonly preload?: string | undefined;
}

/** What a task executes, if its workflow file has it inline. */
export interface Script {
  readonly text: string;
  /** How the name of its file ends, such as `.sh`. */
  readonly ending: string;
  /** It finds other files by where its own is, such as modules: its file is in the directory in which the task starts by default. */
  readonly isAmongFiles?: boolean;
}

/** Turns the configuration of one task type into a command. */
export interface Executor<Config> {
  /** The script, which becomes a private file before the command is asked for; null if this task has none. */
  script?(config: Config): Script | null;
  /** What the runtime executes before the task, which becomes a private file too. */
  readonly preload?: string;
  /** The least private memory of its process that the runtime starts with, bytes: it reserves more than it uses. */
  readonly leastMemory?: number;
  /** Whether the task starts in the run's own directory; by default tasks start in the agent's working directory. */
  startsInRunDirectory?(config: Config): boolean;
  /** What starting the command touches: first the working directory, then paths and names to look up in PATH. */
  touches(config: Config, context: ExecutionContext): readonly [string, ...string[]];
  /** @throws CannotStartError when it is already certain that it cannot start */
  command(config: Config, context: ExecutionContext): Command;
}

/** What a task needs that the agent performs itself. */
export interface PerformContext extends ExecutionContext {
  /** The secrets that it asked for, by name. */
  readonly secrets: Readonly<Record<string, string>>;
  /** The trace that it is part of, for whom it calls; undefined for none. */
  readonly traceparent?: string | undefined;
  /** Aborted when the task is to end. */
  readonly signal: AbortSignal;
  /** Adds a line to its log. */
  say(level: LogLevel, text: string): void;
  /** Reads a file that its config names; a relative path starts at the agent's working directory. */
  read(path: string, maxBytes: number): Promise<RegularFile>;
  /**
   * Evaluates an expression about a response.
   * @throws ExpressionError
   */
  evaluate(template: string, response: ResponseValues): { readonly value: unknown; readonly source: string };
}

/** How a task ended that the agent has performed. */
export interface Performed {
  /** Why it failed; null if it did not. */
  readonly error: string | null;
  readonly outputs: Outputs | null;
}

/** Performs the tasks of one type in the agent's own process. */
export interface Performer<Config> {
  /** The names of the secrets that it needs. */
  secrets(config: Config): readonly string[];
  /** @throws CannotStartError */
  perform(config: Config, context: PerformContext): Promise<Performed>;
}

/** A task could not be started; the message is the reason, the hint says what to do. */
export class CannotStartError extends CdktrError {}
