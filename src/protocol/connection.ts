/**
 * Requests in flight to an installation. They go to one member; when that does not answer, all of them go to the next, as they were:
 * whoever repeats a request must get the same answer anyway. With one member it waits for that one.
 */
import { type Clock, systemClock } from "../clock.ts";
import { decodeReply, encodeFields, type Reply } from "../contract/wire.ts";
import { UnprocessableError } from "../errors.ts";
import { BackOff, Timer } from "../timer.ts";
import type { AccessRefusedError, CurveClientKeys } from "./handshake.ts";
import { type LinkOwner, MemberLink } from "./member-link.ts";
import type { Members, Place } from "./members.ts";

/** How long the first handshake with a member may take while there are others, ms; doubled each time all have failed. */
const HANDSHAKE_MS = 500;
const LONGEST_HANDSHAKE_MS = 8000;
/** First and longest pause after no member could be reached, ms. */
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 2000;
/** Agents of a member that is gone come to the others within this time, ms: not all at once. */
const SPREAD_MS = 500;
/** How much longer than a principal a member may take, ms: it keeps requests while there is no leader. */
const KEPT_MS = 10_000;
/** How long a member that has been silent may take to answer a PING, ms. */
const PRESENCE_MS = 1000;
/** How a member begins its reply that has no leader to ask, or cannot reach it. */
const WITHOUT_LEADER = /^(No principal leads\b|This member of the installation cannot reach the leader\b)/;
/** How often the first choice is looked at that is not the present one, ms: the second time that it answers in a row, it is used. */
const LOOK_MS = 30_000;
/** By how much of that time looks differ. */
const LOOK_JITTER = 0.5;

/** What a connection needs. */
export interface ConnectionOptions {
  readonly members: Members;
  readonly curve: CurveClientKeys | undefined;
  /** How long the first choice may take to answer when it is looked at, ms. */
  readonly timeoutMs: number;
  /** Whether it goes back to its first choice, and moves at another moment than others that do. */
  readonly returns: boolean;
  /** It is connected to another member than before. */
  readonly moved: (place: Place) => void;
  /** It is time to ask the member what members there are. */
  readonly look: () => void;
  readonly lookMs?: number | undefined;
  readonly clock?: Clock | undefined;
}

/** How long to wait for one reply. */
export interface Patience {
  readonly attempts: number;
  /** Of one attempt, ms. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

interface Pending {
  readonly ids: string[];
  readonly frame: Uint8Array;
  readonly timer: Timer;
  readonly timeoutMs: number;
  /** How often its time may begin anew with another member. */
  moves: number;
  /** How often it may be asked again because a member has no leader to ask. */
  passes: number;
  /** How much longer than its time it may take while its member is there, ms. */
  keptMs: number;
  /** Whether its member is asked whether it is there. */
  isProbing: boolean;
  /** The link with which its time has begun, and what that had heard by then. */
  since: { readonly link: MemberLink; readonly heard: number } | undefined;
  settle(reply: Reply | Error): void;
}

/** See the top of this file. It connects at the first request. */
export class PrincipalConnection {
  readonly #o: ConnectionOptions;
  readonly #clock: Clock;
  readonly #pending = new Map<string, Pending>();
  readonly #prefix = crypto.randomUUID().slice(0, 8);
  /** The id of requests that only find out whether the member is there. */
  readonly #presence = `${this.#prefix}-presence`;
  readonly #receiving = new Set<Promise<void>>();
  readonly #pauses = new BackOff(FIRST_PAUSE_MS, LONGEST_PAUSE_MS);
  readonly #looking: Timer;
  readonly #owner: LinkOwner;
  #link: MemberLink | undefined;
  #counter = 0;
  #closed = false;
  /** How many members in a row did not answer. */
  #misses = 0;
  /** The first one among them that refused the key, and why. */
  #refusal: AccessRefusedError | undefined;
  /** The last place that was told as the present one. */
  #told: string | undefined;
  /** A member that is looked at, and the id of the request that it has to answer. */
  #candidate: { readonly link: MemberLink; readonly id: string; readonly late: Timer } | undefined;
  /** The first choice, if it answered when it was looked at. */
  #isBack: string | undefined;

  constructor(options: ConnectionOptions) {
    this.#o = options;
    this.#clock = options.clock ?? systemClock;
    this.#looking = new Timer(() => this.#look(), this.#clock);
    this.#owner = {
      up: (link) => this.#up(link),
      down: (link) => this.#down(link),
      refused: (link, error) => this.#refused(link, error),
      reply: (link, id, frame) => this.#reply(link, id, frame),
      broken: (link, error) => {
        if (link === this.#link) this.#failAll(error);
      },
      isWanted: (id) => this.#pending.has(id) || this.#candidate?.id === id || id === this.#presence,
    };
  }

  /** Whether a principal has replied on the present connection. */
  get hasMet(): boolean {
    return this.#link?.hasMet ?? false;
  }

  /** The reply, or undefined when no attempt was answered. A late reply to an earlier attempt counts. */
  async exchange(frame: Uint8Array, { attempts, timeoutMs, signal }: Patience): Promise<Reply | undefined> {
    signal?.throwIfAborted();
    let left = attempts;
    const { promise, resolve } = Promise.withResolvers<Reply | Error | undefined>();
    const onAbort = () => resolve(signal?.reason instanceof Error ? signal.reason : new Error("aborted"));
    signal?.addEventListener("abort", onAbort, { once: true });
    const pending: Pending = {
      ids: [],
      frame,
      timeoutMs,
      timer: new Timer(() => {
        if (!this.#goesOn(pending)) attempt();
      }, this.#clock),
      moves: this.#o.members.all.length - 1,
      passes: this.#o.members.all.length - 1,
      keptMs: KEPT_MS,
      isProbing: false,
      since: undefined,
      settle: resolve,
    };
    const attempt = () => {
      if (left-- === 0) return resolve(undefined);
      const id = `${this.#prefix}-${++this.#counter}`;
      pending.ids.push(id);
      this.#pending.set(id, pending);
      try {
        this.#send(id, pending);
      } catch (error) {
        resolve(error instanceof Error ? error : new Error(String(error)));
      }
    };
    try {
      attempt();
      const outcome = await promise;
      if (outcome instanceof Error) throw outcome;
      return outcome;
    } finally {
      pending.timer.cancel();
      signal?.removeEventListener("abort", onAbort);
      for (const id of pending.ids) this.#pending.delete(id);
    }
  }

  /** Disconnects; requests in flight reject. The next request connects again. */
  leave(error: Error): void {
    this.#failAll(error);
    this.#endLook();
    this.#link?.close();
    this.#link = undefined;
  }

  /** Closes the connection; requests in flight reject. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#looking.cancel();
    this.leave(closedError());
    await Promise.all(this.#receiving);
  }

  #send(id: string, pending: Pending): void {
    if (this.#closed) throw closedError();
    if (this.#link === undefined) {
      this.#link = this.#connect(this.#o.members.current, 0);
      this.#told ??= this.#link.place.address;
      if (this.#o.returns) this.#lookLater();
    }
    this.#begin(pending, this.#link);
    this.#link.send(id, pending.frame);
  }

  /** The time of a request begins. */
  #begin(pending: Pending, link: MemberLink, ms = pending.timeoutMs): void {
    pending.since = { link, heard: link.heard };
    pending.isProbing = false;
    pending.timer.in(ms);
  }

  #connect(place: Place, delayMs: number): MemberLink {
    const { members, curve } = this.#o;
    const isOneOfSeveral = members.hasOthers;
    const pass = Math.floor(this.#misses / Math.max(1, members.all.length));
    const patienceMs = Math.min(LONGEST_HANDSHAKE_MS, HANDSHAKE_MS * 2 ** Math.min(pass, 10));
    const link = new MemberLink(place, this.#owner, {
      curve,
      delayMs,
      isOneOfSeveral,
      ...(isOneOfSeveral ? { patienceMs } : {}),
    });
    const receiving = link.receive().finally(() => this.#receiving.delete(receiving));
    this.#receiving.add(receiving);
    return link;
  }

  #up(link: MemberLink): void {
    if (link === this.#link && this.#told !== link.place.address) this.#tellMoved(link);
  }

  #tellMoved(link: MemberLink): void {
    this.#told = link.place.address;
    this.#o.moved(link.place);
  }

  #down(link: MemberLink): void {
    if (link === this.#candidate?.link) this.#endLook();
    else this.#moveFrom(link);
  }

  #refused(link: MemberLink, error: AccessRefusedError): void {
    if (link === this.#candidate?.link) this.#endLook();
    if (link !== this.#link) return;
    if (this.#o.members.hasOthers) {
      this.#refusal ??= error;
      this.#moveFrom(link);
    } else {
      // Requests in flight fail at once; the next one tries again.
      this.#failAll(error);
    }
  }

  #reply(link: MemberLink, id: string, frame: Uint8Array): void {
    const reply = decoded(frame);
    if (link === this.#candidate?.link) {
      if (!(reply instanceof Error) && reply.kind === "PONG") this.#isWell(link);
      else this.#endLook();
    }
    if (link !== this.#link) return;
    const pending = this.#pending.get(id);
    if (isWithoutLeader(reply) && this.#o.members.hasOthers && (pending?.passes ?? 1) > 0) {
      if (pending !== undefined) pending.passes--;
      this.#moveFrom(link);
      return;
    }
    this.#misses = 0;
    this.#refusal = undefined;
    this.#pauses.reset();
    pending?.settle(reply);
    if (id === this.#presence)
      for (const waiting of new Set(this.#pending.values())) if (waiting.isProbing) waiting.timer.in(1);
  }

  #failAll(error: Error): void {
    for (const pending of new Set(this.#pending.values())) pending.settle(error);
  }

  // ---------------------------------------------------------------- another member

  /** A request has waited in vain. Returns whether it has more time, with this member or another. */
  #goesOn(pending: Pending): boolean {
    const link = this.#link;
    const { since } = pending;
    const { members } = this.#o;
    const isInstallation = members.hasOthers || members.current.member !== undefined;
    if (link === undefined || since?.link !== link || !isInstallation) return false;
    if (since.heard !== link.heard) {
      // It is there, and may wait for a leader.
      const ms = Math.min(pending.keptMs, pending.timeoutMs);
      if (ms <= 0) return false;
      pending.keptMs -= ms;
      this.#begin(pending, link, ms);
      return true;
    }
    if (link.hasMet && !pending.isProbing) {
      link.send(this.#presence, encodeFields(["PING"]));
      pending.isProbing = true;
      pending.timer.in(Math.min(PRESENCE_MS, pending.timeoutMs));
      return true;
    }
    this.#moveFrom(link);
    return pending.timer.isSet;
  }

  /** Turns to the next member, if this one is still the present one and there are others. */
  #moveFrom(link: MemberLink): void {
    const { members, returns } = this.#o;
    if (this.#closed || link !== this.#link || !members.hasOthers) return;
    this.#endLook();
    this.#misses++;
    const isPass = this.#misses % members.all.length === 0;
    if (isPass && this.#refusal !== undefined) {
      this.#failAll(this.#refusal);
      this.#refusal = undefined;
    }
    const pauseMs = isPass ? this.#pauses.next() : this.#misses === 1 && returns ? SPREAD_MS : 0;
    this.#turnTo(this.#connect(members.next(), returns ? Math.random() * pauseMs : pauseMs));
    this.#resend((pending) => pending.moves-- > 0);
  }

  #turnTo(link: MemberLink): void {
    this.#link?.close();
    this.#link = link;
  }

  /** Sends what is in flight to the present member. @param mayBegin whether the time of a request begins anew */
  #resend(mayBegin: (pending: Pending) => boolean): void {
    const link = this.#link;
    if (link === undefined) return;
    for (const pending of new Set(this.#pending.values())) {
      if (mayBegin(pending)) this.#begin(pending, link);
      const id = pending.ids.at(-1);
      if (id !== undefined) link.send(id, pending.frame);
    }
  }

  // ---------------------------------------------------------------- back to the first choice

  #lookLater(): void {
    const { lookMs = LOOK_MS } = this.#o;
    this.#looking.in(lookMs * (1 + Math.random() * LOOK_JITTER));
  }

  /** Looks whether the first choice is there again. */
  #look(): void {
    this.#lookLater();
    const { members, timeoutMs, look } = this.#o;
    look();
    const { preferred, current } = members;
    if (preferred.address === current.address) return;
    if (this.#isBack !== preferred.address) this.#isBack = undefined;
    this.#endLook();
    const id = `${this.#prefix}-${++this.#counter}`;
    const late = new Timer(() => this.#endLook(), this.#clock);
    this.#candidate = { link: this.#connect(preferred, 0), id, late };
    late.in(timeoutMs);
    this.#candidate.link.send(id, encodeFields(["PING"]));
  }

  /** It does not answer, or was only looked at. */
  #endLook(isBack = false): void {
    const candidate = this.#candidate;
    if (candidate === undefined) return;
    this.#candidate = undefined;
    candidate.late.cancel();
    candidate.link.close();
    this.#isBack = isBack ? candidate.link.place.address : undefined;
  }

  /** The first choice has answered. */
  #isWell(link: MemberLink): void {
    if (this.#isBack !== link.place.address) {
      this.#endLook(true);
      return;
    }
    this.#candidate?.late.cancel();
    this.#candidate = undefined;
    this.#isBack = undefined;
    this.#o.members.use(link.place);
    this.#turnTo(link);
    this.#resend(() => true);
    this.#tellMoved(link);
  }
}

/** Whether a member says that it has no leader to ask, or cannot reach it: another may. */
export function isWithoutLeader(reply: Reply | Error): boolean {
  return !(reply instanceof Error) && reply.kind === "UNPROC" && WITHOUT_LEADER.test(reply.payload);
}

function decoded(frame: Uint8Array): Reply | Error {
  try {
    return decodeReply(frame);
  } catch (error) {
    return error as Error;
  }
}

function closedError(): Error {
  return new UnprocessableError("The connection to the principal was closed.");
}
