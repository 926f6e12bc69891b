/** How far the trigger `on: workflow` is, in the state: with several principals, the next leader goes on there. */
import type { Clock } from "../../clock.ts";
import type { OperationalStore } from "../../storage/operational/store.ts";

const NAME = "workflow";
/** How long a new position may wait for a commit to share, ms: after a change of the leader what follows it comes again, with the same keys. */
const PATIENCE_MS = 500;

/** The position in a state. */
export function sharedCursor(store: Pick<OperationalStore, "read" | "transact">, clock: Clock) {
  return {
    read: async (): Promise<string | undefined> =>
      (await store.read((tx) => tx.listFileSettings("cursor"))).get(NAME),
    write: (cursor: string): Promise<void> =>
      store.transact(
        (tx) => tx.putFileSettings("cursor", new Map([[NAME, cursor]]), clock.now()),
        PATIENCE_MS,
      ),
  };
}
