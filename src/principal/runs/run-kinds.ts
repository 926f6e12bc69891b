/** The kinds of tasks that the principal carries out itself: what they wait for. A new one needs a row here. */
import { errorMessage } from "../../errors.ts";
import type { OperationalTx, RunRecord, WaitRecord } from "../../storage/operational/store.ts";
import { expressionsOf, type TaskResult } from "../../workflow/expressions.ts";
import type { TaskConfig, TaskDefinition } from "../../workflow/model.ts";
import { factsOf } from "../../workflow/run-facts.ts";
import { beginChildRun } from "./child-runs.ts";
import type { RunProgress } from "./progress-of-runs.ts";

/** What a task waits for. */
export type RunWait = Pick<WaitRecord, "kind" | "due_ms" | "data">;

/** A kind of task. */
interface RunKind<Config> {
  /** The task begins to wait. @param at ms since the epoch */
  begin(config: Config, at: number, task: TaskDefinition): RunWait;
}

const KINDS: { readonly [T in TaskConfig["type"]]?: RunKind<Extract<TaskConfig, { type: T }>> } = {
  Wait: {
    begin: ({ for_ms, until_ms }, at) => ({
      kind: "time",
      due_ms: for_ms === undefined ? (until_ms ?? at) : at + for_ms,
      data: "{}",
    }),
  },
  Workflow: {
    begin: (config, at, task) => ({ kind: "run", due_ms: at, data: beginChildRun(config, task) }),
  },
};

/**
 * What a task waits for that begins at this time.
 * @param at ms since the epoch
 * @throws Error for a kind that agents execute
 */
export function beginWait(task: TaskDefinition, at: number): RunWait {
  const { config } = task;
  const kind = (KINDS as Partial<Record<string, unknown>>)[config.type] as RunKind<TaskConfig> | undefined;
  if (kind === undefined) throw new Error(`the principal does not carry out tasks of kind !${config.type}`);
  return kind.begin(config, at, task);
}

/**
 * A task that begins to wait, with the values of its expressions; or why one has no value. Part of a unit of work.
 * @param id of its node
 */
export async function waitingTask(
  tx: OperationalTx,
  run: RunRecord,
  { definition, progress, items }: RunProgress,
  id: string,
): Promise<{ readonly task: TaskDefinition } | { readonly error: string }> {
  const node = progress.node(id);
  const task = definition.tasks.find((each) => each.id === (node?.item?.task ?? id));
  if (task === undefined) throw new Error(`there is no task "${id}"`);
  if (definition.language === undefined) return { task };
  const reads = [...(node?.reads ?? [])];
  const outputs = await tx.outputsOf(run.workflow_instance_id, reads);
  const known = progress.results(reads);
  const results = (read: string): TaskResult | undefined => {
    const end = known[read];
    const published = outputs.get(read);
    return (
      end && {
        ...end,
        outputs: published === undefined ? null : JSON.parse(published),
        // What the machine does not keep is in the store.
        leftOut: published === undefined ? end.leftOut : undefined,
      }
    );
  };
  const item = node?.item && items.get(node.item.task)?.[node.item.index];
  try {
    const values = {
      facts: factsOf(run, definition),
      results,
      ...(node?.item === undefined || item === undefined
        ? {}
        : { item: { ...item, index: node.item.index } }),
    };
    return { task: expressionsOf(definition).resolveTask(task, values) };
  } catch (error) {
    return { error: errorMessage(error) };
  }
}
