/**
 * The alert files of the workflow directory, as they were last read. The last valid version of each counts, also after a restart: they are
 * in the operational state.
 */
import type { ConsolaInstance } from "consola";
import { errorMessage } from "../../errors.ts";
import type { RegularFile } from "../../host/regular-file.ts";
import type { OperationalStore } from "../../storage/operational/store.ts";
import {
  type AlertQuery,
  isAlertFile,
  isAlertPath,
  MAX_ALERT_FILES,
  readAlert,
  tooManyAlertFiles,
} from "../../workflow/alert-file.ts";
import { renderDiagnostics } from "../../workflow/diagnostic.ts";
import { parseAlertFile } from "../../workflow/load.ts";
import { isUnreadable, type WorkflowListing } from "./settings-of-directories.ts";

/** What the alert files need. */
interface AlertFilesOptions {
  readonly store: OperationalStore;
  readonly log: ConsolaInstance;
  /** Reads files of the workflow directory; it does not reject for one that cannot be read. */
  readonly readFiles: (paths: readonly string[]) => Promise<ReadonlyMap<string, RegularFile>>;
}

/** A file below the directory of alerts, as it was last read. */
interface KnownFile {
  readonly signature: string;
  /** Otherwise it is a workflow, or something else that is told like one. */
  readonly isAlert: boolean;
  /** The last valid version; null if there was none. */
  readonly valid: AlertQuery | null;
  readonly error: string | null;
  /** Since when it has been in this state, or missing (monotonic). */
  readonly since: number;
  readonly isMissing: boolean;
}

/** What a scan found. */
interface Found {
  readonly listing: WorkflowListing;
  /** Monotonic, and since the epoch. */
  readonly now: number;
  readonly nowMs: number;
  /** Whether a state that a file has had since then counts: editors write in several steps. */
  readonly isSettled: (since: number) => boolean;
  /** Whether all files are gone, which may be a volume that was unmounted. */
  readonly isEmpty: boolean;
}

/** Knows them. */
export class AlertFiles {
  readonly #o: AlertFilesOptions;
  readonly #files = new Map<string, KnownFile>();
  #alerts: ReadonlyMap<string, AlertQuery> = new Map();
  #invalid: ReadonlyMap<string, string> = new Map();
  #isUnsettled = false;
  /** As they are in the operational state. */
  #stored = "";
  #isUnsaved = false;
  /** The listing without alert files that was made last, and what of. */
  #without:
    | { readonly of: WorkflowListing; readonly alerts: string; readonly listing: WorkflowListing }
    | undefined;

  constructor(options: AlertFilesOptions) {
    this.#o = options;
  }

  /** The alert files in use, by path, in the order of their paths; another map whenever one of them changes. */
  get alerts(): ReadonlyMap<string, AlertQuery> {
    return this.#alerts;
  }

  /** The errors of alert files, by path. */
  get invalid(): ReadonlyMap<string, string> {
    return this.#invalid;
  }

  /** Whether a state has to settle. */
  get isUnsettled(): boolean {
    return this.#isUnsettled;
  }

  /** Reads the last valid versions. */
  async load(): Promise<void> {
    const stored = await this.#o.store.read((tx) => tx.listFileSettings("alert"));
    this.#stored = JSON.stringify([...stored]);
    for (const [path, json] of stored) {
      const valid = readAlert(path, json) ?? null;
      const known = { signature: "", isAlert: true, valid, error: null, since: 0, isMissing: false };
      if (valid !== null) this.#files.set(path, known);
    }
    this.#alerts = new Map([...this.#files].flatMap(([path, { valid }]) => (valid ? [[path, valid]] : [])));
  }

  /** Reads the files that have changed. @returns whether the alert files in use have changed */
  async take(found: Found): Promise<boolean> {
    const { listing, now } = found;
    const changed: string[] = [];
    for (const [path, signature] of listing.files)
      if (isAlertPath(path) && this.#files.get(path)?.signature !== signature) changed.push(path);
    if (changed.length === 0 && this.#files.size === 0) return false;
    if (changed.length > 0) {
      const files = await this.#o.readFiles(changed);
      for (const path of changed) this.#read(path, listing.files.get(path) ?? "", files.get(path), now);
    }
    this.#settle(found);
    return this.#use(found.nowMs);
  }

  /** The listing without the files that are alert files: the other ones are workflows. The same object as long as nothing changes. */
  without(listing: WorkflowListing): WorkflowListing {
    const paths = [...this.#files].flatMap(([path, { isAlert }]) =>
      isAlert && listing.files.has(path) ? [path] : [],
    );
    if (paths.length === 0) return listing;
    const alerts = paths.join("\n");
    if (this.#without?.of === listing && this.#without.alerts === alerts) return this.#without.listing;
    const files = new Map(listing.files);
    for (const path of paths) files.delete(path);
    this.#without = { of: listing, alerts, listing: { ...listing, files } };
    return this.#without.listing;
  }

  #read(path: string, signature: string, file: RegularFile | undefined, now: number): void {
    const former = this.#files.get(path);
    const read = file ?? { kind: "failed", code: "", message: "not read" };
    // While it cannot be read, or an editor has it empty, it stays what it was.
    const isAlert = isAlertFile(path, read) || (former?.isAlert === true && !isWorkflow(read));
    const result = isAlert ? parseAlertFile(path, read) : undefined;
    const valid = result?.ok === true ? result.alert : isAlert ? (former?.valid ?? null) : null;
    const error = result?.ok === false ? renderDiagnostics(result.diagnostics) : null;
    // One that could not be read is read again by the next scan.
    const certain = read.kind === "failed" ? "" : signature;
    this.#files.set(path, { signature: certain, isAlert, valid, error, since: now, isMissing: false });
  }

  /** Removes those that are gone, and finds out which problems are to be told. */
  #settle({ listing, now, isSettled, isEmpty }: Found): void {
    const invalid = new Map<string, string>();
    this.#isUnsettled = false;
    for (const [path, file] of this.#files) {
      const isMissing = !listing.files.has(path) && !isEmpty && !isUnreadable(path, listing.unreadable);
      const since = isMissing === file.isMissing ? file.since : now;
      if (isMissing !== file.isMissing) this.#files.set(path, { ...file, since, isMissing });
      if (!isMissing && file.error === null) continue;
      if (!isSettled(since)) this.#isUnsettled = true;
      else if (isMissing) this.#files.delete(path);
      else if (file.error !== null) invalid.set(path, file.error);
    }
    const paths = [...this.#files].flatMap(([path, { isAlert }]) => (isAlert ? [path] : [])).sort();
    for (const path of paths.slice(MAX_ALERT_FILES))
      invalid.set(path, renderDiagnostics([tooManyAlertFiles(path)]));
    this.#invalid = invalid;
  }

  /** Puts the valid ones into use, and saves them. */
  async #use(nowMs: number): Promise<boolean> {
    const paths = [...this.#files.keys()].sort();
    const valid = paths.flatMap((path) => this.#files.get(path)?.valid ?? []).slice(0, MAX_ALERT_FILES);
    const stored = new Map(valid.map(({ path, ...alert }) => [path, JSON.stringify(alert)]));
    const isSame = JSON.stringify([...stored]) === this.#stored;
    if (isSame && !this.#isUnsaved) return false;
    this.#alerts = new Map(valid.map((alert) => [alert.path, alert]));
    this.#stored = JSON.stringify([...stored]);
    try {
      await this.#o.store.transact((tx) => tx.putFileSettings("alert", stored, nowMs));
      this.#isUnsaved = false;
    } catch (error) {
      if (!this.#isUnsaved)
        this.#o.log.warn(`Alert files are in use, but could not be saved to disk: ${errorMessage(error)}`);
      this.#isUnsaved = true;
    }
    return !isSame;
  }
}

/** Whether a file says that it is a workflow. */
function isWorkflow(file: RegularFile): boolean {
  return file.kind === "file" && /^["']?tasks["']?[ \t]*:/m.test(new TextDecoder().decode(file.bytes));
}
