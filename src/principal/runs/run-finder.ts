/** Finds runs by id or by the beginning of one: in the operational state, or else in the history. */
import type { Clock } from "../../clock.ts";
import type { ItemSummary, ListItems, ListRuns, RunDetails, RunSummary } from "../../contract/messages.ts";
import { SHORTEST_PREFIX } from "../../contract/run-id.ts";
import { InvalidInputError, NotFoundError, UnprocessableError } from "../../errors.ts";
import type { OperationalStore, OperationalTx, RunRecord } from "../../storage/operational/store.ts";
import { quote } from "../../terminal/foreign-text.ts";

/** Number of finished runs to keep in the operational state; older ones are only in the history. */
export const KEPT_RUNS = 10_000;

/** Runs that are no longer in the operational state. */
export interface OldRuns {
  findRun(runId: string, outputs: boolean): Promise<Omit<RunDetails, "definition"> | null>;
  /** A page of the items of a fan-out. */
  findItems(list: ListItems): Promise<ItemSummary[]>;
  /** What task runs published, as JSON, by their ids; null if that is too much for a message. */
  findOutputs(taskInstanceIds: readonly string[]): Promise<ReadonlyMap<string, string> | null>;
  /** Newest first; with `beforeMs` only those created before it. */
  listRuns(filter: ListRuns, beforeMs?: number): Promise<RunSummary[]>;
}

/** Finds runs. */
export class RunFinder {
  readonly #store: OperationalStore;
  readonly #old: OldRuns;
  readonly #clock: Clock;
  /** Undefined until someone asks for more runs than are kept here. */
  #olderRunsExist: boolean | undefined;
  /** The question for it that waits for the history's answer. */
  #askingForOlder: Promise<boolean> | undefined;

  constructor({ store, old, clock }: { store: OperationalStore; old: OldRuns; clock: Clock }) {
    this.#store = store;
    this.#old = old;
    this.#clock = clock;
  }

  /** Runs were removed from the operational state. */
  forgotten(): void {
    this.#olderRunsExist = true;
  }

  /**
   * The history can be read: finds out whether it has runs that the state does not have. Later lists need not ask it if it has none, also
   * while it does not answer.
   */
  async historyOpened(): Promise<void> {
    try {
      if (this.#olderRunsExist === undefined) await this.olderRuns({ limit: 1 });
    } catch {
      // The first list tries again.
    }
  }

  /** Runs that only the history knows. */
  async olderRuns(filter: ListRuns): Promise<RunSummary[]> {
    if (this.#olderRunsExist === false) return [];
    // An older run may have ended just now.
    const oldest = await this.#store.read((tx) => tx.oldestFinishedMs(KEPT_RUNS));
    const before = oldest ?? this.#clock.now();
    let older: RunSummary[];
    try {
      this.#olderRunsExist ??= await this.#askForOlder(before);
      const { id_prefix: prefix } = filter;
      older = this.#olderRunsExist
        ? await this.#old.listRuns(filter, prefix === undefined ? before : undefined)
        : [];
    } catch (error) {
      if (!(error instanceof UnprocessableError)) throw error;
      if (filter.complete !== true) return [];
      throw away("Older runs may be missing: the history is not available", error);
    }
    return this.#store.read(async (tx) => {
      const unknown: RunSummary[] = [];
      for (const run of older) if ((await tx.getRun(run.workflow_instance_id)) === null) unknown.push(run);
      return unknown;
    });
  }

  #askForOlder(beforeMs: number): Promise<boolean> {
    this.#askingForOlder ??= this.#old
      .listRuns({ limit: 1 }, beforeMs)
      .then((found) => found.length > 0)
      .finally(() => {
        this.#askingForOlder = undefined;
      });
    return this.#askingForOlder;
  }

  /** A page of the items of a fan-out of a run that only the history knows. */
  async itemsFromHistory(list: ListItems): Promise<ItemSummary[]> {
    const { workflow_instance_id } = await this.fromHistory(list.workflow_instance_id, false);
    try {
      return await this.#old.findItems({ ...list, workflow_instance_id });
    } catch (error) {
      if (!(error instanceof UnprocessableError)) throw error;
      throw away(
        `Run ${quote(workflow_instance_id)} is not among the newest, and the history is not available`,
        error,
      );
    }
  }

  async fromHistory(runId: string, outputs: boolean): Promise<RunDetails> {
    let old: Omit<RunDetails, "definition"> | null;
    try {
      old = await this.#old.findRun(runId, outputs);
      if (old === null && runId.length >= SHORTEST_PREFIX) {
        const found = await this.#old.listRuns({ limit: 2, id_prefix: runId.toLowerCase() });
        const id = onlyOne(runId, found)?.workflow_instance_id;
        old = id === undefined ? null : await this.#old.findRun(id, outputs);
      }
    } catch (error) {
      if (!(error instanceof UnprocessableError)) throw error;
      throw away(`Run ${quote(runId)} is not among the newest, and the history is not available`, error);
    }
    if (old === null) throw unknownRun(runId);
    return { ...old, definition: null };
  }

  /** A run of which everything is known. @param done what is to be done with it */
  async find(runId: string, done: string): Promise<RunRecord> {
    const run = await this.#store.read((tx) => lookUpRun(tx, runId));
    if (run !== null) return run;
    const { workflow_instance_id: id, workflow_id, status } = await this.fromHistory(runId, false);
    throw new UnprocessableError(
      `Run ${id} of ${workflow_id} (${status}) is only in the history, where definitions are not kept: it cannot be ${done}.`,
      {
        hint: `'cdktr runs show ${id}' shows its parameters; 'cdktr run ${workflow_id}' triggers a new run.`,
      },
    );
  }
}

/**
 * Finds a run of the operational state by its id, or by a prefix that is long enough. Part of a unit of work.
 * @throws InvalidInputError when several begin with it
 */
export async function lookUpRun(tx: OperationalTx, runId: string): Promise<RunRecord | null> {
  const exact = await tx.getRun(runId);
  if (exact !== null || runId.length < SHORTEST_PREFIX) return exact;
  return onlyOne(runId, await tx.findRuns(runId.toLowerCase(), 2)) ?? null;
}

/** The run that was found by the beginning of its id. @throws InvalidInputError when there are several */
function onlyOne<T>(prefix: string, [found, another]: readonly T[]): T | undefined {
  if (another === undefined) return found;
  throw new InvalidInputError(`More than one run begins with ${quote(prefix)}; give a longer prefix.`);
}

function away(what: string, error: UnprocessableError): UnprocessableError {
  const hint = error.hint === undefined ? {} : { hint: error.hint };
  return new UnprocessableError(`${what}: ${error.message}`, { cause: error, ...hint });
}

/** Nothing is known about a run. */
export function unknownRun(runId: string): NotFoundError {
  return new NotFoundError(`There is no run ${quote(runId)}.`);
}
