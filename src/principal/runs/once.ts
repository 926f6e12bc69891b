/** Requests that create a run may come twice. */
import type { Clock } from "../../clock.ts";
import type { OperationalStore, OperationalTx } from "../../storage/operational/store.ts";

/** The run created under an idempotency key; `make` creates it the first time. */
export function once(
  { store, clock }: { readonly store: OperationalStore; readonly clock: Clock },
  verb: string,
  subject: string,
  key: string | undefined,
  make: (tx: OperationalTx, runId: string) => Promise<void>,
): Promise<string> {
  const fresh = crypto.randomUUID();
  return store.transact(async (tx) => {
    const id = key === undefined ? fresh : await tx.claimKey(`${verb} ${subject} ${key}`, fresh, clock.now());
    if (id === fresh) await make(tx, id);
    return id;
  });
}
