/** A store that repeats units of work, as a database may, which reveals side effects outside of the transaction. */
import type { PendingStatus } from "../../src/contract/history-rows.ts";
import type {
  CommitStep,
  OperationalStore,
  OperationalTx,
  StateIdentity,
  UnitOfWork,
} from "../../src/storage/operational/store.ts";

/** Executes each unit, rolls it back, and executes it again. */
export class RepeatingStore implements OperationalStore {
  readonly name: string;
  readonly #store: OperationalStore;

  constructor(store: OperationalStore) {
    this.name = store.name;
    this.#store = store;
  }

  start(): Promise<void> {
    return this.#store.start();
  }

  stop(): Promise<void> {
    return this.#store.stop();
  }

  async transact<T>(work: UnitOfWork<T>, patienceMs?: number): Promise<T> {
    await this.#undone(work);
    return this.#store.transact(work, patienceMs);
  }

  read<T>(work: UnitOfWork<T>): Promise<T> {
    return this.#store.read(work);
  }

  identity(): Promise<StateIdentity> {
    return this.#store.identity();
  }

  copyTo(path: string, fixed?: () => void): Promise<void> {
    return this.#store.copyTo(path, fixed);
  }

  changeIdentity(to: Parameters<OperationalStore["changeIdentity"]>[0]): Promise<void> {
    return this.#store.changeIdentity(to);
  }

  writeProblem(): Promise<string | null> {
    return this.#store.writeProblem();
  }

  takeStatuses(afterId: number, limit: number): Promise<PendingStatus[]> {
    return this.#store.takeStatuses(afterId, limit);
  }

  ackStatuses(upToId: number): Promise<void> {
    return this.#store.ackStatuses(upToId);
  }

  runsChangedAfter(id: number): Promise<string[]> {
    return this.#store.runsChangedAfter(id);
  }

  compareWithHistory(...args: Parameters<OperationalStore["compareWithHistory"]>) {
    return this.#store.compareWithHistory(...args);
  }

  async #undone(work: UnitOfWork<unknown>): Promise<void> {
    await this.#store
      .transact(async (tx) => {
        const steps = new Set<CommitStep>();
        const lost: OperationalTx = Object.assign(Object.create(tx), {
          afterCommit: () => {},
          beforeCommit: (step: CommitStep) => steps.add(step),
        });
        await work(lost);
        for (const step of steps) await step.work(lost);
        throw new Error("undone, to be repeated");
      })
      // What fails for another reason fails again.
      .catch(() => {});
  }
}
