/**
 * Derives changes of files from successive looks: each change once, when the file has been quiet. A file counts as deleted if the place
 * where it was is there without it. If something else is in that place, or nothing, as after an unmount, it is only hidden.
 */
import { dirname } from "node:path";
import type { FileState } from "../../host/file-helper/requests.ts";
import { inTurns } from "../../timer.ts";
import type { Look } from "./glob-files.ts";

/** How long a file stays known while the place where it was is not there, ms. */
export const DOUBT_MS = 3_600_000;

/** A change of a file. */
export interface FileEvent {
  readonly kind: "created" | "changed" | "deleted";
  readonly path: string;
  /** The file as it is or, if it is deleted, was. */
  readonly state: FileState;
  /** Whether it counts as deleted although the place where it was is not there. */
  readonly isDoubtful: boolean;
}

/** What was handled before. */
export interface SeenState {
  readonly known: Map<string, FileState>;
  /** Files that counted as deleted although the place where they were was not there; if they come back unchanged, nothing has happened. */
  readonly doubtful: Map<string, FileState>;
}

/** The state of a file that is to be stored; null if it is to be forgotten. */
export interface SeenChange {
  readonly path: string;
  readonly state: FileState | null;
}

/** Files that are not visible. */
export interface HiddenFiles {
  readonly count: number;
  /** The directory of one of them. */
  readonly directory: string;
}

interface Unsettled {
  /** The version seen last; null while the file does not exist. */
  readonly version: string | null;
  readonly sinceMs: number;
  /** Whether the file is missing, and the place where it was too. */
  readonly isHidden: boolean;
  /** Whether it was so before the version appeared. */
  readonly wasHidden: boolean;
}

/** The known state of a set of files. Files found by the first look cause no event, unless an earlier state is known. */
export class FileChanges {
  readonly #settleMs: number;
  #known: Map<string, FileState> | undefined;
  readonly #doubtful: Map<string, FileState>;
  readonly #unsettled = new Map<string, Unsettled>();
  /** Whether the next look only brings the state up to date. */
  #skips: boolean;
  #unsaved: SeenChange[] = [];
  #hidden: HiddenFiles | undefined;

  /**
   * @param seen the files that were handled before; it is changed
   * @param catchup whether differences between them and the first look are events
   */
  constructor(settleMs: number, seen?: SeenState, catchup = true) {
    this.#settleMs = settleMs;
    this.#known = seen?.known;
    this.#doubtful = seen?.doubtful ?? new Map();
    this.#skips = !catchup;
  }

  /** Whether there was no look yet, and no earlier state is known. */
  get isNew(): boolean {
    return this.#known === undefined;
  }

  /** What changed without an event, until {@link saved} is called. */
  get unsaved(): readonly SeenChange[] {
    return this.#unsaved;
  }

  /** Files that are missing together with the place where they were. */
  get hidden(): HiddenFiles | undefined {
    return this.#hidden;
  }

  /** Files that changed and are not quiet yet, or whose change was not handled; undefined if they are more than `most`. */
  unsettled(most: number): string[] | undefined {
    const paths: string[] = [];
    for (const [path, { isHidden }] of this.#unsettled) {
      if (isHidden) continue;
      if (paths.push(path) > most) return undefined;
    }
    return paths;
  }

  /** Directories of which the next look must tell where they are. */
  directories(): string[] {
    const directories = new Set<string>();
    if (this.#skips) for (const path of this.#known?.keys() ?? []) directories.add(dirname(path));
    for (const [path, { version }] of this.#unsettled) if (version === null) directories.add(dirname(path));
    return [...directories];
  }

  /** Time until the next of them is quiet, ms; null when there are none. */
  nextMs(nowMs: number): number | null {
    let next: number | null = null;
    for (const { sinceMs, isHidden } of this.#unsettled.values()) {
      const ms = Math.max(0, sinceMs + (isHidden ? DOUBT_MS : this.#settleMs) - nowMs);
      next = Math.min(next ?? ms, ms);
    }
    return next;
  }

  /**
   * Processes a look at the files. Resolves with the changes that have settled; later calls return them again until {@link done} is called.
   * @param nowMs monotonic time
   */
  async see(look: Look, nowMs: number): Promise<FileEvent[]> {
    const { present, touched } = look;
    if (this.#known === undefined) {
      const known = new Map<string, FileState>();
      await inTurns(present, ([path, state]) => known.set(path, state));
      this.#known = known;
      return [];
    }
    const known = this.#known;
    const compare = this.#comparison(known, look, nowMs);
    this.#skips = false;
    if (touched !== undefined) await inTurns(touched, compare.path);
    else {
      await inTurns(present.keys(), compare.path);
      await inTurns(known.keys(), compare.path);
    }
    await inTurns(this.#unsettled.keys(), compare.path);
    await compare.end();
    return this.#settled(known, look, nowMs);
  }

  /** The event was handled. */
  done({ kind, path, state, isDoubtful }: FileEvent): void {
    this.#unsettled.delete(path);
    if (kind !== "deleted") this.#know(path, state);
    else {
      this.#known?.delete(path);
      if (isDoubtful) this.#doubtful.set(path, state);
    }
  }

  /** What is {@link unsaved} was stored. */
  saved(): void {
    this.#unsaved = [];
  }

  #know(path: string, state: FileState): void {
    this.#known?.set(path, state);
    this.#doubtful.delete(path);
  }

  #learn(path: string, state: FileState): void {
    this.#know(path, state);
    this.#unsaved.push({ path, state });
  }

  #comparison(
    known: Map<string, FileState>,
    { present, places }: Look,
    nowMs: number,
  ): { path: (path: string) => void; end: () => Promise<void> } {
    const skips = this.#skips;
    /** A volume is there again under another number, as unchanged files show: by directory and former place. */
    const moved = new Map<string, string>();
    const placeOf = (path: string, { place }: FileState) => moved.get(`${dirname(path)}\n${place}`) ?? place;
    const compare = (path: string) => {
      const before = known.get(path);
      const now = present.get(path);
      const isBack = before === undefined && now?.version === this.#doubtful.get(path)?.version;
      if (now === undefined ? before === undefined : isBack || now.version === before?.version) {
        // Unchanged: a file that a program replaced is back, a volume is mounted again, or nothing happened at all.
        this.#unsettled.delete(path);
        if (now === undefined || now.place === "" || now.place === before?.place) return;
        if (before !== undefined) moved.set(`${dirname(path)}\n${before.place}`, now.place);
        this.#learn(path, now);
        return;
      }
      if (skips && now !== undefined) return this.#learn(path, now);
      if (skips && before !== undefined && isThere(places.get(dirname(path)), placeOf(path, before))) {
        known.delete(path);
        this.#unsaved.push({ path, state: null });
        return;
      }
      const version = now?.version ?? null;
      const noted = this.#unsettled.get(path);
      if (noted !== undefined && noted.version === version) return;
      const wasHidden = noted !== undefined && (noted.isHidden || noted.wasHidden);
      this.#unsettled.set(path, { version, sinceMs: nowMs, isHidden: false, wasHidden });
    };
    const end = async () => {
      if (moved.size === 0) return;
      await inTurns(this.#unsettled.keys(), (path) => {
        const before = known.get(path);
        const place = before && placeOf(path, before);
        if (before !== undefined && place !== undefined && place !== before.place)
          this.#learn(path, { ...before, place });
      });
    };
    return { path: compare, end };
  }

  async #settled(
    known: ReadonlyMap<string, FileState>,
    { present, places }: Look,
    nowMs: number,
  ): Promise<FileEvent[]> {
    const events: FileEvent[] = [];
    let count = 0;
    let directory = "";
    await inTurns(this.#unsettled, ([path, one]) => {
      if (nowMs - one.sinceMs < this.#settleMs) return;
      const before = known.get(path);
      const now = present.get(path);
      if (now !== undefined) {
        // After a while without the place where it was, a file in another place is another one.
        const isNew = before === undefined || (one.wasHidden && now.place !== before.place);
        events.push({ kind: isNew ? "created" : "changed", path, state: now, isDoubtful: false });
        return;
      }
      const place = places.get(dirname(path));
      // Otherwise the next look tells.
      if (before === undefined || place === undefined) return;
      const isDeleted = isThere(place, before.place);
      if (isDeleted || nowMs - one.sinceMs >= DOUBT_MS) {
        events.push({ kind: "deleted", path, state: before, isDoubtful: !isDeleted });
        return;
      }
      if (!one.isHidden) this.#unsettled.set(path, { ...one, isHidden: true });
      count++;
      directory = dirname(path);
    });
    this.#hidden = count === 0 ? undefined : { count, directory };
    return events;
  }
}

/** Whether the place where a file was is still, or again, there. An older cdktr has not recorded where that was. */
function isThere(place: string | undefined, before: string): boolean {
  return place !== undefined && place !== "" && (before === "" || place === before);
}
