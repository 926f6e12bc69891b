import type { TaskConfig } from "../../workflow/model.ts";
import type { Command, ExecutionContext, Executor } from "./executor.ts";
import { subprocess } from "./subprocess.ts";
import { uvPython } from "./uv-python.ts";

export { CannotStartError, type Command, type ExecutionContext } from "./executor.ts";

/** From task type to executor; a new type is one file and one row here. */
const EXECUTORS: { readonly [T in TaskConfig["type"]]: Executor<Extract<TaskConfig, { type: T }>> } = {
  Subprocess: subprocess,
  UvPython: uvPython,
};

/**
 * What is to be executed for a task.
 * @throws CannotStartError when it is clear already that it cannot start
 */
export function commandFor<C extends TaskConfig>(config: C, context: ExecutionContext): Command {
  const executor = EXECUTORS[config.type] as unknown as Executor<C>;
  return executor.command(config, context);
}
