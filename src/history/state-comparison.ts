/**
 * Compares the history with the principal's state: either may have been restored from a backup, replaced or lost while no principal ran.
 * What the state knows, and the history does not, is written again; unfinished runs that the state does not know are CRASHED.
 */
import type { ConsolaInstance } from "consola";
import type { Clock } from "../clock.ts";
import type { HistoricStatuses } from "../contract/history-rows.ts";
import { errorMessage } from "../errors.ts";
import type { StateIdentity, StatusFeed } from "../storage/operational/store.ts";
import { turn } from "../timer.ts";
import type { HistoryDatabase } from "./database/history-database.ts";
import type { HistoryCursors } from "./database/write.ts";

/** Unfinished runs that are compared with the state at once. */
const COMPARED_RUNS = 500;
/** Maximum number of runs that a message names. */
const SHOWN_RUNS = 5;
/** Why a run that only the history has is CRASHED. */
const GHOST =
  "the principal's state does not have this run: it was lost, or restored from before the run; how the run ended is not known";

/** A position in the status rows of a state: the last row that the history has. */
export function positionIn({ state_id, taken_id }: StateIdentity, cursors: HistoryCursors): number {
  return cursors.states.get(state_id) ?? taken_id ?? cursors.outbox;
}

/** Options of {@link StateComparison}. */
export interface ComparisonOptions {
  readonly statuses: StatusFeed;
  /** What messages call the history. */
  readonly place: string;
  readonly log: ConsolaInstance;
  readonly clock: Clock;
  /** Whether a new state may take over the id of the installation from the history. */
  readonly mayAdopt: () => boolean;
  /** Calls `work` with the open database. @throws HistoryUnavailableError */
  readonly read: <T>(work: (database: HistoryDatabase) => Promise<T>) => Promise<T>;
  /** Waits for the write in progress; others wait for the release. */
  readonly holdWrites: () => Promise<() => void>;
  /** The last status row that the history has. */
  readonly takenId: () => number;
  /** There are status rows again. */
  readonly notify: () => void;
  readonly isStopping: () => boolean;
}

export class StateComparison {
  readonly #o: ComparisonOptions;

  constructor(options: ComparisonOptions) {
    this.#o = options;
  }

  /** Compares identities, once, and returns that of the state, which may be another one from now on. */
  async identify(cursors: HistoryCursors): Promise<StateIdentity> {
    const { statuses, place, log } = this.#o;
    const found = await statuses.identity();
    let state = found;
    if (found.is_new && cursors.installation !== null) {
      log.warn(
        `The principal's state is new, but the history in ${place} is not: runs that had not ended then, positions of schedules and idempotency keys are lost.`,
      );
      if (this.#o.mayAdopt()) state = { ...state, installation_id: cursors.installation };
    } else if (cursors.installation !== null && cursors.installation !== found.installation_id) {
      log.warn(
        `The history in ${place} belonged to another installation: it contains runs that this principal's state does not know.`,
      );
    }
    if (!found.is_new && positionIn(found, cursors) > found.last_id) {
      log.warn(
        `The principal's state is older than the history in ${place}: it was restored from a backup, or its newest part was lost. Runs from the time in between are only in the history.`,
      );
      state = { ...state, state_id: crypto.randomUUID(), taken_id: found.last_id };
    }
    if (state !== found) await statuses.changeIdentity(state);
    return state;
  }

  /**
   * Makes state and history agree about runs.
   * @param since the position in the status rows of this state with which the history was opened; undefined if it has none
   */
  async settle(since: number | undefined): Promise<void> {
    try {
      const suspects = await this.#differing(since);
      for (let i = 0; i < suspects.length; i += COMPARED_RUNS) {
        await this.#settleRuns(suspects.slice(i, i + COMPARED_RUNS));
      }
    } catch (error) {
      // Tried again when the database is opened the next time.
      this.#o.log.debug(`The history cannot be compared with the state: ${errorMessage(error)}`);
    }
  }

  /**
   * Runs that are unfinished in the history, or have changed since its position, and that the state does not have, or has otherwise. Some
   * may be about to be written.
   */
  async #differing(since: number | undefined): Promise<string[]> {
    const { statuses, read, isStopping } = this.#o;
    const takenId = this.#o.takenId();
    const unfinished = await read((database) => database.unfinished());
    const suspects = new Set<string>();
    const compare = async (runs: readonly HistoricStatuses[]) => {
      const { unknown, changed } = await statuses.compareWithHistory(runs, takenId, false);
      for (const id of [...unknown, ...changed]) suspects.add(id);
      await turn();
    };
    for (let i = 0; i < unfinished.length && !isStopping(); i += COMPARED_RUNS) {
      await compare(unfinished.slice(i, i + COMPARED_RUNS));
    }
    const changed = since === undefined ? [] : await statuses.runsChangedAfter(since);
    for (let i = 0; i < changed.length && !isStopping(); i += COMPARED_RUNS) {
      const ids = changed.slice(i, i + COMPARED_RUNS);
      await compare(await read((database) => database.statusesOf(ids)));
    }
    return [...suspects];
  }

  async #settleRuns(ids: readonly string[]): Promise<void> {
    const { statuses, place, log, read } = this.#o;
    const release = await this.#o.holdWrites();
    try {
      const known = await read((database) => database.statusesOf(ids));
      const { unknown, changed } = await statuses.compareWithHistory(known, this.#o.takenId(), true);
      const runs = (count: number) => (count === 1 ? "1 run" : `${count} runs`);
      if (changed.length > 0) {
        log.warn(
          `The history in ${place} and the principal's state differed in ${runs(changed.length)}: one of them was restored from a backup. What the state has of them is written into the history.`,
        );
        this.#o.notify();
      }
      if (unknown.length === 0) return;
      await read((database) => database.crash(unknown, GHOST, this.#o.clock.now()));
      const some = unknown.slice(0, SHOWN_RUNS).join(", ");
      log.warn(
        `${runs(unknown.length)} had not ended according to the history in ${place}, but the principal's state does not have ${unknown.length === 1 ? "it" : "them"}: CRASHED from now on (${some}${unknown.length > SHOWN_RUNS ? ", …" : ""}). Agents that still execute such a run are told to stop.`,
      );
    } finally {
      release();
    }
  }
}
