/**
 * The settings of the directories of workflow files, `_cdktr.yml`, as they were last read. Settings that become invalid stay as they were
 * last valid. Where they have not been read since the start, the workflows below are not read either: their last valid versions stay in use.
 */
import type { TreeListing } from "../../host/file-helper/tree.ts";
import type { RegularFile } from "../../host/regular-file.ts";
import { mergeDefaults } from "../../workflow/defaults.ts";
import { renderDiagnostics } from "../../workflow/diagnostic.ts";
import { parseSettingsFile } from "../../workflow/load.ts";
import type { Defaults } from "../../workflow/model.ts";
import {
  directoriesOf,
  directoryOf,
  isSettingsFile,
  SETTINGS_NAMES,
  type Settings,
  secondSettings,
} from "../../workflow/settings-file.ts";

/** The files of the workflow directory, with the settings apart. */
export interface WorkflowListing extends TreeListing {
  /** Path of each settings file, and its fingerprint. Sorted by path. */
  readonly settings: ReadonlyMap<string, string>;
  /** The same of calendar files. */
  readonly calendars: ReadonlyMap<string, string>;
}

/** What settings say of the workflows in a directory. */
export type EffectiveSettings =
  | {
      readonly defaults: Defaults | undefined;
      /** Another one if the defaults are others; empty without any. */
      readonly hash: string;
    }
  /** They are not known: this file is invalid, and was not valid since the start. */
  | { readonly unknown: string };

/** A settings file as it was last read. */
interface KnownSettings {
  readonly signature: string;
  /** The last valid content; null if there was none since the start. */
  readonly valid: Settings | null;
  readonly error: string | null;
  /** Since when it has been in this state, or missing (monotonic). */
  readonly since: number;
  readonly isMissing: boolean;
}

const NONE: EffectiveSettings = { defaults: undefined, hash: "" };

/** Knows them. */
export class SettingsOfDirectories {
  readonly #readFiles: (paths: readonly string[]) => Promise<ReadonlyMap<string, RegularFile>>;
  readonly #files = new Map<string, KnownSettings>();
  /** By directory, until something changes. */
  readonly #effective = new Map<string, EffectiveSettings>();
  #invalid: ReadonlyMap<string, string> = new Map();
  #isUnsettled = false;

  /** @param readFiles reads files of the workflow directory; it does not reject for one that cannot be read */
  constructor(readFiles: (paths: readonly string[]) => Promise<ReadonlyMap<string, RegularFile>>) {
    this.#readFiles = readFiles;
  }

  /** The errors of settings files, by path. */
  get invalid(): ReadonlyMap<string, string> {
    return this.#invalid;
  }

  /** Whether a state has to settle: editors write in several steps. */
  get isUnsettled(): boolean {
    return this.#isUnsettled;
  }

  /** Reads those that have changed. @param isSettled whether a state that a file has had since then counts */
  async read(listing: WorkflowListing, now: number, isSettled: (since: number) => boolean): Promise<void> {
    const changed: string[] = [];
    for (const [path, signature] of listing.settings)
      if (this.#files.get(path)?.signature !== signature) changed.push(path);
    if (changed.length > 0) {
      const files = await this.#readFiles(changed);
      for (const path of changed) this.#take(path, listing.settings.get(path) ?? "", files.get(path), now);
    }
    for (const [path, reason] of listing.unreadable) {
      if (!isSettingsFile(path) || listing.settings.has(path)) continue;
      const valid = this.#files.get(path)?.valid ?? null;
      const error = `${path}: cannot be read: ${reason}`;
      this.#files.set(path, { signature: "", valid, error, since: now, isMissing: false });
      this.#effective.clear();
    }
    this.#settle(listing, now, isSettled);
  }

  /** What the settings of the workflow directory itself say: nothing if there are none; undefined if they were not valid since the start. */
  get ofRoot(): Settings | undefined {
    const [, file] = this.#inForce("") ?? [];
    return file === undefined ? {} : (file.valid ?? undefined);
  }

  /** What applies to a workflow file. */
  of(path: string): EffectiveSettings {
    if (this.#files.size === 0) return NONE;
    const directory = directoryOf(path);
    const known = this.#effective.get(directory);
    if (known !== undefined) return known;
    const effective = this.#effectiveFor(path);
    this.#effective.set(directory, effective);
    return effective;
  }

  #effectiveFor(path: string): EffectiveSettings {
    let defaults: Defaults | undefined;
    for (const directory of directoriesOf(path)) {
      const inForce = this.#inForce(directory);
      if (inForce === undefined) continue;
      const [settingsPath, { valid }] = inForce;
      if (valid === null) return { unknown: settingsPath };
      defaults = mergeDefaults(defaults, valid.defaults);
    }
    if (defaults === undefined || Object.values(defaults).every((value) => value == null)) return NONE;
    const hash = new Bun.CryptoHasher("sha256").update(JSON.stringify(defaults)).digest("hex").slice(0, 16);
    return { defaults, hash };
  }

  #take(path: string, signature: string, file: RegularFile | undefined, now: number): void {
    const former = this.#files.get(path)?.valid ?? null;
    const result = parseSettingsFile(path, file ?? { kind: "failed", code: "", message: "not read" });
    const { valid, error } = result.ok
      ? { valid: result.settings, error: null }
      : { valid: former, error: renderDiagnostics(result.diagnostics) };
    this.#files.set(path, { signature, valid, error, since: now, isMissing: false });
    this.#effective.clear();
  }

  /** Removes those that are gone, and finds out which problems are to be told. */
  #settle(listing: WorkflowListing, now: number, isSettled: (since: number) => boolean): void {
    const invalid = new Map<string, string>();
    this.#isUnsettled = false;
    for (const [path, file] of this.#files) {
      const isMissing = !listing.settings.has(path) && !isUnreadable(path, listing.unreadable);
      const since = isMissing === file.isMissing ? file.since : now;
      if (isMissing !== file.isMissing) this.#files.set(path, { ...file, since, isMissing });
      if (!isMissing && file.error === null) continue;
      if (!isSettled(since)) this.#isUnsettled = true;
      else if (isMissing) {
        this.#files.delete(path);
        this.#effective.clear();
      } else if (file.error !== null) invalid.set(path, file.error);
    }
    for (const path of this.#files.keys()) {
      const [first] = this.#inForce(directoryOf(path)) ?? [];
      if (first !== undefined && first !== path)
        invalid.set(path, renderDiagnostics([secondSettings(path, first)]));
    }
    this.#invalid = invalid;
  }

  /** The settings file of a directory: the first one, if there are two. */
  #inForce(directory: string): [path: string, file: KnownSettings] | undefined {
    for (const name of SETTINGS_NAMES) {
      const path = directory === "" ? name : `${directory}/${name}`;
      const file = this.#files.get(path);
      if (file !== undefined) return [path, file];
    }
    return undefined;
  }
}

/** Whether a path is one of these or below one. */
export function isUnreadable(path: string, unreadable: ReadonlyMap<string, unknown>): boolean {
  for (const other of unreadable.keys()) if (path === other || path.startsWith(`${other}/`)) return true;
  return false;
}
