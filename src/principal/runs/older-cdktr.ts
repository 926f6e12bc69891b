/**
 * Repairs what an older cdktr did to the state while it was installed in between. It knows neither labels nor slices: it ends split runs
 * without ending their slices, and it queues runs for any agent, whatever their definitions ask for. Safe to repeat.
 */
import type { OperationalStore } from "../../storage/operational/store.ts";
import type { RunChanges } from "./run-changes.ts";

/** Runs per commit: other units of work wait for it. */
const BATCH = 100;

export async function settleAfterOlder(store: OperationalStore, changes: RunChanges): Promise<void> {
  await store.transact((tx) => tx.settleSlices());
  for (const hash of await store.read((tx) => tx.plainDefinitions())) {
    let mayBeMore = true;
    while (mayBeMore) mayBeMore = await store.transact((tx) => changes.place(tx, hash, BATCH));
  }
}
