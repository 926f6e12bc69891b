/** Moves old days into the archive and deletes what is kept no longer: once a night, a day at a time, or when an operator says so. */
import type { ConsolaInstance } from "consola";
import type { Clock } from "../clock.ts";
import { type ArchiveStep, HistoryUnavailableError, type KeptRuns } from "../contract/history.ts";
import type { ArchiveDatabase, ArchiveInfo, ArchiveItem, ArchiveProgress } from "../contract/messages.ts";
import { errorMessage, InvalidInputError, UnprocessableError } from "../errors.ts";
import { BackgroundService } from "../service.ts";
import { type Archive, firstKept } from "./database/archive.ts";
import { DAY_MS, dayName } from "./database/archive-layout.ts";

/** How often it looks whether something is due, ms. */
const LOOK_MS = 600_000;
/** Night, by the clock of the host: hours from and to. */
const NIGHT = [2, 5] as const;
/** After this time, it is done again in the next night; after the second, at once, ms. */
const AGAIN_MS = 20 * 3_600_000;
const OVERDUE_MS = 26 * 3_600_000;
/** After a failure it is tried again after this time, ms. */
const RETRY_MS = 3_600_000;
/** A step of an operator's request takes at least one day, and more until this time is over, ms. */
const STEP_MS = 1_000;

/** Options of {@link ArchiveKeeper}. */
export interface KeeperOptions {
  /** Calls `work` with the archive of the open database, with everything received in it. */
  readonly withArchive: <T>(work: (archive: Archive) => Promise<T>) => Promise<T>;
  /** Days that are kept in the database, and in the archive; null for all. */
  readonly historyKeepDays: number | null;
  readonly archiveKeepDays: number | null;
  /** Whether the history is in a lake, from which days are deleted without having moved. */
  readonly isLake?: boolean;
  /** What workflows say that they keep. */
  readonly retentions: () => Promise<readonly KeptRuns[]>;
  /** The state of the principal must not have these runs any longer. */
  readonly forget: (runs: readonly string[]) => Promise<void>;
  readonly log: ConsolaInstance;
  readonly clock: Clock;
}

/** Events of the keeper. */
export interface KeeperSignals {
  /** Everything that was due is done. */
  readonly passed: undefined;
}

/** What is to be done, one after the other: `move` days, delete `days` of the archive, delete `runs` of workflows. */
type Phase = "move" | "days" | "runs";

export class ArchiveKeeper extends BackgroundService<KeeperSignals> {
  readonly name = "archive";
  readonly #o: KeeperOptions;
  readonly #looks = this.timer(() => this.track(this.#look()));
  #passedAtMs: number | undefined;
  /** When it failed, by the monotonic clock. */
  #failedAt: number | undefined;
  #problem: string | null = null;
  #isBusy = false;
  /** The days that may move, by the cut that they were found for. */
  #plan: { readonly cutMs: number; readonly days: readonly number[] } | undefined;

  constructor(options: KeeperOptions) {
    super(options.clock);
    this.#o = options;
  }

  protected override onStart(): void {
    this.#looks.every(LOOK_MS);
  }

  /** What there is, for `doctor` and metrics. */
  async info(): Promise<ArchiveInfo> {
    const { historyKeepDays, archiveKeepDays } = this.#o;
    const facts = await this.#o.withArchive((archive) => archive.facts());
    this.#passedAtMs ??= facts.passed_at_ms ?? undefined;
    return {
      ...facts,
      passed_at_ms: this.#passedAtMs ?? null,
      history_keep_days: historyKeepDays,
      archive_keep_days: archiveKeepDays,
      problem: this.#problem,
    };
  }

  /**
   * A step of what an operator asked for, which goes on with the next one.
   * @throws InvalidInputError, UnprocessableError; errors of DuckDB and of the file system
   */
  async step({ dry_run, before_ms, after }: ArchiveDatabase): Promise<ArchiveProgress> {
    const now = this.clock.now();
    if (before_ms !== undefined && before_ms > now)
      throw new InvalidInputError("The archive takes days that are over: the time is in the future.");
    const cut =
      before_ms === undefined ? this.#cut(now) : Math.max(0, Math.floor(before_ms / DAY_MS)) * DAY_MS;
    const rules = before_ms === undefined ? await this.#o.retentions() : [];
    const keepsAll = cut === null && this.#o.archiveKeepDays === null && rules.length === 0;
    if (keepsAll && this.#o.isLake)
      throw new UnprocessableError("Everything is kept: CDKTR_ARCHIVE_KEEP is all.", {
        hint: "Set it, to 2y for example, and restart the principal. The days of a lake are in Parquet files from the start: nothing has to move.",
      });
    if (keepsAll)
      throw new UnprocessableError("Everything is kept where it is: CDKTR_HISTORY_KEEP is all.", {
        hint: "Set it, to 90d for example, and restart the principal; or move days once with 'cdktr db archive --before 90d'.",
      });
    if (this.#isBusy)
      throw new UnprocessableError("The archive is being worked on.", { hint: "Try again in a minute." });
    this.#isBusy = true;
    const began = this.clock.monotonic();
    try {
      const items: ArchiveItem[] = [];
      let at: ArchiveStep | null = after === undefined ? { phase: "move", done: "" } : stepOf(after);
      do {
        const found = await this.#next(at, cut, before_ms !== undefined, rules, now, dry_run);
        items.push(...found.items);
        at = found.at;
      } while (at !== null && this.clock.monotonic() - began < STEP_MS);
      if (at === null && !dry_run && before_ms === undefined) await this.#passed(now);
      return {
        items,
        next: at === null ? null : `${at.phase}:${at.done}`,
        before: cut === null ? null : dayName(cut / DAY_MS),
      };
    } finally {
      this.#isBusy = false;
    }
  }

  /** Rows before this time move; null when all stay. */
  #cut(nowMs: number): number | null {
    const { historyKeepDays: days } = this.#o;
    return days === null ? null : Math.max(0, firstKept(nowMs, days)) * DAY_MS;
  }

  /** The next piece of work, and where the one after it begins. */
  async #next(
    at: ArchiveStep,
    cut: number | null,
    onlyMoves: boolean,
    rules: readonly KeptRuns[],
    now: number,
    isTrial: boolean,
  ): Promise<{ readonly items: ArchiveItem[]; readonly at: ArchiveStep | null }> {
    const { archiveKeepDays, withArchive } = this.#o;
    const afterMoves: ArchiveStep | null = onlyMoves ? null : { phase: "days", done: "" };
    switch (at.phase as Phase) {
      case "move": {
        if (cut === null) return { items: [], at: afterMoves };
        if (this.#plan?.cutMs !== cut || at.done === "")
          this.#plan = { cutMs: cut, days: await withArchive((archive) => archive.plan(cut)) };
        const day = this.#plan.days.find((day) => dayName(day) > at.done);
        if (day === undefined) return { items: [], at: afterMoves };
        const moved = await withArchive((archive) => archive.move(day, cut, now, isTrial));
        const item: ArchiveItem = {
          action: "move",
          subject: moved.day,
          runs: null,
          tables: [...moved.parts],
        };
        return { items: moved.parts.length === 0 ? [] : [item], at: { phase: "move", done: moved.day } };
      }
      case "days": {
        const removed =
          archiveKeepDays === null
            ? []
            : await withArchive((archive) =>
                archive.removeDays(firstKept(now, archiveKeepDays), now, isTrial),
              );
        return { items: removed.map(itemOf), at: { phase: "runs", done: "" } };
      }
      case "runs": {
        // What a trial has told of the next workflow is still there: `ID +N`.
        const [done = "", told = "0"] = at.done.split(" +");
        const rule = [...rules]
          .sort((a, b) => (a.workflow_id < b.workflow_id ? -1 : 1))
          .find(({ workflow_id }) => workflow_id > done);
        if (rule === undefined) return { items: [], at: null };
        const skipped = Number(told);
        const { removed, more } = await withArchive((archive) =>
          archive.removeRuns(rule, now, isTrial ? { skipped } : null, this.#o.forget),
        );
        const runs = removed.reduce((sum, { runs }) => sum + (runs ?? 0), 0);
        const next = isTrial ? `${done} +${skipped + runs}` : done;
        return { items: removed.map(itemOf), at: { phase: "runs", done: more ? next : rule.workflow_id } };
      }
    }
  }

  async #look(): Promise<void> {
    const now = this.clock.now();
    const sinceFailure = this.clock.monotonic() - (this.#failedAt ?? Number.NEGATIVE_INFINITY);
    if (this.#isBusy || sinceFailure < RETRY_MS) return;
    try {
      const rules = await this.#o.retentions();
      if (this.#cut(now) === null && this.#o.archiveKeepDays === null && rules.length === 0) return;
      this.#passedAtMs ??= (await this.#o.withArchive((archive) => archive.facts())).passed_at_ms ?? 0;
      // The clock may have been ahead the last time: that it will be then says nothing about how long ago it was.
      const age = Math.abs(now - this.#passedAtMs);
      const hour = new Date(now).getHours();
      const isNight = hour >= NIGHT[0] && hour < NIGHT[1];
      if (age < (isNight ? AGAIN_MS : OVERDUE_MS)) return;
      await this.#pass(now, rules);
    } catch (error) {
      if (this.isStopping) return;
      this.#failedAt = this.clock.monotonic();
      this.#problem = errorMessage(error);
      // An unavailable history is told by itself.
      if (error instanceof HistoryUnavailableError) return;
      this.#o.log.warn(
        `Old history stays where it is for now: ${this.#problem} It is tried again in an hour.`,
      );
    }
  }

  /** Does everything that is due. After each step the machine belongs to the others for as long as the step took. */
  async #pass(now: number, rules: readonly KeptRuns[]): Promise<void> {
    this.#isBusy = true;
    let moved = 0;
    let deleted = 0;
    try {
      for (let at: ArchiveStep | null = { phase: "move", done: "" }; at !== null && !this.isStopping; ) {
        const began = this.clock.monotonic();
        const found = await this.#next(at, this.#cut(now), false, rules, now, false);
        moved += found.items.filter(({ action }) => action === "move").length;
        deleted += found.items.filter(({ action }) => action === "delete").length;
        at = found.at;
        await this.pause(this.clock.monotonic() - began);
      }
      if (this.isStopping) return;
      await this.#passed(now);
    } finally {
      this.#isBusy = false;
    }
    if (moved > 0) this.#o.log.info(`${count(moved, "day")} of the history moved into the archive.`);
    if (deleted > 0)
      this.#o.log.info(
        `Old history was deleted (${deleted}): 'cdktr audit --action history.delete' tells what.`,
      );
  }

  async #passed(now: number): Promise<void> {
    await this.#o.withArchive((archive) => archive.passed(now));
    this.#passedAtMs = now;
    this.#failedAt = undefined;
    this.#problem = null;
    this.signals.emit("passed");
  }
}

function count(number: number, what: string): string {
  return number === 1 ? `1 ${what}` : `${number} ${what}s`;
}

function itemOf({
  subject,
  runs,
  parts,
}: {
  subject: string;
  runs: number | null;
  parts: readonly ArchiveItem["tables"][number][];
}): ArchiveItem {
  return { action: "delete", subject, runs, tables: [...parts] };
}

/** Where an operator's request goes on. @throws InvalidInputError */
function stepOf(after: string): ArchiveStep {
  const [, phase, done = ""] = /^(move|days|runs):([^+]*(?: \+\d{1,12})?)$/s.exec(after) ?? [];
  if (phase === undefined)
    throw new InvalidInputError("The archive cannot go on from there.", {
      hint: "Set `after` to the value of `next` in the previous reply.",
    });
  return { phase: phase as Phase, done };
}
