/**
 * Group commit: the units of work that come in one turn of the event loop share one transaction, and so one fsync.
 * Each unit has a savepoint of its own, so one that fails takes nothing else with it. Units run one after another.
 */

/** The transaction statements of a database. Each may throw. */
export interface TransactionControl {
  begin(): void;
  commit(): void;
  rollback(): void;
  savepoint(): void;
  release(): void;
  rollbackTo(): void;
  /** Whether a transaction is open; a failing disk may have ended it. */
  readonly open: boolean;
}

/** What the owner is told. */
export interface GroupCommitEvents {
  /** After each commit, before anyone's promise is resolved. */
  committed?(): void;
  /** Makes the error that everyone in the transaction gets out of the one that the database threw. */
  failed(error: unknown): Error;
  /** Whether an error came from the database itself rather than from the unit of work. */
  isDatabaseError(error: unknown): boolean;
  /** An effect threw; the commit stands. */
  effectFailed(error: unknown): void;
}

interface Unit<Tx> {
  readonly work: (tx: Tx) => Promise<unknown>;
  readonly resolve: (value: unknown) => void;
  readonly reject: (error: unknown) => void;
  readonly effects: (() => void)[];
  value?: unknown;
}

/** Units in one transaction; more wait for the next, so that replies are not held up. */
const MAX_BATCH = 1000;

/** Runs units of work against `tx`, grouped into transactions. */
export class GroupCommit<Tx> {
  readonly #control: TransactionControl;
  readonly #tx: Tx;
  readonly #events: GroupCommitEvents;
  #queue: Unit<Tx>[] = [];
  #last: Unit<Tx>[] = [];
  #reads: Unit<Tx>[] = [];
  #current: Unit<Tx> | undefined;
  #scheduled = false;
  #flushing: Promise<void> | undefined;

  constructor(control: TransactionControl, tx: Tx, events: GroupCommitEvents) {
    this.#control = control;
    this.#tx = tx;
    this.#events = events;
  }

  /** Queues a unit for the next transaction. */
  transact<T>(work: (tx: Tx) => Promise<T>): Promise<T> {
    return this.#enqueue(this.#queue, work);
  }

  /** Queues a unit behind all others of the transaction that is open or comes next. */
  transactLast<T>(work: (tx: Tx) => Promise<T>): Promise<T> {
    return this.#enqueue(this.#last, work);
  }

  /** Does `work` while no transaction is open. */
  async read<T>(work: (tx: Tx) => Promise<T>): Promise<T> {
    if (this.#flushing !== undefined) return this.#enqueue(this.#reads, work);
    try {
      return await work(this.#tx);
    } catch (error) {
      throw this.#events.isDatabaseError(error) ? this.#events.failed(error) : error;
    }
  }

  /** Registers what happens once the unit that runs now is on disk. */
  afterCommit(effect: () => void): void {
    if (this.#current === undefined) throw new Error("afterCommit outside a unit of work");
    this.#current.effects.push(effect);
  }

  /** Resolves when nothing waits any more. */
  async drain(): Promise<void> {
    while (this.#flushing !== undefined || this.#queue.length + this.#last.length + this.#reads.length > 0) {
      await (this.#flushing ?? this.#flush());
    }
  }

  #enqueue<T>(queue: Unit<Tx>[], work: (tx: Tx) => Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      queue.push({ work, resolve: resolve as (value: unknown) => void, reject, effects: [] });
      this.#schedule();
    });
  }

  #schedule(): void {
    if (this.#scheduled || this.#flushing !== undefined) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      if (this.#flushing === undefined) void this.#flush();
    });
  }

  #flush(): Promise<void> {
    this.#flushing = this.#run().finally(() => {
      this.#flushing = undefined;
      if (this.#queue.length + this.#last.length + this.#reads.length > 0) this.#schedule();
    });
    return this.#flushing;
  }

  async #run(): Promise<void> {
    await this.#runReads();
    if (this.#queue.length + this.#last.length > 0) await this.#runWrites();
    await this.#runReads();
  }

  async #runReads(): Promise<void> {
    const reads = this.#reads.splice(0);
    for (const unit of reads) {
      try {
        unit.resolve(await unit.work(this.#tx));
      } catch (error) {
        unit.reject(this.#events.isDatabaseError(error) ? this.#events.failed(error) : error);
      }
    }
  }

  async #runWrites(): Promise<void> {
    const units = this.#queue.splice(0, MAX_BATCH);
    const done: Unit<Tx>[] = [];
    let failure: Error | undefined;
    try {
      this.#control.begin();
    } catch (error) {
      failure = this.#events.failed(error);
      units.push(...this.#last.splice(0));
    }
    const runAll = async (batch: Unit<Tx>[]) => {
      for (const unit of batch) {
        if (failure === undefined) failure = await this.#runUnit(unit, done);
        else unit.reject(failure);
      }
    };
    await runAll(units);
    // A unit may ask for one that runs last, and so may that.
    while (this.#last.length > 0) await runAll(this.#last.splice(0));
    if (failure === undefined) {
      try {
        this.#control.commit();
      } catch (error) {
        failure = this.#events.failed(error);
      }
    }
    if (failure !== undefined) {
      this.#rollback();
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

  /** Runs one unit; returns an error when the whole transaction is lost. */
  async #runUnit(unit: Unit<Tx>, done: Unit<Tx>[]): Promise<Error | undefined> {
    this.#current = unit;
    try {
      this.#control.savepoint();
      try {
        unit.value = await unit.work(this.#tx);
        this.#control.release();
        done.push(unit);
      } catch (error) {
        const reason = this.#events.isDatabaseError(error) ? this.#events.failed(error) : error;
        unit.reject(reason);
        if (!this.#control.open) return this.#events.failed(error);
        this.#control.rollbackTo();
        this.#control.release();
      }
    } catch (error) {
      const failure = this.#events.failed(error);
      unit.reject(failure);
      return failure;
    } finally {
      this.#current = undefined;
    }
    return undefined;
  }

  #rollback(): void {
    try {
      if (this.#control.open) this.#control.rollback();
    } catch {
      // The transaction is gone already, which is what was wanted.
    }
  }
}
