/** The connection to one member: a DEALER socket that connects again by itself. */
import { Timer } from "../timer.ts";
import { Dealer } from "../zmq/index.ts";
import { CLIENT_SOCKET } from "./client-socket.ts";
import { type AccessRefusedError, type CurveClientKeys, curveOptions, watchHandshakes } from "./handshake.ts";
import type { Place } from "./members.ts";

/** Who hears of a link. */
export interface LinkOwner {
  /** A handshake has succeeded. */
  up(link: MemberLink): void;
  /** The connection was lost, or could not be made; the link tries again. */
  down(link: MemberLink): void;
  refused(link: MemberLink, error: AccessRefusedError): void;
  reply(link: MemberLink, id: string, frame: Uint8Array): void;
  /** Nothing can be sent, which no other attempt would change. */
  broken(link: MemberLink, error: Error): void;
  /** Whether somebody still waits for the reply to a request. */
  isWanted(id: string): boolean;
}

/** How a link is made. */
export interface LinkOptions {
  readonly curve: CurveClientKeys | undefined;
  /** How long to wait before connecting, ms; 0 by default. */
  readonly delayMs?: number;
  /** How long the first handshake may take until the link counts as down, ms; without it, as long as it takes. */
  readonly patienceMs?: number;
  /** Whether one handshake that is broken off is enough to say why. */
  readonly isOneOfSeveral?: boolean;
}

/** See the top of this file. */
export class MemberLink {
  readonly place: Place;
  /** Number of replies that have arrived. */
  heard = 0;
  /** Whether a principal has replied on the present connection. */
  hasMet = false;
  readonly #owner: LinkOwner;
  readonly #socket: Dealer;
  readonly #outgoing: [id: string, frame: Uint8Array][] = [];
  readonly #connecting: Timer;
  readonly #late: Timer;
  #sending = false;

  constructor(place: Place, owner: LinkOwner, options: LinkOptions) {
    const { curve, delayMs = 0, patienceMs, isOneOfSeveral = false } = options;
    this.place = place;
    this.#owner = owner;
    this.#socket = new Dealer({
      ...CLIENT_SOCKET,
      immediate: true,
      sendHighWaterMark: 0,
      receiveHighWaterMark: 0,
      ...curveOptions(curve),
    });
    const { events } = this.#socket;
    const endpoint = `tcp://${place.address}`;
    this.#late = new Timer(() => this.#tell(() => owner.down(this)));
    watchHandshakes(this.#socket, endpoint, place.address, curve, (error) => owner.refused(this, error), {
      isOneOfSeveral,
    });
    events.on("handshake", () =>
      this.#tell(() => {
        this.#late.cancel();
        owner.up(this);
      }),
    );
    // Another principal may answer at the same address next.
    events.on("disconnected", () => {
      this.hasMet = false;
    });
    events.on("connectRetried", () => this.#tell(() => owner.down(this)));
    this.#connecting = new Timer(() => {
      this.#socket.connect(endpoint);
      if (patienceMs !== undefined) this.#late.in(patienceMs);
    });
    if (delayMs > 0) this.#connecting.in(delayMs);
    else {
      this.#socket.connect(endpoint);
      if (patienceMs !== undefined) this.#late.in(patienceMs);
    }
  }

  /** Sends a request as soon as there is a connection, if it is still wanted then. */
  send(id: string, frame: Uint8Array): void {
    // Without a connection, expired requests would pile up.
    while (this.#outgoing[0] !== undefined && !this.#owner.isWanted(this.#outgoing[0][0]))
      this.#outgoing.shift();
    this.#outgoing.push([id, frame]);
    if (!this.#sending) void this.#pump();
  }

  /** Closes it: what was sent and not answered never is. */
  close(): void {
    this.#connecting.cancel();
    this.#late.cancel();
    this.#socket.close();
  }

  /** Receives replies until it is closed. */
  async receive(): Promise<void> {
    for await (const [id, , frame] of this.#socket) {
      if (id === undefined || frame === undefined) continue;
      this.hasMet = true;
      this.heard++;
      this.#owner.reply(this, Buffer.from(id).toString(), frame);
    }
  }

  #tell(news: () => void): void {
    if (!this.#socket.closed) news();
  }

  /** Sends queued requests one at a time. Without a connection none leaves the queue, so a request that expires is never sent. */
  async #pump(): Promise<void> {
    this.#sending = true;
    try {
      for (let next = this.#outgoing.shift(); next !== undefined; next = this.#outgoing.shift()) {
        const [id, frame] = next;
        await this.#socket.send([id, "", frame], () => this.#owner.isWanted(id));
      }
    } catch (error) {
      if (!this.#socket.closed)
        this.#owner.broken(this, error instanceof Error ? error : new Error(String(error)));
    } finally {
      this.#sending = false;
    }
  }
}
