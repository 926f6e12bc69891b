/** Requests that create a run may come twice. */
import type { Clock } from "../../clock.ts";
import type { OperationalStore, OperationalTx } from "../../storage/operational/store.ts";

/** The run created under an idempotency key; `make` creates it the first time, `again` is called instead of it when it is there already. */
export function once(
  { store, clock }: { readonly store: OperationalStore; readonly clock: Clock },
  verb: string,
  subject: string,
  key: string | undefined,
  make: (tx: OperationalTx, runId: string) => Promise<void>,
  again: (tx: OperationalTx) => Promise<void> = async () => {},
): Promise<string> {
  const fresh = crypto.randomUUID();
  return store.transact(async (tx) => {
    const id = key === undefined ? fresh : await tx.claimKey(`${verb} ${subject} ${key}`, fresh, clock.now());
    await (id === fresh ? make(tx, id) : again(tx));
    return id;
  });
}
