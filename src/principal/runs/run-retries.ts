/** Retries runs that are over: a retry is a new run, which keeps what need not run again. */
import type { Clock } from "../../clock.ts";
import { COMMAND_TRIGGER } from "../../contract/commands.ts";
import type { RetryRun, RunRetried } from "../../contract/messages.ts";
import { InvalidInputError, NotFoundError, UnprocessableError } from "../../errors.ts";
import type { OperationalStore, RunRecord } from "../../storage/operational/store.ts";
import { quote } from "../../terminal/foreign-text.ts";
import { RUN_TRANSITIONS } from "../../workflow/run-state.ts";
import { isTerminal } from "../../workflow/status.ts";
import type { Audit } from "../audit/audit.ts";
import { type Bundles, bundleFor, FilesChangedError, type Packed } from "../blobs/bundles.ts";
import { notVisible } from "../unknown-name.ts";
import type { Definitions } from "./definitions.ts";
import { once } from "./once.ts";
import { OutputsMovedError, type Retry, retryOf } from "./retries.ts";
import type { RunChanges } from "./run-changes.ts";
import { type OldRuns, type RunFinder, unknownRun } from "./run-finder.ts";
import type { WorkflowSource } from "./workflow-source.ts";

/** What {@link RunRetries} needs. */
interface RunRetriesOptions {
  readonly store: OperationalStore;
  readonly changes: RunChanges;
  readonly definitions: Definitions;
  readonly finder: RunFinder;
  readonly old: OldRuns;
  readonly clock: Clock;
  readonly workflows: Pick<WorkflowSource, "load" | "get" | "isAwaited">;
  readonly bundles: Pick<Bundles, "pack">;
}

/** Retries runs. */
export class RunRetries {
  readonly #o: RunRetriesOptions;

  constructor(options: RunRetriesOptions) {
    this.#o = options;
  }

  /**
   * Retries a finished run, from the tasks that did not complete, from chosen ones, or from the beginning.
   * @param actor who asks for it; null for nobody
   * @throws UnprocessableError when it is not over, or needs outputs that cannot be read from the history
   * @throws NotFoundError, InvalidInputError when tasks, parameters or the current definition do not fit
   */
  async retry(retry: RetryRun, actor: string | null, audit: Audit): Promise<RunRetried> {
    if (retry.from_start && retry.tasks !== undefined)
      throw new InvalidInputError("A retry from the beginning runs all tasks: none can be chosen.");
    const found = await this.#o.finder.find(retry.workflow_instance_id, "retried");
    const { workflow_instance_id: id } = found;
    const { workflow_id } = found;
    const isCurrent = retry.current_definition === true;
    if (isCurrent) await this.#o.workflows.load(workflow_id);
    const restored = new Map<string, string>();
    for (;;) {
      try {
        const packed = isCurrent ? await this.#o.bundles.pack(workflow_id) : null;
        return await this.#retry(id, { ...retry, actor }, restored, packed, audit);
      } catch (error) {
        if (error instanceof FilesChangedError) continue;
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
  async #retry(
    id: string,
    { actor, ...retry }: RetryRun & { readonly actor: string | null },
    restored: ReadonlyMap<string, string>,
    packed: Packed | null,
    audit: Audit,
  ): Promise<RunRetried> {
    let notes: readonly string[] = [];
    const workflow_instance_id = await once(this.#o, "RETRYRUN", id, retry.dedupe_key, async (tx, runId) => {
      const run = await tx.getRun(id);
      if (run === null) throw unknownRun(id);
      if (!isTerminal(RUN_TRANSITIONS, run.status)) {
        throw new UnprocessableError(`Run ${id} is ${run.status}: only a run that is over can be retried.`, {
          hint: `Cancel it first: cdktr runs cancel ${id}`,
        });
      }
      if (run.status === "COMPLETED" && !retry.from_start && retry.tasks === undefined) {
        throw new UnprocessableError(`Run ${id} COMPLETED: there is no failed task to retry.`, {
          hint: `To run it from the beginning: cdktr runs retry ${id} --from-start; one task and what follows it: --task ID`,
        });
      }
      if (run.trigger === COMMAND_TRIGGER) {
        throw new UnprocessableError(
          `Run ${id} is a command that ${run.agent_id ?? "an agent"} has run by itself (cdktr exec): it cannot be retried from here.`,
          { hint: "Run the command on its host again, or make it a workflow: cdktr docs exec" },
        );
      }
      if (run.damage !== undefined) {
        throw new UnprocessableError(`Run ${id} cannot be retried: ${run.damage}.`, {
          hint: `To trigger a new run: cdktr run ${run.workflow_id}`,
        });
      }
      const current = retry.current_definition === true ? this.#current(run, packed) : undefined;
      const of = { id: runId, now: this.#o.clock.now(), restored };
      const again = await retryOf(tx, this.#o.definitions, run, { ...retry, current }, of);
      if (again === null) throw unknownRun(id);
      await audit(tx, {
        subject: id,
        detail: { workflow_id: run.workflow_id, workflow_instance_id: runId },
      });
      await this.#o.changes.create(tx, { ...again.run, actor });
      notes = again.notes;
    });
    return { workflow_instance_id, ...(notes.length === 0 ? {} : { notes: [...notes] }) };
  }

  #current({ workflow_id, workflow_instance_id }: RunRecord, packed: Packed | null): Retry["current"] {
    const { workflows } = this.#o;
    const stored = workflows.get(workflow_id);
    if (stored !== undefined) return { ...stored, bundle: bundleFor(stored.definition, packed) };
    if (workflows.isAwaited(workflow_id)) throw new UnprocessableError(notVisible(workflow_id));
    throw new NotFoundError(
      `Workflow ${quote(workflow_id)} is not loaded any more: its file is gone or invalid.`,
      {
        hint: `To retry the run as it was: cdktr runs retry ${workflow_instance_id}`,
      },
    );
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
