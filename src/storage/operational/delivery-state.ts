/**
 * The state machine of a delivery: that one channel is told of one alert, or of its end. Several deliveries of a channel may travel in one
 * message, and go through these states together.
 *
 *                its message is about to be sent            it has arrived
 *   ──▶ PENDING ─────────────────────────────────▶ SENDING ────────────────▶ SENT
 *         ▲ ▲                                        │ │
 *         │ └────────────────────────────────────────┘ │ given up: refused for good,
 *         │   it failed, and is tried again later;     │ or it has failed for too long
 *         │   or the principal was killed meanwhile    ▼
 *         └────────────────────────────────────────── DEAD
 *                somebody wants it to be sent again
 *
 * SENDING is committed before anything is sent, and SENT after it has arrived: a message is never lost, and sent twice only if the
 * principal is killed, or nothing can be written, in between.
 */
import type { Transitions } from "../../workflow/status.ts";

export type DeliveryState = "PENDING" | "SENDING" | "SENT" | "DEAD";

/** The legal transitions of a delivery. */
export const DELIVERY_TRANSITIONS: Transitions<DeliveryState> = {
  PENDING: ["SENDING"],
  SENDING: ["SENT", "PENDING", "DEAD"],
  SENT: [],
  DEAD: ["PENDING"],
};
