/** Alerts and channels as clients are told of them, and what they can do about them. */
import type { Clock } from "../../clock.ts";
import type {
  AlertDetails,
  AlertSummary,
  ChannelSummary,
  DismissAlert,
  ListAlerts,
} from "../../contract/messages.ts";
import { InvalidInputError, NotFoundError } from "../../errors.ts";
import type { AlertRecord, DeliveryRecord } from "../../storage/operational/alerts.ts";
import type { OperationalStore, OperationalTx } from "../../storage/operational/store.ts";
import type { Audit } from "../audit/audit.ts";
import type { PrincipalEvents } from "../principal-events.ts";
import type { Deliveries } from "./deliveries.ts";

/** What {@link AlertViews} needs. */
export interface AlertViewsOptions {
  readonly store: OperationalStore;
  readonly clock: Clock;
  readonly events: PrincipalEvents;
  /** The channels of `_cdktr.yml`. */
  readonly channels: {
    get(name: string): { readonly kind: string | undefined } | undefined;
    names(): Iterable<string>;
  };
  readonly deliveries: Pick<Deliveries, "sendsAt">;
}

/** Tells of them. */
export class AlertViews {
  readonly #o: AlertViewsOptions;

  constructor(options: AlertViewsOptions) {
    this.#o = options;
  }

  /** Newest first. */
  list(filter: ListAlerts): Promise<AlertSummary[]> {
    return this.#o.store.read(async (tx) => {
      const alerts = await tx.listAlerts(filter);
      const deliveries = await tx.deliveriesOf(alerts.map(({ alert_id }) => alert_id));
      const ofAlert = Map.groupBy(deliveries, ({ alert_id }) => alert_id);
      return alerts.map((alert) => this.#summaryOf(alert, ofAlert.get(alert.alert_id) ?? []));
    });
  }

  /** @throws NotFoundError when there is none, InvalidInputError when several ids begin like this */
  get(idPrefix: string): Promise<AlertDetails> {
    return this.#o.store.read(async (tx) => {
      const alert = await find(tx, idPrefix);
      const deliveries = await tx.deliveriesOf([alert.alert_id]);
      return { ...this.#summaryOf(alert, deliveries), facts: factsIn(alert) };
    });
  }

  /**
   * Sends again what was given up. Returns how many deliveries that are.
   * @param idPrefix of an alert; undefined for all
   * @throws as {@link get}
   */
  async retry(idPrefix: string | undefined, audit: Audit): Promise<{ deliveries: number }> {
    const { store, clock, events } = this.#o;
    return store.transact(async (tx) => {
      const alert = idPrefix === undefined ? null : await find(tx, idPrefix);
      const deliveries = await tx.retryDeliveries(alert?.alert_id ?? null, clock.now());
      await audit(tx, {
        ...(alert === null ? {} : { subject: alert.alert_id }),
        detail: { deliveries },
      });
      tx.afterCommit(() => events.emit("alerts changed"));
      return { deliveries };
    });
  }

  /**
   * Does not send what waits, or was given up, in as many commits as it takes. Returns how many deliveries that are.
   * @throws as {@link get}
   */
  async dismiss({ alert_id, channel }: DismissAlert, audit: Audit): Promise<{ deliveries: number }> {
    const { store, clock, events } = this.#o;
    let deliveries = 0;
    for (let more = true; more; ) {
      const done = await store.transact(async (tx) => {
        const alertId = alert_id === undefined ? null : (await find(tx, alert_id)).alert_id;
        const dismissed = await tx.dismissDeliveries({ alertId, channel: channel ?? null }, clock.now());
        const of = alertId === null || channel === undefined ? {} : { channel };
        await audit(tx, {
          subject: alertId ?? channel ?? "",
          detail: { deliveries: dismissed.deliveries, ...of },
        });
        tx.afterCommit(() => {
          events.emit("alerts changed");
          events.emit("statuses written");
        });
        return dismissed;
      });
      deliveries += done.deliveries;
      more = done.more;
    }
    return { deliveries };
  }

  /** All channels that there are, and those that are to be told something, by name. */
  async channels(): Promise<ChannelSummary[]> {
    const { store, channels } = this.#o;
    const [counts, next, states] = await store.read(async (tx) => [
      await tx.countDeliveries(),
      await tx.nextDeliveries(),
      await tx.channelStates(),
    ]);
    const known = new Map(counts.map((each) => [each.channel, each]));
    const last = new Map(states.map((each) => [each.channel, each]));
    const names = new Set([...channels.names(), ...known.keys()]);
    return [...names].sort().map((channel) => ({
      channel,
      kind: channels.get(channel)?.kind ?? null,
      exists: channels.get(channel) !== undefined,
      pending: known.get(channel)?.pending ?? 0,
      dead: known.get(channel)?.dead ?? 0,
      next_ms: this.#sendsAt(channel, next.due.get(channel) ?? null),
      last_sent_ms: last.get(channel)?.sent_at_ms ?? null,
      error: last.get(channel)?.error ?? null,
    }));
  }

  #summaryOf({ facts: _, ...alert }: AlertRecord, deliveries: readonly DeliveryRecord[]): AlertSummary {
    return {
      ...alert,
      deliveries: deliveries.map(({ alert_id: _a, created_at_ms: _b, due_ms, ...delivery }) => ({
        ...delivery,
        due_ms: delivery.state === "PENDING" ? this.#sendsAt(delivery.channel, due_ms) : due_ms,
      })),
    };
  }

  #sendsAt(channel: string, dueMs: number | null): number | null {
    return dueMs === null ? null : this.#o.deliveries.sendsAt(channel, dueMs);
  }
}

async function find(tx: OperationalTx, idPrefix: string): Promise<AlertRecord> {
  const [alert, another] = await tx.findAlerts(idPrefix.toLowerCase());
  if (alert === undefined)
    throw new NotFoundError(`No alert has the id ${idPrefix}, and none begins with it.`, {
      hint: "'cdktr alerts list' shows them.",
    });
  if (another !== undefined)
    throw new InvalidInputError(`Several alerts have ids that begin with ${idPrefix}.`, {
      hint: "Give a longer part of the id.",
    });
  return alert;
}

function factsIn({ facts }: AlertRecord): Record<string, unknown> {
  try {
    return JSON.parse(facts);
  } catch {
    return {};
  }
}
