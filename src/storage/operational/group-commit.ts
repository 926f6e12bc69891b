/**
 * Group commit: the units of work that arrive in one turn of the event loop share one transaction, and so one fsync. Each unit has
 * its own savepoint, so a failing unit does not affect the others. Units run one after another. A unit whose result nobody waits for may
 * wait for the next transaction that somebody does wait for, and shares that.
 */
import { AsyncLocalStorage } from "node:async_hooks";
import { Timer } from "../../timer.ts";
import { NestedUnitError } from "./store.ts";

/** The transaction statements of a database. Each may throw. */
export interface TransactionControl {
  begin(): void;
  /** A promise when others must agree first: the transaction is open until it has settled, and is rolled back if it rejects. */
  commit(): void | Promise<void>;
  rollback(): void;
  savepoint(): void;
  release(): void;
  rollbackTo(): void;
  /** Whether a transaction is open; a failing disk may have ended it. */
  readonly open: boolean;
}

/** Callbacks of the owner. */
export interface GroupCommitEvents {
  /** After each commit, before any promise is resolved. */
  committed?(): void;
  /** The commit failed, and was rolled back: it may be on disk nevertheless. Returns the error that its units get. */
  commitFailed?(failure: Error): Error;
  /** Converts an error of the database to the one that every unit in the transaction gets. */
  failed(error: unknown): Error;
  /** Whether an error came from the database itself rather than from the unit of work. */
  isDatabaseError(error: unknown): boolean;
  /** An effect threw; the commit stands. */
  effectFailed(error: unknown): void;
}

/** A step to run after all units of a transaction, once for all units that request it. */
export interface Step<Tx> {
  readonly work: (tx: Tx) => Promise<void>;
  readonly failed: (error: unknown) => void;
}

interface Unit<Tx> {
  readonly work: (tx: Tx) => Promise<unknown>;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
  readonly effects: (() => void)[];
  readonly steps: Step<Tx>[];
  value?: unknown;
}

/** The current unit, as seen by everything it calls. */
interface Running<Tx> {
  /** Undefined for a reader. */
  readonly unit: Unit<Tx> | undefined;
  isOver: boolean;
}

/** Maximum number of units per transaction; more wait for the next one, so that replies are not held up. */
const MAX_BATCH = 1000;

/** Runs units of work against `tx`, grouped into transactions. */
export class GroupCommit<Tx> {
  readonly #control: TransactionControl;
  readonly #tx: Tx;
  readonly #events: GroupCommitEvents;
  /** Tracks the calls of a unit, so that concurrent code is not mistaken for it. Costs 1 µs per unit. */
  readonly #running = new AsyncLocalStorage<Running<Tx>>();
  #queue: Unit<Tx>[] = [];
  #reads: Unit<Tx>[] = [];
  /** How long the units in the queue may wait, ms: as long as the one with the least patience. */
  #patienceMs = Number.POSITIVE_INFINITY;
  readonly #patience = new Timer(() => this.#begin());
  #scheduled = false;
  #flushing: Promise<void> | undefined;

  constructor(control: TransactionControl, tx: Tx, events: GroupCommitEvents) {
    this.#control = control;
    this.#tx = tx;
    this.#events = events;
  }

  /**
   * Queues a unit for the next transaction.
   * @param patienceMs how long it waits for units without patience, whose transaction it then shares
   * @throws NestedUnitError inside another one
   */
  async transact<T>(work: (tx: Tx) => Promise<T>, patienceMs = 0): Promise<T> {
    this.#refuseNested();
    this.#patienceMs = Math.min(this.#patienceMs, patienceMs);
    return this.#enqueue(this.#queue, work);
  }

  /**
   * Runs `work` while no transaction is open.
   * @throws NestedUnitError inside another one
   */
  async read<T>(work: (tx: Tx) => Promise<T>): Promise<T> {
    this.#refuseNested();
    if (this.#flushing !== undefined) return this.#enqueue(this.#reads, work);
    try {
      return await this.#run(undefined, work);
    } catch (error) {
      throw this.#errorOf(error);
    }
  }

  /** Registers an effect to run once the current unit is on disk. */
  afterCommit(effect: () => void): void {
    this.#unit().effects.push(effect);
  }

  /** Registers a step that runs after all units of the transaction, if the current unit succeeds. */
  beforeCommit(step: Step<Tx>): void {
    this.#unit().steps.push(step);
  }

  /** Resolves when nothing is waiting any more. */
  async drain(): Promise<void> {
    while (this.#flushing !== undefined || this.#queue.length + this.#reads.length > 0) {
      await (this.#flushing ?? this.#flush());
    }
  }

  #unit(): Unit<Tx> {
    const running = this.#running.getStore();
    if (running?.unit === undefined || running.isOver) throw new Error("this belongs into a unit of work");
    return running.unit;
  }

  #refuseNested(): void {
    const running = this.#running.getStore();
    if (running === undefined || running.isOver) return;
    throw new NestedUnitError("Internal error: a unit of work asks the store for another one.");
  }

  /** Runs a unit, or a reader. */
  async #run<T>(unit: Unit<Tx> | undefined, work: (tx: Tx) => Promise<T>): Promise<T> {
    const running: Running<Tx> = { unit, isOver: false };
    try {
      return await this.#running.run(running, work, this.#tx);
    } finally {
      running.isOver = true;
    }
  }

  #errorOf(error: unknown): unknown {
    return this.#events.isDatabaseError(error) ? this.#events.failed(error) : error;
  }

  #enqueue<T>(queue: Unit<Tx>[], work: (tx: Tx) => Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      queue.push({
        work,
        resolve: resolve as (value: unknown) => void,
        reject,
        effects: [],
        steps: [],
      });
      this.#schedule();
    });
  }

  #schedule(): void {
    if (this.#scheduled || this.#flushing !== undefined) return;
    if (this.#reads.length === 0 && this.#patienceMs > 0) {
      this.#patience.within(this.#patienceMs);
      return;
    }
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      this.#begin();
    });
  }

  #begin(): void {
    if (this.#flushing === undefined) void this.#flush();
  }

  #flush(): Promise<void> {
    this.#patience.cancel();
    this.#flushing = this.#runAll().finally(() => {
      this.#flushing = undefined;
      if (this.#queue.length + this.#reads.length > 0) this.#schedule();
    });
    return this.#flushing;
  }

  async #runAll(): Promise<void> {
    await this.#runReads();
    if (this.#queue.length > 0) await this.#runWrites();
    await this.#runReads();
  }

  async #runReads(): Promise<void> {
    const reads = this.#reads.splice(0);
    for (const reader of reads) {
      try {
        reader.resolve(await this.#run(undefined, reader.work));
      } catch (error) {
        reader.reject(this.#errorOf(error));
      }
    }
  }

  async #runWrites(): Promise<void> {
    const units = this.#queue.splice(0, MAX_BATCH);
    this.#patienceMs = this.#queue.length > 0 ? 0 : Number.POSITIVE_INFINITY;
    const done: Unit<Tx>[] = [];
    const steps = new Set<Step<Tx>>();
    let failure = this.#try(() => this.#control.begin());
    for (const unit of units) {
      if (failure !== undefined) unit.reject(failure);
      else failure = await this.#runUnit(unit, done, steps);
    }
    // A step may request others.
    for (const step of steps) {
      steps.delete(step);
      const unit = { ...step, resolve: () => {}, reject: step.failed, effects: [], steps: [] };
      if (failure !== undefined) unit.reject(failure);
      else failure = await this.#runUnit(unit, done, steps);
    }
    const committing = failure === undefined ? this.#commit() : undefined;
    const commitFailure = committing instanceof Promise ? await committing : committing;
    failure ??= commitFailure;
    if (failure !== undefined) {
      this.#rollback();
      if (failure === commitFailure) failure = this.#events.commitFailed?.(failure) ?? failure;
      for (const unit of done) unit.reject(failure);
      return;
    }
    this.#events.committed?.();
    for (const unit of done) {
      unit.resolve(unit.value);
      for (const effect of unit.effects) {
        try {
          effect();
        } catch (error) {
          this.#events.effectFailed(error);
        }
      }
    }
  }

  /** Returns why there is no commit; a promise only when it is not known at once. */
  #commit(): Error | undefined | Promise<Error | undefined> {
    try {
      const committing = this.#control.commit();
      return committing?.then(
        () => undefined,
        (error: unknown) => this.#events.failed(error),
      );
    } catch (error) {
      return this.#events.failed(error);
    }
  }

  #try(statement: () => void): Error | undefined {
    try {
      statement();
      return undefined;
    } catch (error) {
      return this.#events.failed(error);
    }
  }

  /** Runs one unit; returns an error when the whole transaction is lost. */
  async #runUnit(unit: Unit<Tx>, done: Unit<Tx>[], steps: Set<Step<Tx>>): Promise<Error | undefined> {
    try {
      this.#control.savepoint();
      try {
        unit.value = await this.#run(unit, unit.work);
        this.#control.release();
        done.push(unit);
        for (const step of unit.steps) steps.add(step);
      } catch (error) {
        unit.reject(this.#errorOf(error));
        if (!this.#control.open) return this.#events.failed(error);
        this.#control.rollbackTo();
        this.#control.release();
      }
    } catch (error) {
      const failure = this.#events.failed(error);
      unit.reject(failure);
      return failure;
    }
    return undefined;
  }

  #rollback(): void {
    try {
      if (this.#control.open) this.#control.rollback();
    } catch {
      // The transaction is already gone.
    }
  }
}
