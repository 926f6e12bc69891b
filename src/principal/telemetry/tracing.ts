/**
 * The contexts of traces that the principal hands on: to agents for tasks, and to runs that tasks start. What is exported of them is the
 * history's business.
 */
import type { TaskTrace } from "../../contract/messages.ts";
import {
  contextOfRun,
  contextOfTask,
  type Sampling,
  writeTraceparent,
} from "../../contract/trace-context.ts";
import type { RunRecord } from "../../storage/operational/store.ts";

type Traced = Pick<RunRecord, "workflow_instance_id" | "traceparent">;

/** Hands contexts on. */
export class Tracing {
  readonly #sampling: Sampling | null;

  /** @param sampling which traces are recorded; null where no traces are exported */
  constructor(sampling: Sampling | null) {
    this.#sampling = sampling;
  }

  /** What an agent is told for the tasks of a run; undefined for nothing, as for a run without a trace. */
  forTasks(run: Traced): TaskTrace | undefined {
    // There are no spans of it: whatever its tasks do belongs to the span of its trigger.
    if (this.#sampling === null)
      return run.traceparent === null ? undefined : { traceparent: run.traceparent, has_spans: false };
    return { traceparent: writeTraceparent(contextOf(run, this.#sampling)), has_spans: true };
  }

  /** The context for a run that a task run starts; null for none. */
  ofChild(run: Traced, taskInstanceId: string | null): string | null {
    if (this.#sampling === null) return run.traceparent;
    const context = contextOf(run, this.#sampling);
    return writeTraceparent(taskInstanceId === null ? context : contextOfTask(context, taskInstanceId));
  }
}

function contextOf({ workflow_instance_id: runId, traceparent }: Traced, sampling: Sampling) {
  return contextOfRun({ runId, traceparent }, sampling);
}
