/**
 * Who did what. A request that changes something is recorded in the commit that makes the change: there is no acknowledged change without
 * its row, and no row without the change. A request that is refused is recorded in a commit of its own.
 */
import type { ConsolaInstance } from "consola";
import type { Clock } from "../../clock.ts";
import { isFiring } from "../../contract/firing.ts";
import type { AuditRow } from "../../contract/history-rows.ts";
import type { VerbEntry } from "../../contract/verb-entry.ts";
import { type RequestOf, VERBS, type Verb } from "../../contract/verbs.ts";
import { errorMessage } from "../../errors.ts";
import { ForbiddenError, type Identity, OWN_NAME } from "../../protocol/doors/access.ts";
import { dropOldest } from "../../recent.ts";
import { withoutJoinTokens } from "../../redaction.ts";
import { BackgroundService } from "../../service.ts";
import { type AuditLine, auditTaken, prepareAuditFiles, takeAudit } from "../../storage/audit-file.ts";
import type { OperationalStore, OperationalTx } from "../../storage/operational/store.ts";
import { logFailure } from "../log-failure.ts";
import type { LongPolls } from "../long-polls.ts";
import { type Audit, unaudited } from "./audit.ts";

/** Whoever sends a request. */
export interface Caller {
  /** Whose key it came with; absent without keys. */
  readonly sender: Identity | undefined;
  /** The user whose process it is, where there are no keys. */
  readonly user?: string | undefined;
  /** The address of the connection. */
  readonly address?: string | undefined;
}

/** Refused requests of one actor that are recorded a minute; the others are counted. */
const MOST_REFUSALS = 60;
const WINDOW_MS = 60_000;
/** Actors whose refusals are counted. */
const MOST_ACTORS = 1000;
/** Characters of a value in the particulars, and of all of them. */
const MOST_OF_VALUE = 1024;
const MOST_OF_DETAIL = 16 * 1024;
/** Characters of the reason of a refusal. */
const MOST_OF_REASON = 1000;

/** How often it is looked for what commands have recorded, ms; also whenever somebody reads the audit log. */
const LOOK_MS = 5000;
const LINES_AT_ONCE = 200;

/** The topic of those who wait for further rows. */
const TOPIC = "audit";

/** The refused requests of an actor since a time. */
interface Refusals {
  readonly until: number;
  readonly who: Pick<AuditRow, "actor" | "role" | "source">;
  recorded: number;
  more: number;
}

/** What {@link AuditLog} needs. */
interface AuditLogOptions {
  readonly store: OperationalStore;
  /** Where commands record what they do. */
  readonly dataDirectory: string;
  readonly clock: Clock;
  readonly polls: Pick<LongPolls, "wake" | "ticket">;
  readonly log: ConsolaInstance;
}

/** Writes the audit log. */
export class AuditLog extends BackgroundService {
  readonly name = "audit log";
  readonly #o: AuditLogOptions;
  readonly #id = crypto.randomUUID();
  #written = 0;
  readonly #look = this.timer(() => this.track(this.takeIn()));
  #taking = Promise.resolve();
  readonly #refusals = new Map<string, Refusals>();
  readonly #countUp = this.timer(() => this.track(this.#tellMore(this.clock.monotonic())));

  constructor(options: AuditLogOptions) {
    super(options.clock);
    this.#o = options;
  }

  protected override async onStart(): Promise<void> {
    try {
      prepareAuditFiles(this.#o.dataDirectory);
    } catch (error) {
      this.#o.log.warn(errorMessage(error));
    }
    await this.takeIn();
    this.#look.every(LOOK_MS);
  }

  protected override async onStop(): Promise<void> {
    await this.#tellMore(Number.POSITIVE_INFINITY);
    await this.takeIn();
  }

  /** Takes in what commands have recorded. Never rejects: what fails is tried again. */
  async takeIn(): Promise<void> {
    this.#taking = this.#taking.then(() => this.#takeIn());
    await this.#taking;
  }

  async #takeIn(): Promise<void> {
    const { store, dataDirectory, log } = this.#o;
    try {
      const lines = takeAudit(dataDirectory, () =>
        log.warn("A line of what commands have recorded is damaged, and left out of the audit log."),
      );
      for (let start = 0; start < lines.length; start += LINES_AT_ONCE)
        await store.transact(async (tx) => {
          for (const line of lines.slice(start, start + LINES_AT_ONCE)) await this.#takeLine(tx, line);
        });
      if (lines.length > 0) auditTaken(dataDirectory);
    } catch (error) {
      logFailure(log, "What commands have recorded cannot be taken into the audit log now", error);
    }
  }

  /** Part of a unit of work. */
  async #takeLine(tx: OperationalTx, { id, ...row }: AuditLine): Promise<void> {
    const fresh = crypto.randomUUID();
    if ((await tx.claimKey(`audit ${id}`, fresh, this.clock.now())) !== fresh) return;
    await tx.audit({ ...row, role: null, source: "local" });
    this.#told(tx);
  }

  /** Changes with every row; no process has that of another one. */
  get revision(): string {
    return `${this.#id} ${this.#written}`;
  }

  /** Resolves when there are further rows since a revision, or after `waitMs`. One of another process is outdated. */
  async waitFor(revision: string, waitMs: number): Promise<void> {
    const ticket = this.#o.polls.ticket(TOPIC);
    if (revision === this.revision) await ticket.wait(waitMs);
    else ticket.drop();
  }

  /** How to record a request that is about to be handled. */
  of<V extends Verb>(verb: V, request: RequestOf<V>, caller: Caller): Audit {
    const { audit }: VerbEntry = VERBS[verb];
    if (audit === undefined || audit === "none" || isOfPrincipal(verb, request, caller)) return unaudited;
    return async (tx, { subject, detail } = {}) => {
      await this.#write(tx, {
        ...nameOf(caller),
        action: actionOf(audit, request),
        subject: subject ?? audit.subject(request),
        detail: detailText({ ...audit.detail?.(request), ...detail }),
        outcome: "done",
      });
    };
  }

  /**
   * Records that a request was refused. Never rejects.
   * @param read the request; null for one that cannot be read, of which nothing is recorded that it contains
   * @param error why, and the text that the caller gets
   */
  async refused(
    verb: Verb,
    read: () => object | null,
    caller: Caller,
    { error, text }: { readonly error: unknown; readonly text: string },
  ): Promise<void> {
    const { audit }: VerbEntry = VERBS[verb];
    if (audit === undefined || audit === "none" || caller.sender?.name === OWN_NAME) return;
    const who = nameOf(caller);
    const now = this.clock.monotonic();
    const refusals = this.#refusalsOf(who, now);
    if (refusals.recorded >= MOST_REFUSALS) {
      refusals.more++;
      this.#countUp.within(WINDOW_MS);
      return;
    }
    const request = read();
    if (request !== null && isOfPrincipal(verb, request, caller)) return;
    refusals.recorded++;
    await this.#record({
      ...who,
      action: request === null && typeof audit.action !== "string" ? verb : actionOf(audit, request ?? {}),
      subject: request === null ? null : audit.subject(request),
      detail: request === null ? null : detailText(audit.detail?.(request) ?? {}),
      // Why something cannot be read may quote it.
      outcome: `refused: ${request === null && !(error instanceof ForbiddenError) ? "the request is invalid" : clipped(text, MOST_OF_REASON)}`,
    });
  }

  #refusalsOf(who: Refusals["who"], now: number): Refusals {
    const key = who.actor ?? who.source ?? "";
    const known = this.#refusals.get(key);
    if (known !== undefined && (known.until > now || known.more > 0)) return known;
    const fresh = { until: now + WINDOW_MS, who, recorded: 0, more: 0 };
    this.#refusals.delete(key);
    this.#refusals.set(key, fresh);
    dropOldest(this.#refusals, MOST_ACTORS);
    return fresh;
  }

  /** Records how many more requests were refused in the minutes that are over. Never rejects. */
  async #tellMore(now: number): Promise<void> {
    for (const [key, { until, who, more }] of this.#refusals) {
      if (until > now) continue;
      this.#refusals.delete(key);
      if (more === 0) continue;
      const outcome = `refused: ${more} more within a minute`;
      await this.#record({ ...who, action: "refused", subject: null, detail: null, outcome });
    }
    if ([...this.#refusals.values()].some(({ more }) => more > 0)) this.#countUp.within(WINDOW_MS);
  }

  async #record(row: Omit<AuditRow, "timestamp_ms">): Promise<void> {
    await this.#o.store
      .transact((tx) => this.#write(tx, row))
      .catch((error) =>
        logFailure(this.#o.log, "A refused request cannot be recorded in the audit log", error),
      );
  }

  async #write(tx: OperationalTx, row: Omit<AuditRow, "timestamp_ms">): Promise<void> {
    // A token may stand where a name belongs.
    const { subject, detail, outcome } = row;
    const shown = {
      subject: subject === null ? null : clipped(withoutJoinTokens(subject), MOST_OF_VALUE),
      detail: detail === null ? null : withoutJoinTokens(detail),
      outcome: withoutJoinTokens(outcome),
    };
    await tx.audit({ timestamp_ms: this.clock.now(), ...row, ...shown });
    this.#told(tx);
  }

  #told(tx: OperationalTx): void {
    tx.afterCommit(() => {
      this.#written++;
      this.#o.polls.wake(TOPIC);
    });
  }
}

/** Whether the principal itself asks: for what its schedules and listeners trigger. Without keys it cannot be told from its user. */
function isOfPrincipal(verb: Verb, request: object, { sender }: Caller): boolean {
  if (sender !== undefined) return sender.name === OWN_NAME;
  return verb === "RUNTASK" && isFiring((request as RequestOf<"RUNTASK">).options.trigger);
}

type Audited = Exclude<VerbEntry["audit"], undefined | "none">;

function actionOf({ action }: Audited, request: object): string {
  return typeof action === "string" ? action : action(request);
}

function nameOf({ sender, user, address }: Caller): Refusals["who"] {
  return {
    actor: sender?.name.replace(/^of (?=join token )/, "") ?? user ?? null,
    role: sender?.role ?? null,
    source: address === undefined ? null : /^(127\.|::1$|::ffff:127\.)/.test(address) ? "local" : address,
  };
}

/** Particulars as JSON without what is undefined; null for none. Long texts are cut. */
function detailText(detail: Readonly<Record<string, unknown>>): string | null {
  const text = JSON.stringify(detail, (_, value) =>
    typeof value === "string" ? clipped(value, MOST_OF_VALUE) : value,
  );
  if (text === "{}") return null;
  return text.length <= MOST_OF_DETAIL ? text : JSON.stringify({ left_out: `${text.length} characters` });
}

function clipped(text: string, most: number): string {
  return text.length <= most ? text : `${text.slice(0, most)}…`;
}
