/** Faults that are planted into a principal, to see whether the model test finds them. */
import type { RunChanges } from "../../src/principal/runs/run-changes.ts";
import type { CommitStep, OperationalStore, OperationalTx } from "../../src/storage/operational/store.ts";

/** A fault. */
export interface Fault {
  /** Operations of units of work that do something else. */
  readonly tx?: (tx: OperationalTx) => Partial<OperationalTx>;
  /** Changes the parts of the principal. */
  readonly changes?: (changes: RunChanges) => void;
}

/** By what goes wrong. */
export const FAULTS: Readonly<Record<string, Fault>> = {
  "a run that ends does not free its place": {
    changes: ({ admission }) => {
      admission.freed = () => {};
    },
  },
  "a group counts one run less than it has": {
    tx: (tx) => ({
      groupState: async (key) => {
        const state = await tx.groupState(key);
        return { ...state, running: Math.max(0, state.running - 1) };
      },
    }),
  },
  "a group counts one run more than it has": {
    tx: (tx) => ({
      groupState: async (key) => {
        const state = await tx.groupState(key);
        return { ...state, running: state.running + 1 };
      },
    }),
  },
  "nobody is seen waiting": {
    tx: (tx) => ({ groupState: async (key) => ({ ...(await tx.groupState(key)), isAwaited: false }) }),
  },
  "the last one that waits is admitted first": {
    tx: (tx) => ({ groupHeld: async (...args) => (await tx.groupHeld(...args)).reverse() }),
  },
  "a newer run does not replace those that wait": {
    tx: (tx) => ({
      groupHeld: async (key, limit, policy) => (policy === undefined ? tx.groupHeld(key, limit) : []),
    }),
  },
  "nobody is cancelled to make room": {
    tx: (tx) => ({ groupHolders: async (key, limit) => (limit > 1 ? [] : tx.groupHolders(key, limit)) }),
  },
  "a pool counts one slot less than is taken": {
    tx: (tx) => ({ poolUse: async () => shifted(await tx.poolUse(), -1) }),
  },
  "a pool counts one slot more than is taken": {
    tx: (tx) => ({ poolUse: async () => shifted(await tx.poolUse(), 1) }),
  },
  "a pool that became smaller still has its former size": {
    tx: (tx) => ({
      listPools: async () =>
        (await tx.listPools()).map((pool) => ({ ...pool, size: Math.max(pool.size, 3) })),
    }),
  },
  "a pause is not seen": {
    tx: () => ({ getPause: async () => null }),
  },
  "what is queued when its workflow is paused stays where it is": {
    tx: () => ({ parkQueued: async () => 0 }),
  },
  "what was parked stays so": {
    tx: () => ({ unparkQueued: async () => 0 }),
  },
  "what a pause has held stays so": {
    tx: () => ({ pausedRuns: async () => [] }),
  },
  "a run is held without a word": {
    tx: (tx) => ({
      holdRun: (run, hold, _note, nowMs) => tx.holdRun(run, hold, { reason: "", waits: null }, nowMs),
    }),
  },
};

/** Those of backfills. */
export const FAULTS_OF_BACKFILLS: Readonly<Record<string, Fault>> = {
  "a backfill does not see the runs of its firings": {
    tx: () => ({ runsAt: async () => [] }),
  },
  "a backfill counts one run less than it has": {
    tx: (tx) => ({ countBackfillRuns: async (id) => Math.max(0, (await tx.countBackfillRuns(id)) - 1) }),
  },
  "a backfill does not keep what it is done with": {
    tx: () => ({ addFirings: async () => {} }),
  },
};

function shifted(use: ReadonlyMap<string, number>, by: number): ReadonlyMap<string, number> {
  return new Map([...use].map(([pool, slots]) => [pool, Math.max(0, slots + by)]));
}

/** A store whose operations have a fault. */
export function faulty(store: OperationalStore, fault: NonNullable<Fault["tx"]>): OperationalStore {
  const steps = new WeakMap<CommitStep, CommitStep>();
  const wrapped = (tx: OperationalTx): OperationalTx => {
    const beforeCommit = (step: CommitStep) => {
      const known = steps.get(step) ?? { ...step, work: (inner: OperationalTx) => step.work(wrapped(inner)) };
      steps.set(step, known);
      tx.beforeCommit(known);
    };
    return Object.assign(Object.create(tx), fault(tx), { beforeCommit });
  };
  return Object.assign(Object.create(store), {
    transact: (work: (tx: OperationalTx) => Promise<unknown>, patience?: number) =>
      store.transact((tx) => work(wrapped(tx)), patience),
    read: (work: (tx: OperationalTx) => Promise<unknown>) => store.read((tx) => work(wrapped(tx))),
    start: () => store.start(),
    stop: () => store.stop(),
  });
}
