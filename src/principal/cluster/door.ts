/**
 * What answers at the API of a member of an installation with several principals: the services of this process while it leads, otherwise
 * the leader. Requests that come while nobody leads, and those in flight when a leader goes, wait for the next one. A request that changes
 * something may be carried out twice then, as when a client that got no reply repeats it: its idempotency key tells.
 */
import type { ConsolaInstance } from "consola";
import { isNotLeader, NOT_LEADER } from "../../contract/forward.ts";
import type { VerbEntry } from "../../contract/verb-entry.ts";
import { VERBS, type Verb } from "../../contract/verbs.ts";
import { decodeReply, encodeReply } from "../../contract/wire.ts";
import { type CdktrError, NotYetError, UnprocessableError } from "../../errors.ts";
import type { Access } from "../../protocol/doors/access.ts";
import { BackgroundService, type Service } from "../../service.ts";
import { isDoneWithin, Timer } from "../../timer.ts";
import type { ApiCall, ApiTarget } from "../api/api-target.ts";
import type { Handlers } from "../api/handlers.ts";
import { LocalTarget } from "../api/local-target.ts";
import { ForwardLink, LeaderLostError, LeaderSilentError } from "./forward-link.ts";
import { type ClusterView, isSameTerm, type LeaderPlace } from "./leader-view.ts";

/** How long a request waits for a leader, in all, ms, and how long once there has been none for that time. */
const WAITS_MS = 10_000;
const HOPELESS_MS = 1000;
/** How long a member that says that it does not lead, although it seems to, is left alone, ms. */
const ASK_AGAIN_MS = 100;
/** A request that was held for less was not held, ms. */
const MOMENT_MS = 50;
/** How long a member that stops still waits for replies of the leader, ms. */
const STOP_MS = 1000;

/** Verbs whose replies say where the principal is that the client talks to: that is this one, whoever leads. */
const SAY_WHERE: ReadonlySet<Verb> = new Set(["PRINCIPALINFO", "JOIN"]);

/** What {@link Door} needs. */
export interface DoorOptions {
  readonly view: ClusterView;
  /** What each member answers itself, also while nobody leads. */
  readonly own: Partial<Handlers>;
  readonly access: Access | undefined;
  readonly log: ConsolaInstance;
  /** How long a request waits for a leader, in all, ms. */
  readonly waitMs?: number;
}

/** The services of this process during a term. */
interface Term {
  readonly target: ApiTarget;
  /** Requests that they are answering. */
  readonly inFlight: Set<PromiseWithResolvers<Uint8Array | null>>;
  /** What comes now waits for the next leader. */
  isHeld: boolean;
  /** Whether another one may lead by now, without this process knowing it: what it says may be outdated. */
  readonly hasLapsed: () => boolean;
}

/** Answers the requests that arrive at a member. To be started after the API's socket, and stopped before it. */
export class Door extends BackgroundService implements ApiTarget {
  readonly name = "door";
  readonly #o: DoorOptions;
  readonly #waitMs: number;
  readonly #own: ApiTarget;
  readonly #inFlight = new Set<Promise<unknown>>();
  readonly #changed = new Set<() => void>();
  #term: Term | undefined;
  #link: { readonly leader: LeaderPlace; readonly link: ForwardLink } | undefined;
  /** Since when nobody could be asked (monotonic); infinite while somebody can. */
  #awaySinceMs = 0;
  #unwatch = () => {};

  constructor(options: DoorOptions) {
    super();
    this.#o = options;
    this.#waitMs = options.waitMs ?? WAITS_MS;
    const { own, access, log } = options;
    this.#own = new LocalTarget({
      handlers: { PING: () => null, ...own } as Handlers,
      keys: access && { access },
      log,
    });
  }

  protected override onStart(): void {
    this.#awaySinceMs = this.clock.monotonic();
    this.#unwatch = this.#o.view.signals.on("leader", () => this.#look());
    this.#look();
  }

  protected override async onStop(): Promise<void> {
    if (this.#term !== undefined || this.#link !== undefined)
      await isDoneWithin(STOP_MS, Promise.allSettled(this.#inFlight));
    this.#unwatch();
    this.endTerm();
    const link = this.#link?.link;
    this.#link = undefined;
    await link?.stop();
    this.#wake();
  }

  /**
   * A service that answers with a target while it runs; it stops once all that the target was given is answered, or handed back.
   * @param hasLapsed whether another principal may lead by now: nothing is answered then. A process that was stopped for a while does not
   *   know it by itself
   */
  serving(target: ApiTarget, hasLapsed: () => boolean = () => false): Service {
    const term: Term = { target, inFlight: new Set(), isHeld: false, hasLapsed };
    return {
      name: "door of the leader",
      start: async () => {
        this.#term = term;
        this.#look();
      },
      stop: async () => {
        term.isHeld = true;
        while (term.inFlight.size > 0)
          await Promise.allSettled([...term.inFlight].map(({ promise }) => promise));
        if (this.#term === term) this.endTerm();
      },
    };
  }

  /** What comes from now on waits for the next leader; this process still answers what it was asked before. */
  hold(): void {
    if (this.#term !== undefined) this.#term.isHeld = true;
  }

  /** This process does not lead any more: nothing that it still finds out is given as an answer. What is in flight waits for the next leader. */
  endTerm(): void {
    const term = this.#term;
    this.#term = undefined;
    for (const { reject } of term?.inFlight ?? [])
      reject(new LeaderLostError("This member does not lead any more."));
    this.#look();
  }

  async answer(call: ApiCall): Promise<Uint8Array | null> {
    const { verb } = call.request;
    if (verb === "PING" || verb in this.#o.own) return this.#own.answer(call);
    const answered = this.#answer(call);
    this.#inFlight.add(answered);
    try {
      return await answered;
    } finally {
      this.#inFlight.delete(answered);
    }
  }

  async #answer(call: ApiCall): Promise<Uint8Array | null> {
    const { verb } = call.request;
    const keyed = call.isForwarded || !isKeyed(verb) ? call : { ...call, key: crypto.randomUUID() };
    const arrivedMs = this.clock.monotonic();
    let leftMs = Math.max(Math.min(HOPELESS_MS, this.#waitMs), this.#waitMs - this.#awayMs);
    for (let isAgain = false; ; isAgain = true) {
      const began = this.clock.monotonic();
      const way = await this.#way(call, leftMs, isAgain);
      leftMs -= this.clock.monotonic() - began;
      if (way === "elsewhere") return NOT_LEADER;
      if (way === "nowhere") return null;
      const asked = heldFor(keyed, this.clock.monotonic() - arrivedMs);
      try {
        if (!(way instanceof ForwardLink)) return await this.#ask(way, asked);
        const reply = await way.answer(asked);
        return SAY_WHERE.has(verb) ? this.#located(reply) : reply;
      } catch (error) {
        // An agent that gets no reply turns to another member.
        if (error instanceof LeaderSilentError && VERBS[verb].budget === "agents") return null;
        if (!(error instanceof LeaderLostError)) throw error;
        // It said so itself, and the view does not know it yet.
        if (this.#link?.link !== way) continue;
        if (leftMs <= 0) throw this.#nobodyLeads(call);
        await this.#change(ASK_AGAIN_MS);
        leftMs -= ASK_AGAIN_MS;
      }
    }
  }

  async refused(call: ApiCall, why: { readonly error: unknown; readonly text: string }): Promise<void> {
    await this.#term?.target.refused(call, why);
  }

  async #ask(term: Term, call: ApiCall): Promise<Uint8Array | null> {
    const asked = Promise.withResolvers<Uint8Array | null>();
    term.inFlight.add(asked);
    term.target.answer(call).then(asked.resolve, asked.reject);
    try {
      const reply = await asked.promise;
      if (!term.hasLapsed()) return reply;
      throw new LeaderLostError("Another principal may lead by now.");
    } finally {
      term.inFlight.delete(asked);
    }
  }

  /**
   * Who answers a request; waits until somebody does. A request that was forwarded is for this member only, and a member that stops
   * leaves what it has not answered to the others.
   * @throws UnprocessableError when nobody leads for so long
   */
  async #way(
    call: ApiCall,
    mostMs: number,
    isAgain: boolean,
  ): Promise<Term | ForwardLink | "elsewhere" | "nowhere"> {
    const until = this.clock.monotonic() + mostMs;
    for (;;) {
      const term = this.#term;
      const isLapsed = term?.hasLapsed() === true;
      if (term !== undefined && !term.isHeld && !isLapsed) return term;
      const leader = this.#o.view.leader();
      const isElsewhere = leader !== null && leader.member_id !== this.#o.view.self.member_id;
      if (call.isForwarded && (isElsewhere || isAgain)) return "elsewhere";
      if (this.#link !== undefined) return this.#link.link;
      if (this.isStopping) return "nowhere";
      const leftMs = until - this.clock.monotonic();
      if (leftMs <= 0) throw this.#nobodyLeads(call);
      await this.#change(isLapsed ? Math.min(ASK_AGAIN_MS, leftMs) : leftMs);
    }
  }

  /** Resolves when somebody leads, or somebody else, or after so long. */
  async #change(ms: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = new Timer(resolve, this.clock);
    timer.in(ms);
    this.#changed.add(resolve);
    await promise;
    timer.cancel();
    this.#changed.delete(resolve);
  }

  #wake(): void {
    for (const resolve of this.#changed) resolve();
  }

  /** Follows the leader that the view names. */
  #look(): void {
    const { view, access, log } = this.#o;
    const leader = view.leader();
    if (this.#link !== undefined && !isSameTerm(this.#link.leader, leader)) {
      const { link } = this.#link;
      this.#link = undefined;
      link.handBack();
      this.track(link.stop());
    }
    const isOther = leader !== null && leader.member_id !== view.self.member_id;
    if (isOther && this.#link === undefined && !this.isStopping) {
      const link = new ForwardLink({ leader, keys: access?.ownKeys, silentMs: this.#waitMs, log });
      void link.start();
      this.#link = { leader, link };
    }
    if (this.#term !== undefined || this.#link !== undefined) this.#awaySinceMs = Number.POSITIVE_INFINITY;
    else this.#awaySinceMs = Math.min(this.#awaySinceMs, this.clock.monotonic());
    this.#wake();
  }

  /** How long nobody could be asked, ms. */
  get #awayMs(): number {
    return Math.max(0, this.clock.monotonic() - this.#awaySinceMs);
  }

  #nobodyLeads({ request: { verb } }: ApiCall): CdktrError {
    const seconds = Math.round(this.#awayMs / 1000);
    const since = seconds > 0 ? ` for ${seconds} s` : "";
    // For an agent, UNPROC means that it is not known or not wanted.
    const { budget }: VerbEntry = VERBS[verb];
    return new (budget === "agents" ? NotYetError : UnprocessableError)(
      `No principal leads${since}: this one, ${this.#o.view.self.name}, waits until one does.`,
      {
        hint: "One takes over as soon as it reaches the database (CDKTR_STORE_URL). 'cdktr principals list' shows them, 'cdktr doctor' what is wrong; try again later.",
      },
    );
  }

  /** A reply that says where this member is instead of where the leader is. */
  #located(reply: Uint8Array): Uint8Array {
    if (isNotLeader(reply)) return reply;
    const { kind, payload } = decodeReply(reply);
    if (kind !== "SUCCESS" && kind !== "OK") return reply;
    const { name, host, api_port, logs_listening_port, logs_publishing_port } = this.#o.view.self;
    const said = JSON.parse(payload) as Record<string, unknown>;
    const ports = { logs_listening_port, logs_publishing_port };
    const here =
      "api_port" in said ? { ...said, member: name, host, api_port, ...ports } : { ...said, ...ports };
    return encodeReply(kind, JSON.stringify(here));
  }
}

/** A request that was held: what it says of the time is as old. */
function heldFor(call: ApiCall, ms: number): ApiCall {
  if (ms < MOMENT_MS) return call;
  const { traits } = call;
  return { ...call, traits: { ...traits, heldMs: (traits.heldMs ?? 0) + Math.round(ms) } };
}

/** Whether the principal recognizes the second of two requests by a key. Programs' own requests always have theirs. */
function isKeyed(verb: Verb): boolean {
  const { changes, budget }: VerbEntry = VERBS[verb];
  return typeof changes === "object" && budget !== "agents";
}
