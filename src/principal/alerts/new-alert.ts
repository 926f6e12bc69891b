/** An alert that is to be raised. */
import type { AlertKind } from "../../workflow/alert-kinds.ts";
import type { Fact } from "./senders/sender.ts";

/** An alert that is to be raised. */
export interface NewAlert {
  readonly kind: AlertKind;
  /** At most one with it is open; see {@link alertKey}. */
  readonly key: string;
  readonly workflow_id: string | null;
  readonly workflow_instance_id: string | null;
  /** What happened, in one line. */
  readonly subject: string;
  /** Particulars for messages. */
  readonly facts: Readonly<Record<string, Fact | undefined>>;
  /** When it happened, ms since the epoch. */
  readonly at_ms: number;
  /** Channels that are told in addition to those of `notify`. */
  readonly to?: readonly string[];
  /** A channel that is not told, because it is what the alert is about. */
  readonly except?: string;
}
