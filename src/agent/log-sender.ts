import type { Clock } from "../clock.ts";
import { errorMessage } from "../errors.ts";
import { log } from "../log.ts";
import { type CurveClientKeys, curveOptions } from "../protocol/client.ts";
import { CLIENT_SOCKET } from "../protocol/client-socket.ts";
import { watchHandshakes } from "../protocol/handshake.ts";
import { BackgroundService } from "../service.ts";
import { isDoneWithin } from "../timer.ts";
import { hostAndPort, Push, tcpEndpoint } from "../zmq/index.ts";
import type { LogFrame, Outbox } from "./outbox.ts";

/** Maximum number of frames in flight to a slow principal; the rest wait on disk. */
const HIGH_WATER_MARK = 64;
/** Maximum amount of unacknowledged data in flight when lines are resent, bytes. */
const WINDOW_BYTES = 16 * 1024 * 1024;
/** Interval at which the principal is asked for its position while lines are in flight, ms. */
const CHECK_MS = 500;
/** Lines count as lost when the principal has received none for this long, ms. */
const LOST_AFTER_MS = 1000;
/** The same interval while the window is full, ms. */
const WINDOW_CHECK_MS = 50;
/** How long no line may get through while the principal answers requests, before the agent says so, ms. */
const STUCK_MS = 10_000;
/** Maximum pause between two attempts to resend lines that the principal does not accept, ms. */
const LONGEST_PATIENCE_MS = 30_000;

export interface LogSenderOptions {
  readonly outbox: Outbox;
  readonly host: string;
  /** The port on which the principal receives log lines. */
  readonly port: number;
  readonly curve?: CurveClientKeys | undefined;
  readonly clock?: Clock;
  /** Asks the principal for its position; the answer arrives through {@link LogSender.received}. */
  ask(): Promise<void>;
}

/**
 * Delivers log lines: pushes each frame as soon as it is written, without waiting for an acknowledgement. Lines that were lost in
 * transit, or for which the principal had no room, are resent from the outbox.
 */
export class LogSender extends BackgroundService {
  readonly name = "log sender";
  readonly #o: LogSenderOptions;
  readonly #outbox: Outbox;
  #socket: Push;
  /** Where the principal receives lines. */
  #place: { readonly host: string; readonly port: number };
  readonly #ask: () => Promise<void>;
  /** Number of the last line handed to the socket; undefined until the principal has reported its position. */
  #sent: number | undefined;
  /** Number of the last line that the principal has received. */
  #received = 0;
  /** Frames that were sent but not acknowledged, oldest first. */
  #underWay: { readonly last: number; readonly bytes: number }[] = [];
  #underWayBytes = 0;
  /** How often sending has restarted from an earlier line. */
  #rewinds = 0;
  #isPumping = false;
  readonly #check = this.timer(() => void this.#checkProgress());
  #isChecking = false;
  /** When lines were last acknowledged or resent. */
  #progressAt = 0;
  /** How long after that the next acknowledgement may take, ms. */
  #patience = LOST_AFTER_MS;
  #handOvers: { readonly seq: number; readonly resolve: () => void }[] = [];
  /** Since when {@link handedOver} has waited in vain; undefined when lines get through. */
  #stuckSince: number | undefined;
  #saidStuck = false;

  constructor(options: LogSenderOptions) {
    super(options.clock);
    this.#o = options;
    this.#outbox = options.outbox;
    this.#ask = options.ask;
    this.#place = { host: options.host, port: options.port };
    this.#socket = this.#open();
  }

  protected override onStart(): void {
    this.#connect();
  }

  /** Delivers to another member from now on, beginning with what that member does not have. */
  turnTo({ host, port }: { readonly host: string; readonly port: number }): void {
    if (this.#socket.closed || (host === this.#place.host && port === this.#place.port)) return;
    this.#place = { host, port };
    const former = this.#socket;
    this.#socket = this.#open();
    former.close();
    this.hold();
    this.#connect();
  }

  #open(): Push {
    return new Push({
      ...CLIENT_SOCKET,
      immediate: true,
      sendHighWaterMark: HIGH_WATER_MARK,
      ...curveOptions(this.#o.curve),
    });
  }

  #connect(): void {
    const socket = this.#socket;
    const { host, port } = this.#place;
    const endpoint = tcpEndpoint(host, port);
    watchHandshakes(socket, endpoint, hostAndPort(host, port), this.#o.curve, (error) => {
      // The socket keeps trying; requests to the API have already reported the problem.
      log.debug(error.message);
    });
    socket.events.on("disconnected", () => {
      if (socket === this.#socket) this.hold();
    });
    // What answers there now may have less than what answered before.
    socket.events.on("handshake", () => {
      if (socket === this.#socket && this.#sent === undefined) this.track(this.#ask());
    });
    socket.connect(endpoint);
  }

  /** Sends a new frame from the outbox. */
  push(frame: LogFrame): void {
    if (this.#sent === undefined || this.#isPumping) return;
    if (frame.first <= this.#sent + 1 && this.#trySend(frame.frame)) this.#advance(frame);
    else this.#pump();
  }

  /** Sends nothing until the position of the principal is known again: another principal may answer at the same address. */
  hold(): void {
    this.#sent = undefined;
    this.#received = 0;
    this.#underWay = [];
    this.#underWayBytes = 0;
    this.#rewinds++;
  }

  /** Records that the principal has the lines up to `seq`. */
  received(seq: number): void {
    // Lines that the principal has received, but not stored, are gone when its history has to be started again.
    if (this.#sent === undefined || seq < this.#received) this.rewind(seq);
    if (seq <= this.#received) return;
    this.#received = seq;
    this.#progressAt = this.clock.monotonic();
    this.#patience = LOST_AFTER_MS;
    let count = 0;
    for (const { last, bytes } of this.#underWay) {
      if (last > seq) break;
      this.#underWayBytes -= bytes;
      count++;
    }
    this.#underWay.splice(0, count);
  }

  /** Restarts sending after line `received`, the last one that the principal has. */
  rewind(received: number): void {
    this.#sent = received;
    this.#received = received;
    this.#underWay = [];
    this.#underWayBytes = 0;
    this.#rewinds++;
    this.#pump();
  }

  /** Resolves when the lines up to `seq` have been handed to the socket, or after `limitMs`; at once while no line gets through. */
  async handedOver(seq: number, limitMs: number): Promise<void> {
    if ((this.#sent ?? 0) >= seq) return;
    if (this.#stuckSince !== undefined) return this.#sayStuck(this.#stuckSince);
    const { promise, resolve } = Promise.withResolvers<void>();
    const waiting = { seq, resolve };
    this.#handOvers.push(waiting);
    const begun = this.clock.monotonic();
    if (await isDoneWithin(limitMs, promise, this.clock)) return;
    this.#handOvers = this.#handOvers.filter((other) => other !== waiting);
    this.#stuckSince ??= begun;
  }

  protected override onStop(): void {
    this.#socket.close();
  }

  #sayStuck(sinceMs: number): void {
    if (this.#saidStuck || this.clock.monotonic() - sinceMs < STUCK_MS) return;
    this.#saidStuck = true;
    const { host, port } = this.#place;
    log.warn(
      `The principal answers, but no log line gets through to ${hostAndPort(host, port)}: is that port blocked? Lines wait in the outbox; tasks that print will wait when it is full.`,
    );
  }

  #trySend(frame: Uint8Array): boolean {
    try {
      return this.#socket.trySend(frame);
    } catch (error) {
      if (!this.#socket.closed) log.debug(`A log frame could not be sent: ${errorMessage(error)}`);
      return false;
    }
  }

  async #sendPatiently(frame: Uint8Array): Promise<void> {
    const socket = this.#socket;
    try {
      await socket.send(frame);
    } catch (error) {
      // It has turned to another member meanwhile.
      if (socket === this.#socket) throw error;
    }
  }

  #pump(): void {
    if (!this.#isPumping && !this.#socket.closed) this.track(this.#sendWhatWaits());
  }

  async #sendWhatWaits(): Promise<void> {
    this.#isPumping = true;
    try {
      while (!this.#socket.closed && this.#sent !== undefined) {
        const frames = this.#outbox.frames(this.#sent);
        if (frames.length === 0) return;
        await this.#sendFrames(frames);
      }
    } catch (error) {
      if (!this.#socket.closed) log.warn(`Log lines cannot be sent: ${errorMessage(error)}`);
    } finally {
      // Set in the same turn in which nothing was left to send: the next frame must see it.
      this.#isPumping = false;
    }
  }

  async #sendFrames(frames: readonly LogFrame[]): Promise<void> {
    for (const frame of frames) {
      const rewinds = this.#rewinds;
      if (this.#underWayBytes >= WINDOW_BYTES) await this.#waitForWindow();
      if (rewinds !== this.#rewinds || this.#socket.closed) return;
      if (!this.#trySend(frame.frame)) await this.#sendPatiently(frame.frame);
      if (rewinds !== this.#rewinds) return;
      this.#advance(frame);
    }
  }

  /**
   * Waits until the principal has acknowledged enough of what is in flight. If it keeps rejecting lines, sending continues anyway, so
   * that the live log continues even though the history has no room.
   */
  async #waitForWindow(): Promise<void> {
    while (this.#underWayBytes >= WINDOW_BYTES && !this.#socket.closed) {
      await this.#ask();
      if (this.#underWayBytes < WINDOW_BYTES || this.#patience > 4 * LOST_AFTER_MS) return;
      this.#sendAgainIfLost();
      await this.pause(WINDOW_CHECK_MS);
    }
  }

  #advance({ last, frame }: LogFrame): void {
    this.#sent = last;
    if (this.#saidStuck) log.info("Log lines get through to the principal again.");
    this.#stuckSince = undefined;
    this.#saidStuck = false;
    if (this.#underWay.length === 0) this.#progressAt = this.clock.monotonic();
    this.#underWay.push({ last, bytes: frame.length });
    this.#underWayBytes += frame.length;
    this.#armCheck();
    if (this.#handOvers.length === 0) return;
    for (const { seq, resolve } of this.#handOvers) if (seq <= last) resolve();
    this.#handOvers = this.#handOvers.filter(({ seq }) => seq > last);
  }

  #armCheck(): void {
    if (this.#underWay.length > 0 && !this.#isChecking) this.#check.within(CHECK_MS);
  }

  async #checkProgress(): Promise<void> {
    this.#isChecking = true;
    await this.#ask();
    this.#isChecking = false;
    this.#sendAgainIfLost();
    this.#armCheck();
  }

  #sendAgainIfLost(): void {
    if (this.#underWay.length === 0 || this.clock.monotonic() < this.#progressAt + this.#patience) return;
    log.debug(`Log lines after ${this.#received} were lost: sending them again.`);
    // The principal may have no room, in which case resending more often does not help.
    this.#patience = Math.min(this.#patience * 2, LONGEST_PATIENCE_MS);
    this.rewind(this.#received);
  }
}
