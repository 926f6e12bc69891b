/** What a member shows to the outside, whether or not it leads: who may connect, and what they connect to. */
import type { ConsolaInstance } from "consola";
import type { Clock } from "../../clock.ts";
import type { MetricsServerOptions } from "../../metrics/metrics-server.ts";
import { refuseOpenBinding } from "../../protocol/doors/bind.ts";
import type { Service } from "../../service.ts";
import { type Entrance, entranceOf } from "../api/entrance.ts";
import { Front } from "../api/front.ts";
import type { PrincipalOptions } from "../principal.ts";
import { Door, type DoorOptions } from "./door.ts";
import type { ClusterView } from "./leader-view.ts";
import { LogRelay } from "./log-relay.ts";
import { WebhookRelay } from "./webhook-relay.ts";

export interface Outside {
  readonly entrance: Entrance;
  readonly door: Door;
  readonly front: Front;
  /** The ports for logs and webhooks, while it does not lead. */
  readonly relays: readonly Service[];
  /** To be started in this order, before the relays. */
  readonly services: readonly Service[];
}

/** What the member itself has to do with it. */
interface OfMember {
  readonly view: ClusterView;
  readonly clock: Clock;
  /** What it answers itself. */
  readonly own: DoorOptions["own"];
  readonly pages: Pick<MetricsServerOptions, "page" | "health">;
  /** Shares a change of the keys with the other members. */
  readonly share: () => Promise<void>;
}

/**
 * To be made when the keys are there.
 * @throws UsageError when it would be open to others without protection
 */
export function outsideOf(
  o: Pick<PrincipalOptions, "config" | "insecure" | "listeners"> & { readonly log: ConsolaInstance },
  { view, clock, own, pages, share }: OfMember,
): Outside {
  const { config, log, insecure = false } = o;
  const entrance = entranceOf(config, { insecure, clock, log: log.withTag("access"), share });
  const { access, locals } = entrance;
  if (access === undefined) refuseOpenBinding(config.CDKTR_PRINCIPAL_HOST, insecure);
  const door = new Door({ view, own, access, log: log.withTag("door") });
  const front = new Front({ config, entrance, target: door, isMember: true, pages, log });
  const logs = new LogRelay({
    host: config.CDKTR_PRINCIPAL_HOST,
    listeningPort: config.CDKTR_LOGS_LISTENING_PORT,
    publishingPort: config.CDKTR_LOGS_PUBLISHING_PORT,
    view,
    access,
    locals,
    log: log.withTag("log"),
  });
  const webhooks = new WebhookRelay({
    host: config.CDKTR_WEBHOOK_HOST,
    port: config.CDKTR_WEBHOOK_PORT,
    door,
    access,
    log: log.withTag("webhook"),
  });
  const relays = o.listeners === false ? [logs] : [logs, webhooks];
  const services = [access, locals, ...front.services, door].filter((one) => one !== undefined);
  return { entrance, door, front, relays, services };
}
