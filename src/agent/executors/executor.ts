import { CdktrError } from "../../errors.ts";

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
  /** The agent's own working directory: the base of relative working directories. */
  readonly directory: string;
  /** The environment of the task. */
  readonly environment: Readonly<Record<string, string>>;
}

/** Turns the configuration of one task type into a command. */
export interface Executor<Config> {
  /** What starting the command touches: first the working directory, then paths and names to look up in PATH. */
  touches(config: Config, context: ExecutionContext): readonly [string, ...string[]];
  /** @throws CannotStartError when it is already certain that it cannot start */
  command(config: Config, context: ExecutionContext): Command;
}

/** A task could not be started; the message is the reason, the hint says what to do. */
export class CannotStartError extends CdktrError {}
