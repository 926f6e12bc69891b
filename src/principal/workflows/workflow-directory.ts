/**
 * The loaded workflows: the files of the workflow directory, reloaded when they change. A file that becomes invalid keeps its last valid
 * version in use, even across restarts; a deleted file removes its workflow.
 */
import type { ConsolaInstance } from "consola";
import type { Clock } from "../../clock.ts";
import type { WorkflowDetails, WorkflowSummary } from "../../contract/messages.ts";
import { errorMessage } from "../../errors.ts";
import type { FileHelper } from "../../host/file-helper/file-helper.ts";
import type { TreeListing } from "../../host/file-helper/tree.ts";
import type { RegularFile } from "../../host/regular-file.ts";
import { dropOldest } from "../../recent.ts";
import { BackgroundService } from "../../service.ts";
import {
  type OperationalStore,
  type OperationalTx,
  type ScheduleCursor,
  StoreUnavailableError,
} from "../../storage/operational/store.ts";
import { turn } from "../../timer.ts";
import { checkChains, locateChainProblem, TRIGGER_CODES } from "../../workflow/check-triggers.ts";
import { type Diagnostic, mergeRepeated, renderDiagnostic } from "../../workflow/diagnostic.ts";
import { checkWorkflowFile } from "../../workflow/load.ts";
import { readDefinition, type WorkflowDefinition } from "../../workflow/model.ts";
import { firingsBetween, isTimezone, nextFiring, previousFiring } from "../../workflow/schedule.ts";
import { findDuplicateIds, workflowIdOrNull } from "../../workflow/workflow-id.ts";
import type { LongPolls } from "../long-polls.ts";
import type { StoredDefinition, WorkflowSource } from "../runs/run-service.ts";
import { notVisible } from "../unknown-name.ts";
import {
  isSameDefinition,
  type LoadedWorkflow,
  loadedWorkflow,
  storedWorkflow,
  type WorkflowHead,
} from "./loaded-workflow.ts";
import { WorkflowFiles } from "./workflow-files.ts";

/** The firings around a time. */
interface FiringsAround {
  readonly fromMs: number;
  readonly next: number | null;
  readonly previous: number | null;
}

const NO_FIRINGS: FiringsAround = { fromMs: 0, next: null, previous: null };

/** Maximum number of upcoming firings in the details of a workflow, and how far ahead they may be. */
const SHOWN_FIRINGS = 5;
const YEARS_AHEAD_MS = 5 * 366 * 86_400_000;

/** A file as it was last read. */
interface KnownFile {
  readonly signature: string;
  readonly id: string | null;
  /** The workflow, if the file is valid. */
  readonly read: LoadedWorkflow | null;
  readonly error: string | null;
  readonly warnings: readonly Diagnostic[];
  /** Since when it has been in this state (monotonic). */
  readonly since: number;
}

/** A file that is new or has changed. */
interface ListedFile {
  readonly path: string;
  readonly signature: string;
  readonly device: string | null;
}

/** What the workflow directory needs. */
export interface WorkflowDirectoryOptions {
  readonly root: string;
  /** Accesses the files; it is closed with the service. */
  readonly files: FileHelper;
  readonly store: OperationalStore;
  readonly clock: Clock;
  readonly log: ConsolaInstance;
  /** Time between scans; file events trigger additional ones. */
  readonly refreshMs: number;
  /** How long a file must be invalid or missing before that counts: editors write in several steps. */
  readonly settleMs?: number;
  readonly polls: LongPolls;
  /** How long the start reads files, ms; 5 s by default. */
  readonly startMs?: number;
  /** IANA name of the zone for schedules without one. */
  readonly zone: string;
}

/** The topic of {@link LongPolls} that is woken by changes of workflows. */
export const WORKFLOWS_TOPIC = "workflows";

/** Number of files that are read at once. */
const READ_AT_ONCE = 100;
/** From this number of workflows on, the garbage of reading them is worth a collection. */
const MANY = 1000;
/** How long files are read before those that were read are put into use; at the start less, so that the principal answers soon. */
const START_MS = 5000;
const SLICE_MS = 15_000;
/** How long the event loop may be occupied with files or summaries, ms. */
const TURN_MS = 10;
/** Number of definitions that are kept ready to be used. */
const MOST_READY = 100;
/** Number of versions that are read from the operational state at once. */
const VERSIONS_AT_ONCE = 500;
/** Number of changes that are written to it in a transaction. */
const NOTES_AT_ONCE = 200;
/** How long a workflow is kept if its file is not visible but may still exist, ms. */
const DOUBT_MS = 3_600_000;
/** Maximum number of names in a message. */
const MOST_NAMES = 5;

/** Loads and watches the workflows. */
export class WorkflowDirectory extends BackgroundService implements WorkflowSource {
  readonly name = "workflow directory";
  readonly #o: WorkflowDirectoryOptions;
  readonly #settleMs: number;
  readonly #disk: WorkflowFiles;
  readonly #workflows = new Map<string, LoadedWorkflow>();
  readonly #files = new Map<string, KnownFile>();
  /** Workflows whose file is missing, and since when (monotonic). */
  readonly #away = new Map<string, number>();
  /** The newest valid version of each id, from the operational state: for files that are invalid at start. */
  readonly #versions = new Map<string, LoadedWorkflow>();
  /** Workflows whose files existed before the start, but not at the start; kept in the operational state until this time (monotonic). */
  readonly #awaited = new Map<string, number>();
  /** Messages that were already logged about a file. */
  readonly #said = new Map<string, string>();
  #saidRepeated: ReadonlySet<string> = new Set();
  /** Refused firings, with the hash of the file that they belong to. */
  readonly #refused = new Map<
    string,
    { sourceHash: string; firing: NonNullable<WorkflowSummary["refused"]> }
  >();
  /** The firings around the time of the last request, by schedule, because thousands of workflows are listed at once. */
  readonly #around = new Map<string, FiringsAround>();
  /** Definitions that were used lately, the latest last. */
  readonly #ready = new Map<string, StoredDefinition>();
  /** The positions of the schedules when they were read last. */
  #cursors: ReadonlyMap<string, ScheduleCursor> | undefined;
  /** Whether files are left that were not read since the start. */
  #isLoading = true;
  /** Whether those that were left are in use since now: they are not told one by one. */
  #isLoaded = false;
  /** Listed files that are not in use yet, by workflow. */
  readonly #waiting = new Map<string, ListedFile>();
  /** Whether files were put into use before the others of their scan. */
  #isEarly = false;
  #invalid: { path: string; error: string }[] = [];
  #revision = 0;
  readonly #refresh = this.timer(() => void this.scan());
  readonly #settle = this.timer(() => void this.scan());
  #scanning: Promise<void> | undefined;
  #again = false;

  constructor(options: WorkflowDirectoryOptions) {
    super(options.clock);
    this.#o = options;
    this.#settleMs = options.settleMs ?? 300;
    this.#disk = new WorkflowFiles(options.root, options.files, options.log, () => void this.scan());
  }

  protected override async onStart(): Promise<void> {
    for (let after = ""; ; ) {
      const page = await this.#o.store.read((tx) => tx.listWorkflowVersions(after, VERSIONS_AT_ONCE));
      for (const version of page) {
        const stored = storedWorkflow(version);
        if (stored !== undefined) this.#versions.set(version.workflow_id, stored);
      }
      const last = page.at(-1);
      if (last === undefined) break;
      after = last.workflow_id;
    }
    await this.#scanOnce(true);
    if (this.#again) void this.scan();
    this.#o.log.info(
      `${this.#workflows.size} workflow${this.#workflows.size === 1 ? "" : "s"} in ${this.#o.root}` +
        (this.#invalid.length === 0 ? "" : `, ${this.#invalid.length} invalid file(s)`),
    );
    this.#refresh.every(this.#o.refreshMs);
  }

  protected override async onStop(): Promise<void> {
    this.#o.files.close();
    await this.#scanning;
  }

  /** Scans the files now. Resolves when the files that exist at the time of the call are loaded; never rejects. */
  async scan(): Promise<void> {
    if (this.#scanning !== undefined) {
      this.#again = true;
      return this.#scanning;
    }
    this.#scanning = (async () => {
      do {
        this.#again = false;
        if (this.isStopping) break;
        try {
          await this.#scanOnce(false);
        } catch (error) {
          if (this.isStopping) break;
          this.#o.log.error(`The workflow directory cannot be scanned: ${errorMessage(error)}`, error);
        }
      } while (this.#again);
    })();
    try {
      await this.#scanning;
    } finally {
      this.#scanning = undefined;
    }
  }

  async load(workflowId: string): Promise<void> {
    const listed = this.#waiting.get(workflowId);
    if (listed === undefined) return;
    let file = this.#files.get(listed.path);
    if (file?.signature !== listed.signature) {
      const contents = await this.#disk.read([listed.path]);
      // It may have been read with others in the meantime.
      if (!this.#waiting.delete(workflowId)) return;
      file = this.#check(listed, contents.get(listed.path), this.#o.clock.monotonic());
    }
    this.#waiting.delete(workflowId);
    if (file?.read != null) {
      if (this.#workflows.get(workflowId)?.texts.sourceHash === file.read.texts.sourceHash) return;
      this.#workflows.set(workflowId, file.read);
      this.#isEarly = true;
    } else if (file?.error != null) {
      this.#invalid = [...this.#invalid, { path: listed.path, error: file.error }];
    }
  }

  get(workflowId: string): StoredDefinition | undefined {
    const workflow = this.#workflows.get(workflowId);
    if (workflow === undefined) return undefined;
    const { hash } = workflow.texts;
    const ready = this.#ready.get(workflowId);
    if (ready?.hash === hash) return ready;
    const { json } = workflow.texts.unpack();
    const made = { json, hash, definition: readDefinition(json) };
    this.#ready.delete(workflowId);
    this.#ready.set(workflowId, made);
    dropOldest(this.#ready, MOST_READY);
    return made;
  }

  ids(): Iterable<string> {
    return this.#workflows.keys();
  }

  /** Those in use, and those that are awaited. */
  *definitions(): Iterable<WorkflowHead> {
    for (const { head } of this.#workflows.values()) yield head;
    for (const id of this.#awaited.keys()) {
      const awaited = this.#awaitedVersion(id);
      if (awaited !== undefined) yield awaited.head;
    }
  }

  isAwaited(workflowId: string): boolean {
    return this.#awaitedVersion(workflowId) !== undefined;
  }

  #awaitedVersion(id: string): LoadedWorkflow | undefined {
    const isOver = this.#o.clock.monotonic() >= (this.#awaited.get(id) ?? 0);
    const version = isOver || this.#workflows.has(id) ? undefined : this.#versions.get(id);
    return version === undefined ? undefined : { ...version, error: notVisible(id) };
  }

  /** Names of the environment variables that hold the secrets of webhooks. */
  secretVariables(): string[] {
    const names = new Set<string>();
    for (const { on } of this.definitions()) {
      const name = /^env:(.*)$/.exec(on?.webhook?.secret ?? "")?.[1];
      if (name !== undefined) names.add(name);
    }
    return [...names];
  }

  get size(): number {
    return this.#workflows.size;
  }

  /** Files that are currently invalid. */
  get invalidFiles(): readonly { path: string; error: string }[] {
    return this.#invalid;
  }

  /** Changes whenever a workflow or an error appears, changes or disappears. */
  get revision(): number {
    return this.#revision;
  }

  /** Shows a refused firing until the file changes or a firing becomes a run, and logs it once. */
  refused(workflowId: string, trigger: string, message: string): void {
    const workflow = this.#workflows.get(workflowId);
    if (workflow === undefined || this.#refusal(workflow)?.message === message) return;
    const firing = { trigger, timestamp_ms: this.#o.clock.now(), message };
    this.#refused.set(workflowId, { sourceHash: workflow.texts.sourceHash, firing });
    this.#o.log.warn(`A firing of workflow ${workflowId} (${trigger}) was refused: ${message}`);
    this.#changed();
  }

  fired(workflowId: string): void {
    if (this.#refused.delete(workflowId)) this.#changed();
  }

  #refusal({ head, texts }: LoadedWorkflow): WorkflowSummary["refused"] {
    const known = this.#refused.get(head.id);
    return known?.sourceHash === texts.sourceHash ? known.firing : null;
  }

  #summary(workflow: LoadedWorkflow, cursor: ScheduleCursor | undefined): WorkflowSummary {
    const now = this.#o.clock.now();
    const firings = this.#firingsAround(workflow, now);
    return {
      ...summaryOf(workflow, cursor),
      ...(workflow.head.cron === null ? {} : { schedule_timezone: this.#zoneOf(workflow) }),
      next_firing_ms: firings.next,
      previous_firing_ms: firings.previous,
      refused: this.#refusal(workflow),
    };
  }

  #firingsAround(workflow: LoadedWorkflow, now: number): FiringsAround {
    if (workflow.head.cron === null) return NO_FIRINGS;
    const { cron, start_time_ms } = workflow.head;
    const timezone = this.#zoneOf(workflow);
    const key = `${cron}\n${timezone}\n${start_time_ms}`;
    const known = this.#around.get(key);
    if (known !== undefined && now >= known.fromMs && now < (known.next ?? Infinity)) return known;
    const schedule = { cron, timezone, start_time_ms };
    const firings = isTimezone(timezone)
      ? { fromMs: now, next: nextFiring(schedule, now), previous: previousFiring(schedule, now) }
      : { ...NO_FIRINGS, fromMs: now };
    if (this.#around.size > this.#workflows.size) this.#around.clear();
    this.#around.set(key, firings);
    return firings;
  }

  #zoneOf({ head }: LoadedWorkflow): string {
    return head.timezone ?? this.#o.zone;
  }

  #changed(): void {
    this.#revision++;
    this.#o.polls.wake(WORKFLOWS_TOPIC);
  }

  /** All workflows by id. @param graphOf makes their `dag` */
  async summaries(
    graphOf?: (definition: WorkflowDefinition) => Readonly<Record<string, unknown>>,
  ): Promise<Record<string, WorkflowSummary>> {
    const cursors = await this.#knownCursors();
    const all = [...this.#workflows].sort(([a], [b]) => (a < b ? -1 : 1));
    const summaries: Record<string, WorkflowSummary> = {};
    let turnBegan = performance.now();
    for (const [id, workflow] of all) {
      const summary = this.#summary(workflow, cursors.get(id));
      // The tasks are what a valid file had, so they are not checked again.
      const definition = () => JSON.parse(workflow.texts.unpack().json) as WorkflowDefinition;
      summaries[id] = graphOf === undefined ? summary : { ...summary, dag: graphOf(definition()) };
      if (performance.now() - turnBegan < TURN_MS) continue;
      await turn();
      turnBegan = performance.now();
    }
    return summaries;
  }

  async details(workflowId: string): Promise<WorkflowDetails | undefined> {
    await this.load(workflowId);
    const cursors = await this.#knownCursors();
    const workflow = this.#workflows.get(workflowId) ?? this.#awaitedVersion(workflowId);
    if (workflow === undefined) return undefined;
    const { json, source } = workflow.texts.unpack();
    const definition = this.get(workflowId)?.definition ?? readDefinition(json);
    const schedule = { ...definition, timezone: this.#zoneOf(workflow) };
    const now = this.#o.clock.now();
    return {
      summary: this.#summary(workflow, cursors.get(workflowId)),
      definition,
      source,
      // A version that another system accepted may use a zone that is unknown here.
      next_firings_ms: isTimezone(schedule.timezone)
        ? firingsBetween(schedule, now, now + YEARS_AHEAD_MS, SHOWN_FIRINGS)
        : [],
    };
  }

  async #readCursors(): Promise<ReadonlyMap<string, ScheduleCursor>> {
    const cursors = await this.#o.store.read((tx) => tx.listScheduleCursors());
    this.#cursors = new Map(cursors.map((cursor) => [cursor.workflow_id, cursor]));
    return this.#cursors;
  }

  /** While the state cannot be read, as it was read last: the definitions are known all the same. */
  async #knownCursors(): Promise<ReadonlyMap<string, ScheduleCursor>> {
    try {
      return await this.#readCursors();
    } catch (error) {
      if (this.#cursors === undefined || !(error instanceof StoreUnavailableError)) throw error;
      return this.#cursors;
    }
  }

  // ---------------------------------------------------------------- scanning

  async #scanOnce(first: boolean): Promise<void> {
    const now = this.#o.clock.monotonic();
    let listing: TreeListing;
    try {
      listing = await this.#disk.list();
    } catch (error) {
      if (this.isStopping) return;
      await this.#directoryMissing(error, first, now);
      return;
    }
    this.#said.delete("");
    this.#isLoading = !(await this.#readFiles(
      listing,
      now,
      first ? (this.#o.startMs ?? START_MS) : SLICE_MS,
    ));
    if (this.isStopping) return;
    const settled = (since: number) => first || now - since >= this.#settleMs;
    const wanted = this.#decide(listing, settled, now);
    if (first) this.#awaitMissing(wanted.workflows, now);
    this.#checkTriggers(wanted.workflows);
    await this.#putInForce(wanted.workflows);
    for (const [id, { path, signature }] of this.#waiting)
      if (this.#files.get(path)?.signature === signature) this.#waiting.delete(id);
    this.#tell(wanted.invalid);
    if (!this.#isLoaded && !this.#isLoading) this.#loaded(first);
    if (wanted.unsettled) this.#settle.in(this.#settleMs);
    else this.#settle.cancel();
  }

  #loaded(first: boolean): void {
    this.#isLoaded = true;
    if (!first) this.#o.log.info(`All workflow files are read: ${counted(this.#workflows.size, "workflow")}`);
    // Reading thousands of files leaves more garbage than everything else that is in memory.
    if (this.#workflows.size > MANY) Bun.gc(true);
  }

  async #directoryMissing(error: unknown, first: boolean, now: number): Promise<void> {
    const missing = error instanceof Error && "code" in error && error.code === "ENOENT";
    const reason = missing ? "does not exist" : `cannot be read: ${errorMessage(error)}`;
    if (first && missing) this.#awaitMissing(new Map(), now);
    // The directory may exist but be inaccessible: the last known workflows stay in use.
    if (first && !missing) {
      const kept = [...this.#versions.keys()].map((id) => [id, this.#lastValid(id)] as const);
      this.#replace(
        new Map(kept.flatMap(([id, workflow]) => (workflow === undefined ? [] : [[id, workflow]]))),
      );
    }
    const { size } = this.#workflows;
    const stays = size === 0 ? "" : ` The ${size} workflows from it stay in use.`;
    this.#sayOnce(
      "",
      `The workflow directory ${this.#o.root} ${reason}.${stays} CDKTR_WORKFLOW_DIR sets its location.`,
    );
    this.#invalid = [{ path: this.#o.root, error: `the workflow directory ${reason}` }];
  }

  /** Keeps the last version and the schedule of workflows from before the start for a while, in case a mount is late. */
  #awaitMissing(present: ReadonlyMap<string, LoadedWorkflow>, now: number): void {
    const missing = [...this.#versions.keys()].filter((id) => !present.has(id));
    for (const id of missing) this.#awaited.set(id, now + DOUBT_MS);
    if (missing.length === 0) return;
    this.#o.log.warn(
      `${counted(missing.length, "workflow")} that ${missing.length === 1 ? "was" : "were"} in ${this.#o.root} when the principal ran last ${missing.length === 1 ? "is" : "are"} not there: ${namesOf(missing)}. ` +
        `Not in use; if the files come back within ${DOUBT_MS / 60_000} minutes, their schedules continue where they were, including missed firings. ` +
        "Is a volume not mounted yet? If they were deleted, there is nothing to do.",
    );
  }

  /** Reads the files that are new or have changed, those of new workflows first. Resolves with whether that was all in the given time. */
  async #readFiles(listing: TreeListing, now: number, forMs: number): Promise<boolean> {
    for (const path of this.#files.keys()) if (!listing.files.has(path)) this.#files.delete(path);
    const changed: ListedFile[] = [];
    for (const [path, signature] of listing.files)
      if (this.#files.get(path)?.signature !== signature)
        changed.push({ path, signature, device: deviceOf(path, listing) });
    this.#waiting.clear();
    if (this.#isLoading || changed.length > READ_AT_ONCE) this.#defer(changed);
    const began = performance.now();
    let turnBegan = began;
    for (let i = 0; i < changed.length; i += READ_AT_ONCE) {
      const some = changed.slice(i, i + READ_AT_ONCE);
      const contents = await this.#disk.read(some.map(({ path }) => path));
      for (const listed of some) {
        this.#check(listed, contents.get(listed.path), now);
        if (performance.now() - turnBegan < TURN_MS) continue;
        await turn();
        turnBegan = performance.now();
      }
      const isOver = performance.now() - began > forMs && i + READ_AT_ONCE < changed.length;
      if (this.isStopping) return false;
      if (!isOver) continue;
      const left = changed.length - i - READ_AT_ONCE;
      this.#o.log.info(
        `${this.#files.size} of ${listing.files.size} workflow files are read. The other ${left} follow; one that is triggered is read at once.`,
      );
      this.#again = true;
      return false;
    }
    return true;
  }

  /** Sorts many files, those of new workflows first; until they are in use, {@link load} finds them. */
  #defer(changed: ListedFile[]): void {
    const known = new Set<ListedFile>();
    for (const listed of changed) {
      const id = workflowIdOrNull(listed.path);
      if (id === null) continue;
      if (!this.#waiting.has(id)) this.#waiting.set(id, listed);
      if (this.#versions.has(id)) known.add(listed);
    }
    changed.sort((a, b) => Number(known.has(a)) - Number(known.has(b)));
  }

  /** Checks the content of a file. */
  #check(
    { path, signature, device }: ListedFile,
    content: RegularFile | undefined,
    now: number,
  ): KnownFile | undefined {
    if (content === undefined) return undefined;
    const result = checkWorkflowFile(path, content);
    const id = workflowIdOrNull(path);
    const file: KnownFile = {
      signature,
      id,
      read:
        result.ok && result.source !== null
          ? loadedWorkflow(path, result.definition, result.source, device, this.#versions.get(id ?? ""))
          : null,
      error: result.ok ? null : render(result.diagnostics),
      warnings: result.ok ? result.warnings : [],
      since: now,
    };
    this.#files.set(path, file);
    return file;
  }

  /** The workflows to load, by id, and the invalid files. Unsettled: scan again soon. */
  #decide(
    listing: TreeListing,
    settled: (since: number) => boolean,
    now: number,
  ): { workflows: Map<string, LoadedWorkflow>; invalid: Map<string, string>; unsettled: boolean } {
    const workflows = new Map<string, LoadedWorkflow>();
    const invalid = new Map<string, string>();
    let unsettled = false;
    const hidden = (path: string) => isBelow(path, listing.unreadable);
    for (const [path, reason] of listing.unreadable) invalid.set(path, `${path}: cannot be read: ${reason}`);
    const duplicates = new Map(
      findDuplicateIds(listing.files.keys()).map((found) => [found.path, render([found])]),
    );
    for (const [path, file] of this.#files) {
      const duplicate = duplicates.get(path);
      if (duplicate !== undefined) {
        invalid.set(path, duplicate);
        continue;
      }
      if (file.read !== null) {
        workflows.set(file.read.head.id, this.#inUse(file.read, listing));
        continue;
      }
      const kept = file.id === null ? undefined : this.#lastValid(file.id);
      const isSettled = settled(file.since);
      if (!isSettled) unsettled = true;
      else if (file.error !== null) invalid.set(path, file.error);
      if (kept !== undefined)
        workflows.set(kept.head.id, { ...kept, error: isSettled ? file.error : kept.error });
    }
    if (this.#isLoading) {
      for (const path of listing.files.keys()) {
        const id = this.#files.has(path) || duplicates.has(path) ? null : workflowIdOrNull(path);
        const kept = id === null ? undefined : this.#lastValid(id);
        if (kept !== undefined) workflows.set(kept.head.id, { ...kept, device: deviceOf(path, listing) });
      }
    }
    // After a start, workflows from before may be in a directory that cannot be read.
    for (const [id, { path }] of this.#versions) {
      const kept = workflows.has(id) || !hidden(path) ? undefined : this.#lastValid(id);
      if (kept !== undefined) workflows.set(id, kept);
    }
    const isEmpty = workflows.size === 0 && listing.files.size === 0 && this.#workflows.size > 1;
    const doubted: string[] = [];
    for (const [id, workflow] of this.#workflows) {
      if (workflows.has(id)) {
        this.#away.delete(id);
        continue;
      }
      const since = this.#away.get(id) ?? now;
      this.#away.set(id, since);
      const isInDoubt = isEmpty || isElsewhere(workflow, listing.devices);
      if (isInDoubt && now - since < DOUBT_MS) {
        workflows.set(id, workflow);
        if (settled(since)) doubted.push(id);
        else unsettled = true;
      } else if (!settled(since)) {
        workflows.set(id, workflow);
        unsettled = true;
      }
    }
    this.#doubt(doubted);
    return { workflows, invalid, unsettled };
  }

  /** Finds triggers that cannot work; most problems are only visible across all workflows. */
  #checkTriggers(workflows: Map<string, LoadedWorkflow>): void {
    const ids = [...this.#files.values()].flatMap(({ id }) => id ?? []);
    const chains = checkChains(
      [...workflows.values()].map(({ head }) => head),
      new Set([...ids, ...workflows.keys()]),
    );
    for (const [id, workflow] of workflows) {
      const own =
        this.#files.get(workflow.path)?.warnings.filter(({ code }) => TRIGGER_CODES.has(code)) ?? [];
      const chain = chains.get(id);
      if (chain === undefined && own.length === 0 && workflow.triggerProblems.length === 0) continue;
      const placed =
        chain === undefined ? [] : locateChainProblem(chain, workflow.texts.unpack().source, workflow.path);
      workflows.set(id, { ...workflow, triggerProblems: [...own, ...placed] });
    }
  }

  /** Logs, once, that the files of these workflows are not visible. */
  #doubt(ids: readonly string[]): void {
    if (ids.length === 0) {
      this.#said.delete(".");
      return;
    }
    this.#sayOnce(
      ".",
      `The files of ${counted(ids.length, "workflow")} disappeared at the same time: ${namesOf(ids)}. A volume may have been unmounted, so they stay in use for ` +
        `${DOUBT_MS / 60_000} minutes. If they were deleted, restart the principal to remove them at once.`,
    );
  }

  /** The workflow of a valid file, with what is known of the one in use if it is the same. */
  #inUse(read: LoadedWorkflow, listing: TreeListing): LoadedWorkflow {
    const present = this.#workflows.get(read.head.id);
    if (present?.texts.sourceHash !== read.texts.sourceHash || present.path !== read.path) return read;
    return { ...present, device: deviceOf(read.path, listing), error: null };
  }

  #lastValid(id: string): LoadedWorkflow | undefined {
    return this.#workflows.get(id) ?? this.#versions.get(id);
  }

  /** Puts `wanted` into use, on disk first. */
  async #putInForce(wanted: ReadonlyMap<string, LoadedWorkflow>): Promise<void> {
    try {
      await this.#note(wanted);
    } catch (error) {
      this.#o.log.warn(
        `Changed workflows are in use, but could not be saved to disk: ${errorMessage(error)}`,
      );
    }
    this.#replace(wanted);
  }

  /** Writes what differs from what is on disk. */
  async #note(wanted: ReadonlyMap<string, LoadedWorkflow>): Promise<void> {
    const cursors = await this.#readCursors();
    const fresh = [...wanted].filter(([id, { texts, path }]) => {
      const noted = this.#versions.get(id);
      return noted?.texts.sourceHash !== texts.sourceHash || noted.path !== path;
    });
    const now = this.#o.clock.monotonic();
    for (const [id, until] of this.#awaited) if (wanted.has(id) || now >= until) this.#awaited.delete(id);
    const gone = [...new Set([...this.#versions.keys(), ...cursors.keys()])].filter(
      (id) => !wanted.has(id) && !this.#awaited.has(id),
    );
    const schedules = [...wanted]
      .map(([id, { head }]) => [id, scheduleOf(head)] as const)
      .filter(([id, schedule]) => schedule !== (cursors.get(id)?.schedule ?? null));
    if (fresh.length + gone.length + schedules.length === 0) return;
    const nowMs = this.#o.clock.now();
    const notes: ((tx: OperationalTx) => Promise<void>)[] = [
      ...fresh.map(([id, { path, texts }]) => (tx: OperationalTx) => {
        const { json, source } = texts.unpack();
        return tx.putWorkflowVersion({ workflow_id: id, path, definition: json, source });
      }),
      ...schedules.map(
        ([id, schedule]) =>
          (tx: OperationalTx) =>
            tx.setSchedule(id, schedule, nowMs),
      ),
      ...gone.map((id) => (tx: OperationalTx) => tx.dropWorkflow(id)),
    ];
    // Not all of thousands at once: requests wait for a transaction.
    for (let i = 0; i < notes.length; i += NOTES_AT_ONCE) {
      await this.#o.store.transact(async (tx) => {
        for (const note of notes.slice(i, i + NOTES_AT_ONCE)) await note(tx);
      });
    }
    for (const [id, workflow] of fresh) this.#versions.set(id, workflow);
    for (const id of gone) this.#versions.delete(id);
  }

  #replace(wanted: ReadonlyMap<string, LoadedWorkflow>): void {
    let changed = this.#isEarly;
    this.#isEarly = false;
    for (const [id, workflow] of this.#workflows) {
      if (wanted.has(id)) continue;
      this.#workflows.delete(id);
      this.#refused.delete(id);
      this.#ready.delete(id);
      this.#away.delete(id);
      this.#o.log.info(`Workflow ${id} is gone (${workflow.path})`);
      changed = true;
    }
    for (const [id, workflow] of wanted) {
      const present = this.#workflows.get(id);
      this.#workflows.set(id, workflow);
      if (
        present?.texts.sourceHash === workflow.texts.sourceHash &&
        present.error === workflow.error &&
        messagesOf(present) === messagesOf(workflow)
      )
        continue;
      if (present !== undefined && !isSameDefinition(present, workflow))
        this.#o.log.info(`Workflow ${id} changed (${workflow.path})`);
      else if (present === undefined && this.#isLoaded)
        this.#o.log.info(`Workflow ${id} loaded (${workflow.path})`);
      changed = true;
    }
    if (changed || this.#revision === 0) this.#changed();
  }

  /** Logs problems, each once. */
  #tell(invalid: ReadonlyMap<string, string>): void {
    const before = JSON.stringify(this.#invalid);
    this.#invalid = [...invalid].map(([path, error]) => ({ path, error }));
    if (JSON.stringify(this.#invalid) !== before) this.#changed();
    for (const [path, error] of invalid) {
      const id = this.#files.get(path)?.id ?? null;
      const kept = id !== null && this.#workflows.has(id) && this.#workflows.get(id)?.path === path;
      this.#sayOnce(
        path,
        `${error}\n${kept ? `The last valid version of ${id} stays in use.` : "The file is not loaded."}`,
      );
    }
    const repeated: Diagnostic[] = [];
    for (const [path, file] of this.#files) {
      if (invalid.has(path)) continue;
      const workflow = file.id === null ? undefined : this.#workflows.get(file.id);
      const chain = workflow?.triggerProblems.filter((problem) => !file.warnings.includes(problem)) ?? [];
      repeated.push(...file.warnings.filter(({ code }) => code === "W002"));
      const warnings = [...file.warnings.filter(({ code }) => code !== "W002"), ...chain];
      if (warnings.length > 0) this.#sayOnce(path, render(warnings));
      else if (file.read !== null && this.#said.delete(path)) this.#o.log.success(`${path} is valid again`);
    }
    this.#tellRepeated(repeated);
    for (const path of this.#said.keys())
      if (path !== "" && path !== "." && !this.#files.has(path) && !invalid.has(path))
        this.#said.delete(path);
  }

  /** Logs the warnings that many files may have, as one each; again when another file has one. */
  #tellRepeated(warnings: readonly Diagnostic[]): void {
    const isNew = warnings.some((warning) => !this.#saidRepeated.has(keyOf(warning)));
    this.#saidRepeated = new Set(warnings.map(keyOf));
    if (isNew) this.#o.log.warn(render(mergeRepeated(warnings)));
  }

  #sayOnce(path: string, text: string): void {
    if (this.#said.get(path) === text) return;
    this.#said.set(path, text);
    this.#o.log.warn(text);
  }
}

function summaryOf(workflow: LoadedWorkflow, cursor: ScheduleCursor | undefined): WorkflowSummary {
  const { head: definition } = workflow;
  return {
    id: definition.id,
    name: definition.name,
    description: definition.description,
    path: workflow.path,
    cron: definition.cron,
    timezone: definition.timezone,
    start_time: workflow.startTime,
    start_time_ms: definition.start_time_ms,
    catchup: definition.catchup,
    // The cursor of another schedule is not recorded yet.
    schedule_cursor_ms: cursor?.schedule === scheduleOf(definition) ? (cursor?.cursor_ms ?? null) : null,
    params: definition.params,
    ...(definition.on === undefined ? {} : { on: definition.on }),
    tasks: workflow.tasks,
    error: workflow.error,
    trigger_problems: workflow.triggerProblems.map(({ message }) => message),
  };
}

/** The problems of a workflow's triggers as text. */
function messagesOf({ triggerProblems }: LoadedWorkflow): string {
  return triggerProblems.map(({ message }) => message).join("\n");
}

/** The schedule that a cursor belongs to; null without a schedule. */
function scheduleOf(definition: WorkflowHead): string | null {
  const { cron, timezone, start_time_ms } = definition;
  return cron === null ? null : JSON.stringify([cron, timezone, start_time_ms]);
}

/** The file system of the directory of a file; null when it is not known. */
function deviceOf(path: string, { devices }: TreeListing): string | null {
  return devices.get(path.includes("/") ? path.slice(0, path.lastIndexOf("/")) : "") ?? null;
}

/** Whether a path is one of these or below one. */
function isBelow(path: string, directories: ReadonlyMap<string, unknown>): boolean {
  for (const directory of directories.keys())
    if (path === directory || path.startsWith(`${directory}/`)) return true;
  return false;
}

/** Whether the directory of a file is now on another file system than when the file was last seen, after a mount or an unmount. */
function isElsewhere({ path, device }: LoadedWorkflow, devices: ReadonlyMap<string, string>): boolean {
  if (device === null) return false;
  let directory = path;
  do {
    directory = directory.includes("/") ? directory.slice(0, directory.lastIndexOf("/")) : "";
    const present = devices.get(directory);
    if (present !== undefined) return present !== device;
  } while (directory !== "");
  return false;
}

function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}

function namesOf(ids: readonly string[]): string {
  const more = ids.length - MOST_NAMES;
  return ids.slice(0, MOST_NAMES).join(", ") + (more > 0 ? ` and ${more} more` : "");
}

function render(diagnostics: readonly Diagnostic[]): string {
  return diagnostics.map((diagnostic) => renderDiagnostic(diagnostic)).join("\n");
}

function keyOf({ path, message }: Diagnostic): string {
  return `${path} ${message}`;
}
