/** How what is done for a request gets into the audit log, see audit-log.ts. */
import type { OperationalTx } from "../../storage/operational/store.ts";

/** What is known of a change beyond the request. */
interface AuditFacts {
  /** What was changed, if the request does not name it as a whole. */
  readonly subject?: string;
  /** Added to the particulars that come from the request. */
  readonly detail?: Readonly<Record<string, unknown>>;
}

/** Records a request. Part of the unit of work that makes the change. */
export type Audit = (tx: OperationalTx, facts?: AuditFacts) => Promise<void>;

/** For changes that nobody asked for with a request. */
export const unaudited: Audit = async () => {};
