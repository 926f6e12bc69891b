/** The kinds of tasks that the principal carries out itself: what they wait for. A new one needs a row here. */
import { errorMessage, InvalidInputError } from "../../errors.ts";
import type { OperationalTx, RunRecord, WaitRecord } from "../../storage/operational/store.ts";
import { answered, lateAnswer, type Question, questionOf } from "../../workflow/answers.ts";
import { expressionsOf, type TaskResult } from "../../workflow/expressions.ts";
import { dueOf } from "../../workflow/kinds/wait.ts";
import type { TaskConfig, TaskDefinition } from "../../workflow/model.ts";
import { factsOf } from "../../workflow/run-facts.ts";
import { beginChildRun, type WaitEnd } from "./child-runs.ts";
import type { RunProgress } from "./progress-of-runs.ts";

/** What a task waits for. */
export type RunWait = Pick<WaitRecord, "kind" | "due_ms" | "data">;

/** A kind of task. */
interface RunKind<Config> {
  /**
   * The task begins to wait.
   * @param at ms since the epoch
   * @throws InvalidInputError if it cannot: it is FAILED
   */
  begin(config: Config, at: number, task: TaskDefinition): RunWait;
}

const KINDS: { readonly [T in TaskConfig["type"]]?: RunKind<Extract<TaskConfig, { type: T }>> } = {
  Wait: {
    begin: (config, at) => ({ kind: "time", due_ms: dueOf(config, at), data: "{}" }),
  },
  Workflow: {
    begin: (config, at, task) => ({ kind: "run", due_ms: at, data: beginChildRun(config, task) }),
  },
  Approval: {
    begin: (config, at) => ({
      kind: "person",
      due_ms: config.timeout_ms === undefined ? null : at + config.timeout_ms,
      data: JSON.stringify(questionOf(config)),
    }),
  },
};

/** How a task ends whose time has come. */
const WHEN_DUE: { readonly [K in WaitRecord["kind"]]?: (wait: WaitRecord) => WaitEnd } = {
  time: () => ({ status: "COMPLETED", error: null }),
  person: ({ task, data }) => {
    const question: Question = JSON.parse(data);
    return answered(task, question, lateAnswer(question));
  },
};

/**
 * What a task waits for that begins at this time.
 * @param at ms since the epoch
 * @throws InvalidInputError if the task cannot begin, Error for a kind that agents execute
 */
function beginWait(task: TaskDefinition, at: number): RunWait {
  const { config } = task;
  const kind = (KINDS as Partial<Record<string, unknown>>)[config.type] as RunKind<TaskConfig> | undefined;
  if (kind === undefined) throw new Error(`the principal does not carry out tasks of kind !${config.type}`);
  return kind.begin(config, at, task);
}

/** How a task ends whose time has come; null for a wait that ends in another way. */
export function endWhenDue(wait: WaitRecord): WaitEnd | null {
  return WHEN_DUE[wait.kind]?.(wait) ?? null;
}

/** What a task waits for that begins now, or why it cannot begin. Part of a unit of work. @param id of its node */
export async function waitOf(
  tx: OperationalTx,
  run: RunRecord,
  of: RunProgress,
  id: string,
  at: number,
): Promise<RunWait | { readonly error: string }> {
  const found = await waitingTask(tx, run, of, id);
  if ("error" in found) return found;
  try {
    return beginWait(found.task, at);
  } catch (error) {
    if (error instanceof InvalidInputError) return { error: error.message };
    throw error;
  }
}

/**
 * A task that begins to wait, with the values of its expressions; or why one has no value. Part of a unit of work.
 * @param id of its node
 */
async function waitingTask(
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
