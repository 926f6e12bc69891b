/**
 * The state machine of a delivery: that one channel is told of one alert, or of its end. Several deliveries of a channel may travel in one
 * message, and go through these states together.
 *
 *             about to be sent             it has arrived
 *    ──▶ PENDING ──────────────▶ SENDING ────────────────▶ SENT
 *           ▲                       │
 *           └───────────────────────┘
 *             it failed, or the principal was killed
 *
 *    SENDING ──▶ DEAD      refused for good, or it has failed for a day
 *    DEAD ──▶ PENDING      somebody wants it to be sent again
 *
 *    PENDING, DEAD ──▶ DISMISSED      nobody wants to hear it any more
 *
 * SENDING is committed before anything is sent, and SENT after it has arrived: a message is never lost, and sent twice only if the
 * principal is killed, or nothing can be written, in between.
 */
import type { Transitions } from "../../workflow/status.ts";

export type DeliveryState = "PENDING" | "SENDING" | "SENT" | "DEAD" | "DISMISSED";

/** The legal transitions of a delivery. */
export const DELIVERY_TRANSITIONS: Transitions<DeliveryState> = {
  PENDING: ["SENDING", "DISMISSED"],
  SENDING: ["SENT", "PENDING", "DEAD"],
  SENT: [],
  DEAD: ["PENDING", "DISMISSED"],
  DISMISSED: [],
};
