import { VERSION } from "../../build-facts.ts";
import type { TaskConfig } from "../../workflow/model.ts";
import { bun } from "./bun.ts";
import {
  CannotStartError,
  type Command,
  type ExecutionContext,
  type Executor,
  type Performer,
  type Script,
} from "./executor.ts";
import { http } from "./http.ts";
import { shell } from "./shell.ts";
import { subprocess } from "./subprocess.ts";
import { uvPython } from "./uv-python.ts";

export {
  CannotStartError,
  type Command,
  type ExecutionContext,
  type Performed,
  type Performer,
  type ResponseValues,
  type Script,
} from "./executor.ts";

/** The kinds of tasks that no agent executes. */
type OfPrincipal = "Wait" | "Workflow" | "Approval";

/** Executors by task type; a new type needs one file and one row here. */
const EXECUTORS: {
  readonly [T in Exclude<TaskConfig["type"], OfPrincipal>]:
    | Executor<Extract<TaskConfig, { type: T }>>
    | Performer<Extract<TaskConfig, { type: T }>>;
} = {
  Subprocess: subprocess,
  UvPython: uvPython,
  Shell: shell,
  Http: http,
  Bun: bun,
};

/**
 * The command of a task.
 * @throws CannotStartError when it is already certain that it cannot start
 */
export function commandFor<C extends TaskConfig>(config: C, context: ExecutionContext): Command {
  const executor = executorOf(config);
  if (executor !== undefined) return executor.command(config, context);
  throw new CannotStartError(`This agent does not know the kind of task !${config.type}.`, {
    hint: `It is cdktr ${VERSION}; the principal is newer.`,
  });
}

/** What starting a task touches, see {@link Executor.touches}; empty for an unknown kind of task. */
export function touchedBy<C extends TaskConfig>(
  config: C,
  context: ExecutionContext,
): readonly [string, ...string[]] | undefined {
  return executorOf(config)?.touches(config, context);
}

/** The script of a task, see {@link Executor.script}; null if it has none. */
export function scriptOf<C extends TaskConfig>(config: C): Script | null {
  return executorOf(config)?.script?.(config) ?? null;
}

/** What is executed before a task, see {@link Executor.preload}. */
export function preloadOf<C extends TaskConfig>(config: C): string | undefined {
  return executorOf(config)?.preload;
}

/** The least private memory of the process of a task, see {@link Executor.leastMemory}. */
export function leastMemoryOf<C extends TaskConfig>(config: C): number {
  return executorOf(config)?.leastMemory ?? 0;
}

/** Whether a task starts in the run's own directory, see {@link Executor.startsInRunDirectory}. */
export function startsInRunDirectory<C extends TaskConfig>(config: C): boolean {
  return executorOf(config)?.startsInRunDirectory?.(config) ?? false;
}

function executorOf<C extends TaskConfig>(config: C): Executor<C> | undefined {
  const found = (EXECUTORS as Partial<Record<string, object>>)[config.type];
  return found === undefined || "perform" in found ? undefined : (found as Executor<C>);
}

/** Who performs a task in the agent's own process; undefined for one that is a command. */
export function performerOf<C extends TaskConfig>(config: C): Performer<C> | undefined {
  const found = (EXECUTORS as Partial<Record<string, object>>)[config.type];
  return found !== undefined && "perform" in found ? (found as Performer<C>) : undefined;
}
