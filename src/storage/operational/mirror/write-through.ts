/**
 * Commits what the leader's transactions change in PostgreSQL, before anybody is answered, for as long as its term lasts.
 *
 * When the connection is lost before the answer, the outcome is unknown, and only the answer to the same statement tells: its number
 * fits at most once. Until then the local transaction stays open. A term whose outcome stays unknown ends; nothing of it goes on.
 */
import type { Database } from "bun:sqlite";
import { type Clock, systemClock } from "../../../clock.ts";
import { errorMessage } from "../../../errors.ts";
import { BackOff, pause } from "../../../timer.ts";
import {
  OutcomeUnknownError,
  PostgresRefusedError,
  PostgresUnavailableError,
} from "../../postgres/errors.ts";
import type { Term } from "../../postgres/leadership.ts";
import { StoreUnavailableError } from "../store.ts";
import { Capture } from "./capture.ts";
import type { ChangeSet } from "./change-set.ts";
import { CommitStatements } from "./commit-statement.ts";
import type { Query } from "./query.ts";
import { SEQUENCES, tablesOf } from "./tables.ts";

/** Options of {@link WriteThrough}. */
export interface WriteThroughOptions {
  /** Of a connection to the primary. */
  readonly query: Query;
  readonly term: Term;
  /** The number of the last commit. */
  readonly seq: number;
  /** That of the term. Default: the host's. */
  readonly clock?: Pick<Clock, "monotonic">;
  /** The term is over; called once. */
  readonly over: (reason: string) => void;
}

const REPEAT =
  "It may have been written: repeat the request with the same dedupe_key, or look at 'cdktr runs list'.";

/**
 * Finds the row when commit $1 of epoch $2 is there. It is a change, so that its own commit waits for the standbys: the one before may be
 * there without having waited, when its connection was ended meanwhile.
 */
const HAS_ARRIVED = `UPDATE cluster_leadership SET commit_seq = commit_seq
  WHERE one = 1 AND commit_seq = $1::bigint AND epoch = $2::bigint RETURNING commit_seq`;

const NOTHING: ChangeSet = { parts: [], text: "{}" };

/** How long it waits before it sends a statement again, at first and at most, ms. */
const AGAIN_MS = { first: 10, last: 200 };

/** The way of one term's commits to PostgreSQL. */
export class WriteThrough {
  readonly #options: WriteThroughOptions;
  readonly #clock: Pick<Clock, "monotonic">;
  #seq: number;
  #statements: CommitStatements | undefined;
  #capture: Capture | undefined;
  #over: string | undefined;
  #isConfirmed = false;

  constructor(options: WriteThroughOptions) {
    this.#options = options;
    this.#clock = options.clock ?? systemClock;
    this.#seq = options.seq;
  }

  /** The number of the last commit. */
  get seq(): number {
    return this.#seq;
  }

  /** Why the term is over; null while it lasts. */
  get over(): string | null {
    return this.#over ?? null;
  }

  /** Ends the term: nothing is committed any more, nor read. */
  end(reason: string): void {
    if (this.#over !== undefined) return;
    this.#over = reason.replace(/\.$/, "");
    this.#options.over(this.#over);
  }

  /** Why nothing may be read or changed; null while the term lasts. */
  refusal(): StoreUnavailableError | null {
    if (this.#over === undefined && this.#leftMs() <= 0) this.end("the lease could not be renewed in time");
    return this.#over === undefined ? null : this.#notLeading("Nothing was changed.");
  }

  /** Notes from now on what transactions of this connection change. */
  attach(database: Database): void {
    this.#capture = new Capture(database);
    this.#statements = new CommitStatements([...tablesOf(database), SEQUENCES]);
  }

  detach(): void {
    this.#capture?.release();
    this.#capture = undefined;
  }

  /**
   * Commits in PostgreSQL what the open transaction has changed; undefined when it has changed nothing, except for the first one, which
   * shows whether the term lasts. Once the promise has resolved, the caller commits the transaction with {@link commitHere}.
   * @throws StoreUnavailableError when it is not committed, or nobody knows; the caller rolls back
   */
  commit(): Promise<void> | undefined {
    const changes = this.#capture?.take() ?? null;
    if (changes === null && this.#isConfirmed) return undefined;
    this.#capture?.clear();
    return this.#send(changes ?? NOTHING);
  }

  /**
   * Commits the transaction here as well.
   * @throws what `commit` throws; the term is over then, because the replica lacks a commit
   */
  commitHere(commit: () => void): void {
    try {
      commit();
    } catch (error) {
      this.end(`the replica cannot be written: ${errorMessage(error)}`);
      throw this.#notLeading(REPEAT);
    }
    this.#capture?.committed();
  }

  async #send(changes: ChangeSet): Promise<void> {
    const { term, query } = this.#options;
    const refusal = this.refusal();
    if (refusal !== null) throw refusal;
    const seq = this.#seq + 1;
    const sql = this.#statements?.for(changes.parts) ?? "";
    const values = [seq, term.epoch, term.memberId, changes.text];
    const backOff = new BackOff(AGAIN_MS.first, AGAIN_MS.last);
    const sentAt = this.#clock.monotonic();
    let mayHaveArrived = false;
    for (;;) {
      try {
        const rows = await query(sql, values, { timeoutMs: Math.max(1, this.#leftMs()) });
        if (rows.length === 0 && !(mayHaveArrived && (await this.#hasArrived(seq))))
          throw this.#ended("another member leads", mayHaveArrived);
        // The term may have been ended meanwhile: what is committed is committed.
        this.#seq = seq;
        term.renewedAt(sentAt);
        this.#isConfirmed = true;
        return;
      } catch (error) {
        if (error instanceof StoreUnavailableError) throw error;
        if (error instanceof OutcomeUnknownError) mayHaveArrived = true;
        else if (error instanceof PostgresRefusedError && !mayHaveArrived) throw refused(error);
        else if (!(error instanceof PostgresRefusedError || error instanceof PostgresUnavailableError))
          throw this.#ended(errorMessage(error), true);
        if (this.#leftMs() <= 0 || this.#over !== undefined)
          throw this.#ended(
            `PostgreSQL did not answer before the lease ended: ${errorMessage(error)}`,
            mayHaveArrived,
          );
      }
      await pause(Math.min(backOff.next(), Math.max(1, this.#leftMs())));
    }
  }

  /** How long nobody else can lead, ms. */
  #leftMs(): number {
    return this.#options.term.leaseUntil - this.#clock.monotonic();
  }

  /** Whether PostgreSQL has a commit that was sent before, and its standbys too as far as commits wait for them. */
  async #hasArrived(seq: number): Promise<boolean> {
    const { term, query } = this.#options;
    const rows = await query(HAS_ARRIVED, [seq, term.epoch], { timeoutMs: Math.max(1, this.#leftMs()) });
    return rows.length > 0;
  }

  #ended(reason: string, mayHaveArrived = false): StoreUnavailableError {
    this.end(reason);
    return this.#notLeading(mayHaveArrived ? REPEAT : "Nothing was changed.");
  }

  #notLeading(hint: string): StoreUnavailableError {
    return new StoreUnavailableError(`This member is not the leader any more: ${this.#over}.`, { hint });
  }
}

function refused(error: PostgresRefusedError): StoreUnavailableError {
  return new StoreUnavailableError(`The operational state cannot be written: ${errorMessage(error)}`, {
    cause: error,
    hint: error.hint ?? "Nothing was changed. Repair PostgreSQL; cdktr then continues by itself.",
  });
}
