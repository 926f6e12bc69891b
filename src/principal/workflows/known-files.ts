/** The workflow files as they were last read. Only files that have changed are read again, also after a restart. */
import type { ConsolaInstance } from "consola";
import type { Clock } from "../../clock.ts";
import type { TreeListing } from "../../host/file-helper/tree.ts";
import type { Defaults } from "../../workflow/model.ts";
import { workflowIdOrNull } from "../../workflow/workflow-id.ts";
import { type LoadedWorkflow, loadedWorkflow } from "./loaded-workflow.ts";
import { packedOf } from "./parsed-file.ts";
import type { SettingsOfDirectories, WorkflowListing } from "./settings-of-directories.ts";
import type { StoredVersion, StoredWorkflows } from "./stored-workflows.ts";
import type { ParsedFiles, WorkflowFiles } from "./workflow-files.ts";

/** Up to this number of files are parsed in this process. */
const FEW = 100;
/** A file that changed so recently before it is read, ms, may change again with the same time stamp: they are coarse on some disks. */
const RECENT_MS = 2000;

/** A file as it was last read. */
export interface KnownFile {
  readonly signature: string;
  /** The signature, if it is certain to be another one when the content is another; otherwise empty. */
  readonly certain: string;
  readonly id: string | null;
  /** The workflow, if the file is valid. */
  readonly read: LoadedWorkflow | null;
  readonly error: string | null;
  /** The settings that are invalid, so that the file is not read; absent if it is. */
  readonly waitsFor?: string;
  /** Since when it has been in this state (monotonic). */
  readonly since: number;
}

/** A file that is new or has changed. */
interface ListedFile {
  readonly path: string;
  readonly id: string | null;
  readonly signature: string;
  readonly device: string | null;
}

/** A scan of the files. */
export interface Scan {
  readonly listing: WorkflowListing;
  /** Files whose id another file has, with the error. */
  readonly duplicates: ReadonlyMap<string, string>;
  /** When it began: monotonic, and since the epoch. */
  readonly now: number;
  readonly nowMs: number;
}

/** Reads them. */
export class KnownFiles {
  readonly #disk: WorkflowFiles;
  readonly #settings: SettingsOfDirectories;
  readonly #stored: StoredWorkflows;
  readonly #clock: Clock;
  readonly #log: ConsolaInstance;
  readonly #files = new Map<string, KnownFile>();
  /** Listed files that are not in use yet, by workflow. */
  readonly #waiting = new Map<string, ListedFile>();
  #isLoading = true;

  constructor(
    disk: WorkflowFiles,
    settings: SettingsOfDirectories,
    stored: StoredWorkflows,
    clock: Clock,
    log: ConsolaInstance,
  ) {
    this.#disk = disk;
    this.#settings = settings;
    this.#stored = stored;
    this.#clock = clock;
    this.#log = log;
  }

  /** The files that were read, by path. */
  get all(): ReadonlyMap<string, KnownFile> {
    return this.#files;
  }

  /** Whether files are left that were not read since the start, or since many have changed. */
  get isLoading(): boolean {
    return this.#isLoading;
  }

  /** The signature of a workflow's file, if {@link KnownFile.certain}; undefined if the file was not read, or has become another version. */
  signatureOf({ path, facts }: LoadedWorkflow): string | undefined {
    const file = this.#files.get(path);
    return file?.read?.facts.source_hash === facts.source_hash ? file.certain : undefined;
  }

  /**
   * Reads the files that are new or have changed, those of new workflows first.
   * @param forMs how long it may take; the rest is left to the next scan
   * @param isStopping whether to give up
   */
  async read(scan: Scan, forMs: number, isStopping: () => boolean): Promise<void> {
    const changed = this.#changed(scan);
    const isMany = changed.length > FEW;
    this.#waiting.clear();
    if (isMany || this.#isLoading) this.#defer(changed);
    const read = isMany
      ? await this.#parseMany(changed, scan, forMs, isStopping)
      : await this.#parse(changed, scan);
    const left = changed.length - read;
    this.#isLoading = left > 0;
    if (left === 0) this.#disk.endReaders();
    if (left === 0 || isStopping()) return;
    this.#log.info(
      `${this.#files.size} of ${scan.listing.files.size} workflow files are read. The other ${left} follow; one that is triggered is read at once.`,
    );
  }

  /** Whether the file of a workflow is there, but was not read in its present version. */
  isUnread(workflowId: string): boolean {
    const listed = this.#waiting.get(workflowId);
    return listed !== undefined && this.#files.get(listed.path)?.signature !== listed.signature;
  }

  /** Reads the file of a workflow that was left out until now. Undefined if it was not, or has been read in the meantime. */
  async readNow(workflowId: string): Promise<{ path: string; file: KnownFile | undefined } | undefined> {
    const listed = this.#waiting.get(workflowId);
    if (listed === undefined) return undefined;
    const { path } = listed;
    if (this.isUnread(workflowId)) {
      const at = { now: this.#clock.monotonic(), nowMs: this.#clock.now() };
      const parsed = await this.#disk.parse([path], this.#defaultsOf);
      // It may have been read with others in the meantime.
      if (!this.#waiting.has(workflowId)) return undefined;
      this.#take(listed, parsed, at);
    }
    this.#waiting.delete(workflowId);
    return { path, file: this.#files.get(path) };
  }

  /** The files that were read are in use now. */
  areInUse(): void {
    for (const [id, { path, signature }] of this.#waiting)
      if (this.#files.get(path)?.signature === signature) this.#waiting.delete(id);
  }

  readonly #defaultsOf = (path: string): Defaults | undefined => {
    const settings = this.#settings.of(path);
    return "unknown" in settings ? undefined : settings.defaults;
  };

  /** Takes over the files that are as they were, and returns the others. */
  #changed({ listing, now }: Scan): ListedFile[] {
    for (const path of this.#files.keys()) if (!listing.files.has(path)) this.#files.delete(path);
    const changed: ListedFile[] = [];
    for (const [path, fingerprint] of listing.files) {
      const settings = this.#settings.of(path);
      // The file counts as changed when its defaults have changed.
      const prefix = "unknown" in settings ? "?" : settings.hash;
      const signature = prefix === "" ? fingerprint : `${prefix} ${fingerprint}`;
      if (this.#files.get(path)?.signature === signature) continue;
      const id = workflowIdOrNull(path);
      if ("unknown" in settings) {
        const waitsFor = settings.unknown;
        this.#files.set(path, { signature, certain: "", id, read: null, error: null, waitsFor, since: now });
        continue;
      }
      const device = deviceOf(path, listing);
      const stored = id === null ? undefined : this.#stored.readFrom(path, id, signature);
      if (stored === undefined) {
        changed.push({ path, id, signature, device });
        continue;
      }
      const read = { ...stored, device };
      this.#files.set(path, { signature, certain: signature, id, read, error: null, since: now });
    }
    return changed;
  }

  async #parse(changed: readonly ListedFile[], scan: Scan): Promise<number> {
    const paths = changed.map(({ path }) => path);
    const parsed = await this.#disk.parse(paths, this.#defaultsOf);
    for (const listed of changed) this.#take(listed, parsed, scan);
    return changed.length;
  }

  /** Saves the versions as it reads them: not all of thousands are in memory with their files. @returns how many it read */
  #parseMany(
    changed: readonly ListedFile[],
    scan: Scan,
    forMs: number,
    isStopping: () => boolean,
  ): Promise<number> {
    const began = performance.now();
    const byPath = new Map(changed.map((listed) => [listed.path, listed]));
    const take = async (parsed: ParsedFiles) => {
      const valid: StoredVersion[] = [];
      for (const path of parsed.keys()) {
        const listed = byPath.get(path);
        const file = listed && this.#take(listed, parsed, scan);
        if (file?.read != null && !scan.duplicates.has(path))
          valid.push({ workflow: file.read, signature: file.certain });
      }
      try {
        if (!isStopping()) await this.#stored.put(valid);
      } catch {
        // It is tried again when they are put into use, and told if it still fails.
      }
    };
    return this.#disk.parseMany(
      changed.map(({ path }) => path),
      this.#defaultsOf,
      take,
      () => isStopping() || performance.now() - began > forMs,
    );
  }

  /** Sorts many files, those of new workflows first; until they are in use, {@link readNow} finds them. */
  #defer(changed: ListedFile[]): void {
    const known = new Set<ListedFile>();
    for (const listed of changed) {
      if (listed.id === null) continue;
      if (!this.#waiting.has(listed.id)) this.#waiting.set(listed.id, listed);
      if (this.#stored.has(listed.id)) known.add(listed);
    }
    changed.sort((a, b) => Number(known.has(a)) - Number(known.has(b)));
  }

  /** @param at when it was listed, or before */
  #take(
    { path, id, signature, device }: ListedFile,
    parsed: ParsedFiles,
    { now, nowMs }: Pick<Scan, "now" | "nowMs">,
  ): KnownFile | undefined {
    const result = parsed.get(path);
    if (result === undefined) return undefined;
    const read = result.kind === "valid" ? loadedWorkflow(path, packedOf(result), device) : null;
    const error = result.kind === "valid" ? null : result.error;
    const certain = nowMs - changedAtMs(signature) < RECENT_MS ? "" : signature;
    const file: KnownFile = { signature, certain, id, read, error, since: now };
    this.#files.set(path, file);
    return file;
  }
}

/** When a file last changed, from its signature; it ends with that time, ns. See {@link TreeListing}. */
function changedAtMs(signature: string): number {
  return Number(signature.slice(signature.lastIndexOf(" ") + 1)) / 1e6;
}

/** The file system of the directory of a file; null when it is not known. */
export function deviceOf(path: string, { devices }: TreeListing): string | null {
  return devices.get(path.includes("/") ? path.slice(0, path.lastIndexOf("/")) : "") ?? null;
}
