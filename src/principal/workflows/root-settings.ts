/**
 * The settings of the workflow directory itself: pools, calendars, channels, and who is told about what. The last valid ones count,
 * also after a restart: they are in the operational state, and calendars with the days of their files. A pool whose size a command has set keeps that.
 */
import type { ConsolaInstance } from "consola";
import type { Clock } from "../../clock.ts";
import { errorMessage } from "../../errors.ts";
import type { OperationalStore, OperationalTx } from "../../storage/operational/store.ts";
import { type Calendar, calendarOf, type Day } from "../../workflow/calendar.ts";
import type { ChannelSettings } from "../../workflow/channels.ts";
import { fileDiagnostic, renderDiagnostics } from "../../workflow/diagnostic.ts";
import type { CalendarFileResult } from "../../workflow/load.ts";
import type { NotifyRule } from "../../workflow/notify.ts";
import type { CalendarFile, CalendarSettings } from "../../workflow/root-fields.ts";
import type { Settings } from "../../workflow/settings-file.ts";
import type { WorkflowListing } from "./settings-of-directories.ts";

/** What the settings of the workflow directory need. */
interface RootSettingsOptions {
  readonly store: OperationalStore;
  readonly clock: Clock;
  readonly log: ConsolaInstance;
  /** Reads calendar files; it does not reject for one that cannot be read. */
  readonly readCalendars: (
    paths: readonly string[],
    nowMs: number,
  ) => Promise<ReadonlyMap<string, CalendarFileResult>>;
  /** The sizes of pools have changed; part of the unit of work in which they do. */
  readonly poolsChanged: (tx: OperationalTx) => void;
}

/** The name of a setting of which there is one. */
const OF_ROOT = "";

/** A calendar as it is stored. */
interface StoredCalendar extends Omit<CalendarSettings, "ics"> {
  /** Null for a file that was never valid: the calendar cannot be used. */
  readonly files?: readonly (CalendarFile & { readonly days: readonly Day[] | null })[];
}

/** A calendar file as it was last read. */
interface ReadFile {
  /** Of the file, and of the month: rules are followed further each month. */
  readonly signature: string;
  readonly error: string | null;
  /** Since when it has been in this state (monotonic). */
  readonly since: number;
}

/** What a scan found. */
interface Found {
  /** What the file says; undefined if it was not valid since the start. */
  readonly settings: Settings | undefined;
  readonly listing: WorkflowListing;
  /** Monotonic, and since the epoch. */
  readonly now: number;
  readonly nowMs: number;
  /** Whether a state that a file has had since then counts. */
  readonly isSettled: (since: number) => boolean;
}

/** Knows them. */
export class RootSettings {
  readonly #o: RootSettingsOptions;
  #pools = "";
  /** As they are in the operational state, or should be. */
  #channels: ReadonlyMap<string, ChannelSettings> = new Map();
  /** As they are in the operational state, or should be. */
  #notify: ReadonlyMap<string, readonly NotifyRule[]> = new Map();
  /** As they are in the operational state, or should be. */
  #stored = new Map<string, StoredCalendar>();
  #calendars: ReadonlyMap<string, Calendar> = new Map();
  readonly #files = new Map<string, ReadFile>();
  /** What could not be written to the operational state is written by the next scan. */
  #isUnsaved = false;
  #invalid: ReadonlyMap<string, string> = new Map();
  #isUnsettled = false;

  constructor(options: RootSettingsOptions) {
    this.#o = options;
  }

  /** The calendars that can be used, by name; another map whenever one of them changes. */
  get calendars(): ReadonlyMap<string, Calendar> {
    return this.#calendars;
  }

  /** Where alerts can be sent, by name; another map whenever one of them changes. */
  get channels(): ReadonlyMap<string, ChannelSettings> {
    return this.#channels;
  }

  /** Who is told about what, unless a workflow says it. */
  get notify(): readonly NotifyRule[] {
    return this.#notify.get(OF_ROOT) ?? [];
  }

  /** The errors of calendar files, by path. */
  get invalid(): ReadonlyMap<string, string> {
    return this.#invalid;
  }

  /** Whether a state has to settle. */
  get isUnsettled(): boolean {
    return this.#isUnsettled;
  }

  /** Reads the last valid settings. */
  async load(): Promise<void> {
    const [pools, calendars, channels, notify] = await this.#o.store.read(async (tx) => [
      await tx.listFileSettings("pool"),
      await tx.listFileSettings("calendar"),
      await tx.listFileSettings("channel"),
      await tx.listFileSettings("notify"),
    ]);
    this.#pools = JSON.stringify([...pools]);
    this.#stored = readStored<StoredCalendar>(calendars);
    this.#calendars = usable(this.#stored);
    this.#channels = readStored<ChannelSettings>(channels);
    this.#notify = readStored<readonly NotifyRule[]>(notify);
  }

  /** Takes over what a scan found. @returns whether anything but pools has changed */
  async take(found: Found): Promise<boolean> {
    const { settings } = found;
    this.#isUnsettled = false;
    if (settings === undefined) return false;
    const before = JSON.stringify([...this.#stored]);
    this.#stored = await this.#calendarsOf(settings.calendars ?? {}, found);
    const calendars = asJson(this.#stored);
    const pools = asJson(sorted(settings.pools ?? {}), (size) => ({ size }));
    const haveCalendarsChanged = JSON.stringify([...this.#stored]) !== before;
    if (haveCalendarsChanged) this.#calendars = usable(this.#stored);
    const havePoolsChanged = JSON.stringify([...pools]) !== this.#pools;
    const channels = sorted(settings.channels ?? {});
    const haveChannelsChanged = JSON.stringify([...channels]) !== JSON.stringify([...this.#channels]);
    if (haveChannelsChanged) this.#channels = channels;
    const notify = new Map(settings.notify === undefined ? [] : [[OF_ROOT, settings.notify]]);
    const hasNotifyChanged = JSON.stringify([...notify]) !== JSON.stringify([...this.#notify]);
    if (hasNotifyChanged) this.#notify = notify;
    const hasChanged = haveCalendarsChanged || haveChannelsChanged || hasNotifyChanged;
    if (hasChanged || havePoolsChanged || this.#isUnsaved) await this.#save(pools, calendars, found.nowMs);
    return hasChanged;
  }

  async #save(
    pools: ReadonlyMap<string, string>,
    calendars: ReadonlyMap<string, string>,
    nowMs: number,
  ): Promise<void> {
    try {
      await this.#o.store.transact(async (tx) => {
        await tx.putFileSettings("calendar", calendars, nowMs);
        await tx.putFileSettings("pool", pools, nowMs);
        await tx.putFileSettings("channel", asJson(this.#channels), nowMs);
        await tx.putFileSettings("notify", asJson(this.#notify), nowMs);
        this.#o.poolsChanged(tx);
      });
      this.#pools = JSON.stringify([...pools]);
      this.#isUnsaved = false;
    } catch (error) {
      if (!this.#isUnsaved)
        this.#o.log.warn(
          `The settings of _cdktr.yml could not be saved to disk: ${errorMessage(error)}. They are in use, but the sizes of pools stay as they were until then.`,
        );
      this.#isUnsaved = true;
    }
  }

  /** The calendars with the days of their files; a file that cannot be read has those that were read last. */
  async #calendarsOf(
    settings: Readonly<Record<string, CalendarSettings>>,
    found: Found,
  ): Promise<Map<string, StoredCalendar>> {
    const paths = new Set(Object.values(settings).flatMap(({ ics = [] }) => ics.map(({ file }) => file)));
    const days = new Map<string, readonly Day[]>();
    for (const { files = [] } of this.#stored.values())
      for (const { file, days: known } of files) if (known !== null) days.set(file, known);
    await this.#read(paths, days, found);
    const calendars = Object.entries(settings).map(([name, { ics, ...items }]) => {
      const files = ics?.map((one) => ({ ...one, days: days.get(one.file) ?? null }));
      return [name, files === undefined ? items : { ...items, files }] as const;
    });
    return sorted(Object.fromEntries(calendars));
  }

  /** Reads the files that have changed, and puts their days among those that are known. */
  async #read(
    paths: ReadonlySet<string>,
    days: Map<string, readonly Day[]>,
    { listing, now, nowMs, isSettled }: Found,
  ): Promise<void> {
    const month = new Date(nowMs).toISOString().slice(0, 7);
    const changed = [...paths].filter((path) => {
      const signature = `${month} ${listing.calendars.get(path) ?? ""}`;
      return this.#files.get(path)?.signature !== signature;
    });
    const present = changed.filter((path) => listing.calendars.has(path));
    const read = present.length === 0 ? new Map() : await this.#o.readCalendars(present, nowMs);
    for (const path of changed) {
      const result: CalendarFileResult | undefined = listing.calendars.has(path)
        ? read.get(path)
        : { ok: false, diagnostic: missing(path), again: false };
      if (result === undefined) continue;
      if (result.ok) days.set(path, result.days);
      const error = result.ok ? null : renderDiagnostics([result.diagnostic]);
      const signature = !result.ok && result.again ? "" : `${month} ${listing.calendars.get(path) ?? ""}`;
      const before = this.#files.get(path);
      const since = before !== undefined && before.error === error ? before.since : now;
      this.#files.set(path, { signature, error, since });
    }
    const invalid = new Map<string, string>();
    for (const [path, { error, since }] of this.#files) {
      if (!paths.has(path)) this.#files.delete(path);
      else if (error !== null && isSettled(since)) invalid.set(path, error);
      else if (error !== null) this.#isUnsettled = true;
    }
    this.#invalid = invalid;
  }
}

function missing(path: string) {
  return fileDiagnostic(
    path,
    "E045",
    "there is no such file, which a calendar in _cdktr.yml names",
    "put it there, or remove it from the calendar",
  );
}

function sorted<T>(settings: Readonly<Record<string, T>>): Map<string, T> {
  return new Map(Object.entries(settings).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function asJson<T>(
  settings: ReadonlyMap<string, T>,
  stored: (value: T) => unknown = (value) => value,
): Map<string, string> {
  return new Map([...settings].map(([name, value]) => [name, JSON.stringify(stored(value))]));
}

function readStored<T>(stored: ReadonlyMap<string, string>): Map<string, T> {
  const read = new Map<string, T>();
  for (const [name, json] of stored) {
    try {
      read.set(name, JSON.parse(json) as T);
    } catch {
      // The file is read anew.
    }
  }
  return read;
}

/** Those whose files have been read at least once. */
function usable(calendars: ReadonlyMap<string, StoredCalendar>): ReadonlyMap<string, Calendar> {
  const made = new Map<string, Calendar>();
  for (const [name, { files = [], ...items }] of calendars) {
    if (files.some(({ days }) => days === null)) continue;
    const daysAs = (as: CalendarFile["as"]) =>
      files.flatMap((one) => (one.as === as ? (one.days ?? []) : []));
    const hasIncluding = files.some(({ as }) => as === "include");
    made.set(
      name,
      calendarOf(items, { include: hasIncluding ? daysAs("include") : null, exclude: daysAs("exclude") }),
    );
  }
  return made;
}
