import { CdktrError } from "../../errors.ts";

/** A process that does the work of a task. No shell takes part: `argv` is what the program sees. */
export interface Command {
  readonly argv: readonly [string, ...string[]];
  /** Absolute. */
  readonly cwd: string;
  /** The whole environment. */
  readonly env: Readonly<Record<string, string>>;
}

/** What an executor knows of the place where a task runs. */
export interface ExecutionContext {
  /** The agent's own working directory: where relative working directories start. */
  readonly directory: string;
  /** The environment of the task. */
  readonly environment: Readonly<Record<string, string>>;
}

/** Turns the configuration of one task type into what is to be executed. */
export interface Executor<Config> {
  /** @throws CannotStartError when it is clear already that it cannot start */
  command(config: Config, context: ExecutionContext): Command;
}

/** A task could not be started; the message is the reason, the hint what to do. */
export class CannotStartError extends CdktrError {}
