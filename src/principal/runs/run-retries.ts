/** Retries runs that are over: a retry is a new run, which keeps what need not run again. */
import type { Clock } from "../../clock.ts";
import type { RetryRun } from "../../contract/messages.ts";
import { UnprocessableError } from "../../errors.ts";
import type { OperationalStore } from "../../storage/operational/store.ts";
import { RUN_TRANSITIONS } from "../../workflow/run-state.ts";
import { isTerminal } from "../../workflow/status.ts";
import type { Definitions } from "./definitions.ts";
import { once } from "./once.ts";
import { OutputsMovedError, retryOf } from "./retries.ts";
import type { RunChanges } from "./run-changes.ts";
import { type OldRuns, type RunFinder, unknownRun } from "./run-finder.ts";

/** What {@link RunRetries} needs. */
interface RunRetriesOptions {
  readonly store: OperationalStore;
  readonly changes: RunChanges;
  readonly definitions: Definitions;
  readonly finder: RunFinder;
  readonly old: OldRuns;
  readonly clock: Clock;
}

/** Retries runs. */
export class RunRetries {
  readonly #o: RunRetriesOptions;

  constructor(options: RunRetriesOptions) {
    this.#o = options;
  }

  /**
   * Retries a finished run, from the tasks that did not complete or from the beginning.
   * @param actor who asks for it; null for nobody
   * @throws UnprocessableError when it is not over, or needs outputs that cannot be read from the history
   */
  async retry(retry: RetryRun, actor: string | null): Promise<string> {
    const { workflow_instance_id: id } = await this.#o.finder.find(retry.workflow_instance_id, "retried");
    const restored = new Map<string, string>();
    for (;;) {
      try {
        return await this.#retry(id, retry, restored, actor);
      } catch (error) {
        if (!(error instanceof OutputsMovedError)) throw error;
        for (const [task, outputs] of await this.#restoreOutputs(id, error.taskInstanceIds))
          restored.set(task, outputs);
      }
    }
  }

  /**
   * @param restored outputs from the history, by task instance
   * @throws OutputsMovedError when more are needed
   */
  #retry(
    id: string,
    retry: RetryRun,
    restored: ReadonlyMap<string, string>,
    actor: string | null,
  ): Promise<string> {
    return once(this.#o, "RETRYRUN", id, retry.dedupe_key, async (tx, runId) => {
      const run = await tx.getRun(id);
      if (run === null) throw unknownRun(id);
      if (!isTerminal(RUN_TRANSITIONS, run.status)) {
        throw new UnprocessableError(`Run ${id} is ${run.status}: only a run that is over can be retried.`, {
          hint: `Cancel it first: cdktr runs cancel ${id}`,
        });
      }
      if (run.status === "COMPLETED" && !retry.from_start) {
        throw new UnprocessableError(`Run ${id} COMPLETED: there is no failed task to retry.`, {
          hint: `To run it from the beginning: cdktr runs retry ${id} --from-start`,
        });
      }
      if (run.damage !== undefined) {
        throw new UnprocessableError(`Run ${id} cannot be retried: ${run.damage}.`, {
          hint: `To trigger a new run: cdktr run ${run.workflow_id}`,
        });
      }
      const again = await retryOf(tx, this.#o.definitions, run, retry, runId, restored);
      if (again === null) throw unknownRun(id);
      await this.#o.changes.create(tx, { ...again, actor });
    });
  }

  /** @throws UnprocessableError */
  async #restoreOutputs(
    id: string,
    taskInstanceIds: readonly string[],
  ): Promise<ReadonlyMap<string, string>> {
    const cannot = (why: string, cause?: unknown) =>
      new UnprocessableError(
        `Run ${id} cannot be retried from the tasks that failed: what earlier tasks published is only in the history, ${why}.`,
        { cause, hint: `To run it from the beginning: cdktr runs retry ${id} --from-start` },
      );
    let found: ReadonlyMap<string, string> | null;
    try {
      found = await this.#o.old.findOutputs(taskInstanceIds);
    } catch (error) {
      if (!(error instanceof UnprocessableError)) throw error;
      throw cannot(`which is not available (${error.message})`, error);
    }
    if (found === null) throw cannot("and too large for a retry");
    if (taskInstanceIds.some((task) => !found.has(task))) throw cannot("which does not have it any more");
    return found;
  }
}
