/** What units of work do with alerts and their deliveries: a part of the interface of the operational state, see store.ts. */
import type { DeliveryState } from "./delivery-state.ts";
import type { TaskRunRecord } from "./records.ts";

/** A condition that is worth telling: raised once, resolved once. */
export interface AlertRecord {
  readonly alert_id: string;
  /** See workflow/alert-kinds.ts; a newer cdktr may have others. */
  readonly kind: string;
  /** At most one with it is open. */
  readonly key: string;
  readonly workflow_id: string | null;
  readonly workflow_instance_id: string | null;
  /** What happened, in one line. */
  readonly subject: string;
  /** JSON object: particulars for messages. */
  readonly facts: string;
  readonly raised_at_ms: number;
  /** Null while it is open. Events are resolved as they are raised. */
  readonly resolved_at_ms: number | null;
}

/** Whether a channel is told that an alert was raised, or that it is over. */
type DeliveryAbout = "raised" | "resolved";

/** That a channel is told of an alert. */
export interface DeliveryRecord {
  readonly alert_id: string;
  readonly channel: string;
  readonly about: DeliveryAbout;
  readonly state: DeliveryState;
  /** How often it was tried; from 0 again when somebody wants it to be sent again. */
  readonly attempts: number;
  /** When it is to be sent, ms since the epoch; null unless it is PENDING. */
  readonly due_ms: number | null;
  /** The message in which it travels; null before the first try. */
  readonly message_id: string | null;
  /** Why the last try failed; null if it did not. */
  readonly error: string | null;
  readonly created_at_ms: number;
  readonly changed_at_ms: number;
}

/** A delivery that is about to be sent, with its alert. */
interface SentAlert {
  readonly alert: AlertRecord;
  readonly about: DeliveryAbout;
}

/** A message whose deliveries are SENDING. */
export interface ClaimedMessage {
  readonly message_id: string;
  readonly channel: string;
  /** Which try this is, from 1. */
  readonly attempt: number;
  /** When its first delivery was created. */
  readonly created_at_ms: number;
  /** The first ones, oldest first. */
  readonly alerts: readonly SentAlert[];
  /** How many more there are. */
  readonly more: number;
  /** Why the last try failed. */
  readonly error: string | null;
}

/** How a try ended, and what follows. */
export type MessageOutcome =
  | { readonly state: "SENT" }
  | { readonly state: "PENDING"; readonly error: string; readonly due_ms: number }
  | { readonly state: "DEAD"; readonly error: string };

/** Which alerts are listed. */
interface AlertFilter {
  /** Those that are not resolved, those with a delivery that was given up, or all. */
  readonly which: "open" | "dead" | "all";
  readonly kind?: string | undefined;
  readonly workflow_id?: string | undefined;
  readonly limit: number;
}

/** Numbers of deliveries of a channel. */
export interface ChannelCounts {
  readonly channel: string;
  readonly pending: number;
  readonly dead: number;
}

/** A task, or an item of a fan-out, that failed. */
export type FailedTask = Pick<
  TaskRunRecord,
  | "task_id"
  | "task_name"
  | "task_instance_id"
  | "item_key"
  | "status"
  | "exit_code"
  | "signal"
  | "error"
  | "finished_at_ms"
>;

/** What is known of a channel from its deliveries. */
interface ChannelState {
  readonly channel: string;
  /** When a message arrived last; null if none has. */
  readonly sent_at_ms: number | null;
  /** Why its last attempt failed; null if it did not. */
  readonly error: string | null;
}

/** Alerts, and who is told of them. */
export interface AlertIntentions {
  /** Raises an alert, unless one with its key is open. Returns whether it did. */
  raiseAlert(alert: AlertRecord): Promise<boolean>;
  /** Resolves the open alert with a key. Returns it; null if there is none. */
  resolveAlert(key: string, atMs: number): Promise<AlertRecord | null>;
  getAlert(alertId: string): Promise<AlertRecord | null>;
  /** Those whose id begins like this, at most two. */
  findAlerts(idPrefix: string): Promise<AlertRecord[]>;
  /** Newest first. */
  listAlerts(filter: AlertFilter): Promise<AlertRecord[]>;
  /** The open alerts about a run, oldest first. */
  openAlertsOf(runId: string): Promise<AlertRecord[]>;
  /** The kinds and keys of all that are open, and the runs that they are about. */
  openAlerts(): Promise<Pick<AlertRecord, "kind" | "key" | "workflow_instance_id">[]>;
  /** Numbers of open alerts by kind. */
  countOpenAlerts(): Promise<ReadonlyMap<string, number>>;

  /** A channel is to be told of an alert, unless it is already. */
  addDelivery(
    delivery: Pick<DeliveryRecord, "alert_id" | "channel" | "about" | "created_at_ms"> & { due_ms: number },
  ): Promise<void>;
  /** Those of these alerts, oldest first. */
  deliveriesOf(alertIds: readonly string[]): Promise<DeliveryRecord[]>;
  /** When each channel with deliveries that are PENDING has something to send next, ms since the epoch; and whether some are SENDING. */
  nextDeliveries(): Promise<{ due: ReadonlyMap<string, number>; isSending: boolean }>;
  /**
   * Takes what a channel is to send next, if that is due: a message that has failed before as it was, or all deliveries that are in no
   * message yet as a new one. They are SENDING then. What a message that failed tells about a workflow goes before anything newer about it.
   * @param dueByMs what is due later stays
   * @param messageId of a new message
   * @param most alerts that are returned; the others are counted
   * @param mostTaken alerts that a new message has; the others are in the next one
   */
  claimMessage(
    channel: string,
    dueByMs: number,
    nowMs: number,
    messageId: string,
    most: number,
    mostTaken?: number,
  ): Promise<ClaimedMessage | null>;
  /** A try of a message that is SENDING is over. Returns the number of its deliveries; 0 if it is not SENDING. */
  settleMessage(
    message: Pick<ClaimedMessage, "channel" | "message_id">,
    outcome: MessageOutcome,
    nowMs: number,
  ): Promise<number>;
  /** What was SENDING when a principal was killed is PENDING again, and due. Returns how many deliveries that are. */
  recoverSending(nowMs: number): Promise<number>;
  /** What a channel has failed to send is due now. */
  hurryChannel(channel: string, nowMs: number): Promise<void>;
  /**
   * Sends deliveries that were given up again.
   * @param alertId those of this alert; null for all
   * @returns how many there are
   */
  retryDeliveries(alertId: string | null, nowMs: number): Promise<number>;
  /**
   * Nobody wants deliveries that wait, or were given up, to be sent any more. Does a bounded amount of work.
   * @returns how many it were, and whether there may be more
   */
  dismissDeliveries(
    which: { readonly alertId: string | null; readonly channel: string | null },
    nowMs: number,
  ): Promise<{ deliveries: number; more: boolean }>;
  /** By channel. */
  countDeliveries(): Promise<ChannelCounts[]>;
  /** Of channels that were tried, by name. */
  channelStates(): Promise<ChannelState[]>;
  /** When each message of a channel arrived since a time, oldest first. */
  recentMessages(sinceMs: number): Promise<{ channel: string; sent_at_ms: number }[]>;

  /** The tasks, and items of fan-outs, that FAILED or CRASHED in a run and were not allowed to, the last one first. */
  failedTasksOf(runId: string, limit: number): Promise<FailedTask[]>;
  /**
   * A run of a workflow that tells failures is over: counts failures in a row.
   * @returns how many there are now, and how many there were before
   */
  countToldFailure(
    workflowId: string,
    hasFailed: boolean,
    nowMs: number,
  ): Promise<{ failures: number; before: number }>;
  /** Removes alerts that are over and were told before a time, or are not among the newest. Does a bounded amount of work; returns how much that was. */
  forgetAlerts(beforeMs: number, keep: number): Promise<number>;
}
