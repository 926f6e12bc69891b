/**
 * The loaded workflows: the files of the workflow directory, reloaded when they change. A file that becomes invalid keeps its last valid
 * version in use, even across restarts; a deleted file removes its workflow.
 */
import { dirname, resolve } from "node:path";
import type { ConsolaInstance } from "consola";
import type { Clock } from "../../clock.ts";
import type { KeptRuns } from "../../contract/history.ts";
import type { WorkflowDetails, WorkflowResumed, WorkflowSummary } from "../../contract/messages.ts";
import { errorMessage } from "../../errors.ts";
import type { DeclaredWorkflow } from "../../events/declared/declaration-source.ts";
import type { FileHelper } from "../../host/file-helper/file-helper.ts";
import { giveBackMemory } from "../../host/resident-memory.ts";
import { dropOldest } from "../../recent.ts";
import { BackgroundService } from "../../service.ts";
import type { OperationalStore, OperationalTx } from "../../storage/operational/store.ts";
import type { AlertQuery } from "../../workflow/alert-file.ts";
import type { Calendar } from "../../workflow/calendar.ts";
import { paceOf } from "../../workflow/channel-defaults.ts";
import type { ChannelSettings } from "../../workflow/channels.ts";
import { renderDiagnostics } from "../../workflow/diagnostic.ts";
import { readDefinition, type WorkflowDefinition } from "../../workflow/model.ts";
import type { NotifyRule } from "../../workflow/notify.ts";
import { webhooksOf } from "../../workflow/triggers.ts";
import { findDuplicateIds } from "../../workflow/workflow-id.ts";
import type { LongPolls } from "../long-polls.ts";
import type { PrincipalEvents } from "../principal-events.ts";
import type { Fired, StoredDefinition, WorkflowSource } from "../runs/workflow-source.ts";
import { notVisible } from "../unknown-name.ts";
import { AlertFiles } from "./alert-files.ts";
import { DOUBT_MS, decide } from "./decide.ts";
import { KnownFiles, type Scan } from "./known-files.ts";
import { isSameDefinition, type LoadedWorkflow, textsOf, type WorkflowHead } from "./loaded-workflow.ts";
import { ABOUT_DIRECTORY, ABOUT_MISSING, counted, namesOf, ProblemLog } from "./problem-log.ts";
import { RootSettings } from "./root-settings.ts";
import { SettingsOfDirectories, type WorkflowListing } from "./settings-of-directories.ts";
import { ownReader, StoredWorkflows } from "./stored-workflows.ts";
import { findTriggerProblems } from "./trigger-problems.ts";
import { WorkflowFiles } from "./workflow-files.ts";
import { type ExpectationsOfViews, type PausesOfViews, WorkflowViews } from "./workflow-views.ts";

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
  readonly events?: Pick<PrincipalEvents, "emit">;
  /** How long the start reads files, ms; 5 s by default. */
  readonly startMs?: number;
  /** IANA name of the zone for schedules without one. */
  readonly zone: string;
  /** Which workflows are paused; by default none is. */
  readonly pauses?: PausesOfViews;
  /** What is expected of workflows; by default nothing. */
  readonly expectations?: ExpectationsOfViews;
  /** See {@link StoredWorkflows}; this executable by default. */
  readonly reader?: string;
  /** Called when the sizes of pools have changed, in the unit of work in which they do. */
  readonly poolsChanged?: (tx: OperationalTx) => void;
}

/** The topic of {@link LongPolls} that is woken by changes of workflows. */
const WORKFLOWS_TOPIC = "workflows";

/** From this number of workflows on, the garbage of reading them is worth a collection. */
const MANY = 1000;
/** How long files are read before those that were read are put into use; at the start less, so that the principal answers soon. */
const START_MS = 5000;
const SLICE_MS = 15_000;
/** Number of definitions that are kept ready to be used. */
const MOST_READY = 100;

/** A file that is invalid. */
interface InvalidFile {
  readonly path: string;
  readonly error: string;
  /** Of settings: the ids of the workflows that are not loaded because of them. */
  readonly waiting?: readonly string[];
}

/** Loads and watches the workflows. */
export class WorkflowDirectory extends BackgroundService implements WorkflowSource {
  readonly name = "workflow directory";
  readonly #o: WorkflowDirectoryOptions;
  readonly #settleMs: number;
  readonly #disk: WorkflowFiles;
  readonly #stored: StoredWorkflows;
  readonly #settings: SettingsOfDirectories;
  readonly #root: RootSettings;
  readonly #alerts: AlertFiles;
  readonly #files: KnownFiles;
  readonly #views: WorkflowViews;
  readonly #problems: ProblemLog;
  readonly #workflows = new Map<string, LoadedWorkflow>();
  /** Workflows whose file is missing, and since when (monotonic). */
  #away: ReadonlyMap<string, number> = new Map();
  /** Workflows whose files existed before the start, but not at the start; kept in the operational state until this time (monotonic). */
  readonly #awaited = new Map<string, number>();
  /** Definitions that were used lately, the latest last. */
  readonly #ready = new Map<string, StoredDefinition>();
  #mostReady = MOST_READY;
  /** Whether all files have been read: what is new is told one by one. */
  #isLoaded = false;
  /** Whether files were put into use before the others of their scan. */
  #isEarly = false;
  #invalid: InvalidFile[] = [];
  #revision = 0;
  readonly #refresh = this.timer(() => void this.scan());
  readonly #settle = this.timer(() => void this.scan());
  #scanning: Promise<void> | undefined;
  /** What was listed when all that follows from it was put into use, and nothing waits for a time or for something else. */
  #settled: WorkflowListing | undefined;
  #again = false;

  constructor(options: WorkflowDirectoryOptions) {
    super(options.clock);
    const { root, files, store, clock, log, zone } = options;
    this.#o = options;
    this.#settleMs = options.settleMs ?? 300;
    this.#disk = new WorkflowFiles(root, files, log, () => void this.scan());
    this.#stored = new StoredWorkflows(store, clock, options.reader ?? ownReader());
    this.#settings = new SettingsOfDirectories((paths) => this.#disk.read(paths));
    this.#files = new KnownFiles(this.#disk, this.#settings, this.#stored, clock, log);
    this.#root = new RootSettings({
      store,
      clock,
      log,
      readCalendars: (paths, nowMs) => this.#disk.readCalendars(paths, nowMs),
      poolsChanged: options.poolsChanged ?? (() => {}),
    });
    this.#alerts = new AlertFiles({ store, log, readFiles: (paths) => this.#disk.read(paths) });
    const calendars = () => this.#root.calendars;
    this.#views = new WorkflowViews({
      workflows: this.#workflows,
      stored: this.#stored,
      clock,
      zone,
      pauses: options.pauses,
      expectations: options.expectations,
      calendars,
    });
    this.#problems = new ProblemLog(log);
  }

  protected override async onStart(): Promise<void> {
    await this.#stored.load();
    await this.#root.load();
    await this.#alerts.load();
    await this.#scanOnce(true);
    if (this.#again) void this.scan();
    this.#o.log.info(
      `${counted(this.#workflows.size, "workflow")} in ${this.#o.root}` +
        (this.#invalid.length === 0 ? "" : `, ${this.#invalid.length} invalid file(s)`),
    );
    this.#refresh.every(this.#o.refreshMs);
  }

  protected override async onStop(): Promise<void> {
    this.#disk.close();
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
    const read = await this.#files.readNow(workflowId);
    if (read?.file?.read != null) {
      const present = this.#workflows.get(workflowId);
      if (present?.facts.source_hash === read.file.read.facts.source_hash) return;
      this.#workflows.set(workflowId, read.file.read);
      this.#isEarly = true;
    } else if (read?.file?.error != null) {
      this.#invalid = [...this.#invalid, { path: read.path, error: read.file.error }];
    }
  }

  get(workflowId: string): StoredDefinition | undefined {
    const workflow = this.#workflows.get(workflowId);
    if (workflow === undefined) return undefined;
    const { hash } = workflow.facts;
    const ready = this.#ready.get(workflowId);
    if (ready?.hash === hash) return ready;
    const { json } = textsOf(workflow);
    const made = { json, hash, definition: readDefinition(json) };
    this.#ready.delete(workflowId);
    this.#ready.set(workflowId, made);
    dropOldest(this.#ready, this.#mostReady);
    return made;
  }

  /** So many workflows are about to be triggered at once: keeps the definitions of that many ready, until it is told of others. */
  expect(workflows: number): void {
    this.#mostReady = MOST_READY + workflows;
    while (this.#ready.size > this.#mostReady) dropOldest(this.#ready, this.#mostReady);
  }

  /** The definition of a workflow for a look at it, without the checks and the memory that {@link get} costs: there may be many. */
  peek(workflowId: string): WorkflowDefinition | undefined {
    const workflow = this.#workflows.get(workflowId);
    // It is what a valid file had.
    return workflow && (JSON.parse(textsOf(workflow).json) as WorkflowDefinition);
  }

  directoryOf(workflowId: string): string | undefined {
    const workflow = this.#workflows.get(workflowId);
    return workflow === undefined ? undefined : resolve(this.#o.root, dirname(workflow.path));
  }

  ids(): Iterable<string> {
    return this.#workflows.keys();
  }

  /** Those in use, and those that are awaited. */
  *definitions(): Iterable<WorkflowHead> {
    for (const { facts } of this.#workflows.values()) yield facts.head;
    for (const id of this.#awaited.keys()) {
      const awaited = this.#awaitedVersion(id);
      if (awaited !== undefined) yield awaited.facts.head;
    }
  }

  isAwaited(workflowId: string): boolean {
    return this.#awaitedVersion(workflowId) !== undefined;
  }

  #awaitedVersion(id: string): LoadedWorkflow | undefined {
    const isOver = this.#o.clock.monotonic() >= (this.#awaited.get(id) ?? 0);
    const version = isOver || this.#workflows.has(id) ? undefined : this.#stored.get(id);
    return version === undefined ? undefined : { ...version, error: notVisible(id) };
  }

  /** Names of the environment variables that hold the secrets of webhooks. */
  secretVariables(): string[] {
    const names = new Set<string>();
    for (const { on } of this.definitions()) {
      for (const { secret } of webhooksOf(on)) {
        const name = /^env:(.*)$/.exec(secret)?.[1];
        if (name !== undefined) names.add(name);
      }
    }
    return [...names];
  }

  /** What workflows keep of their history, of those that say so. */
  retentions(): KeptRuns[] {
    const kept: KeptRuns[] = [];
    for (const { id, retention } of this.definitions())
      if (retention !== undefined) kept.push({ workflow_id: id, ...retention });
    return kept;
  }

  get size(): number {
    return this.#workflows.size;
  }

  /** Files that are currently invalid. */
  get invalidFiles(): readonly InvalidFile[] {
    return this.#invalid;
  }

  /** Changes whenever a workflow or an error appears, changes or disappears. */
  get revision(): number {
    return this.#revision;
  }

  /** Shows a refused firing until the file changes or a firing becomes a run, and logs it once. */
  refused(workflowId: string, trigger: string, message: string): void {
    if (!this.#views.refused(workflowId, trigger, message)) return;
    this.#o.log.warn(`A firing of workflow ${workflowId} (${trigger}) was refused: ${message}`);
    this.#o.events?.emit("firing refused", { workflowId, trigger, message });
    this.#changed();
  }

  /** See {@link WorkflowViews.missedFirings}. */
  missedFirings(workflowId: string, sinceMs: number): WorkflowResumed["firings"] {
    const workflow = this.#workflows.get(workflowId);
    return workflow && this.#views.missedFirings(workflow, sinceMs);
  }

  /** A workflow is paused, or goes on, or is late, or not any more: whoever watches the workflows is told. */
  stateChanged(): void {
    this.#changed();
  }

  fired(workflowId: string, firing?: Fired): void {
    if (firing !== undefined) this.#stored.positions.moved(workflowId, firing);
    if (this.#views.forgetRefusal(workflowId)) this.#changed();
  }

  /** Resolves when {@link revision} is no longer this one, at the latest after `waitMs`; without one, at once. @returns the present one */
  async watch(revision: string | undefined, waitMs: number): Promise<string> {
    const ticket = this.#o.polls.ticket(WORKFLOWS_TOPIC);
    if (revision === String(this.#revision)) await ticket.wait(waitMs);
    else ticket.drop();
    return String(this.#revision);
  }

  /** How long a channel collects alerts for one message, ms; 0 for one that does not exist. */
  groupMsOf(channel: string): number {
    const settings = this.#root.channels.get(channel);
    return settings === undefined ? 0 : paceOf(settings).groupMs;
  }

  /** Where alerts can be sent, by name; another map whenever one of them changes. */
  get channels(): ReadonlyMap<string, ChannelSettings> {
    return this.#root.channels;
  }

  /** The calendars that can be used, by name; another map whenever one of them changes. */
  get calendars(): ReadonlyMap<string, Calendar> {
    return this.#root.calendars;
  }

  /** Who is told about what of a workflow; undefined if it is not loaded. */
  notifyOf(workflowId: string): readonly NotifyRule[] | undefined {
    const workflow = this.#workflows.get(workflowId);
    return workflow && (workflow.facts.head.notify ?? this.#root.notify);
  }

  /** Who is told about what, unless a workflow says it, and about what belongs to no workflow. */
  get notify(): readonly NotifyRule[] {
    return this.#root.notify;
  }

  /** The alert files in use, by path; another map whenever one of them changes. */
  get alertFiles(): ReadonlyMap<string, AlertQuery> {
    return this.#alerts.alerts;
  }

  /** The workflows that declare a trigger. */
  declared(): Promise<DeclaredWorkflow[]> {
    return this.#views.declared();
  }

  /** All workflows by id. @param graphOf makes their `dag` */
  summaries(
    graphOf?: (definition: WorkflowDefinition) => Readonly<Record<string, unknown>>,
  ): Promise<Record<string, WorkflowSummary>> {
    return this.#views.summaries(graphOf);
  }

  async details(workflowId: string): Promise<WorkflowDetails | undefined> {
    await this.load(workflowId);
    const { notify } = this.#root;
    const details = await this.#views.details(() => {
      const workflow = this.#workflows.get(workflowId) ?? this.#awaitedVersion(workflowId);
      if (workflow === undefined) return undefined;
      const definition = this.get(workflowId)?.definition ?? readDefinition(textsOf(workflow).json);
      return { workflow, definition };
    });
    const isInherited = notify.length > 0 && details?.definition.notify === undefined;
    return details && (isInherited ? { ...details, notify: [...notify] } : details);
  }

  #changed(): void {
    this.#revision++;
    this.#o.polls.wake(WORKFLOWS_TOPIC);
    this.#o.events?.emit("workflows changed");
  }

  async #scanOnce(first: boolean): Promise<void> {
    const now = this.#o.clock.monotonic();
    const nowMs = this.#o.clock.now();
    const settled = this.#settled;
    this.#settled = undefined;
    let listed: WorkflowListing;
    try {
      listed = await this.#disk.list();
    } catch (error) {
      if (this.isStopping) return;
      await this.#directoryMissing(error, first, now);
      return;
    }
    this.#problems.forget(ABOUT_DIRECTORY);
    await this.#settings.read(listed, now, this.#settledAt(now, first));
    if (this.isStopping) return;
    const isSettled = this.#settledAt(now, first);
    // A volume may have been unmounted.
    const isEmpty = listed.files.size + listed.settings.size === 0 && this.#stored.size > 0;
    if (await this.#alerts.take({ listing: listed, now, nowMs, isSettled, isEmpty }))
      this.#o.events?.emit("alert files changed");
    const listing = this.#alerts.without(listed);
    const settings = isEmpty ? undefined : this.#settings.ofRoot;
    const isRootChanged = await this.#root.take({ settings, listing, now, nowMs, isSettled });
    if (isRootChanged) this.#changed();
    if (this.isStopping) return;
    if (listing === settled && !isRootChanged && !this.#isEarly) {
      this.#settled = listing;
      return;
    }
    const duplicates = new Map(
      findDuplicateIds(listing.files.keys()).map((found) => [found.path, renderDiagnostics([found])]),
    );
    const scan: Scan = { listing, duplicates, now, nowMs };
    await this.#files.read(scan, first ? (this.#o.startMs ?? START_MS) : SLICE_MS, () => this.isStopping);
    if (this.isStopping) return;
    if (this.#files.isLoading) this.#again = true;
    await this.#apply(scan, first);
    if (!this.#isLoaded && !this.#files.isLoading) this.#loaded(first);
  }

  /** Puts into use what follows from a scan. */
  async #apply(scan: Scan, first: boolean): Promise<void> {
    const decision = decide(scan, {
      files: this.#files.all,
      isLoading: this.#files.isLoading,
      workflows: this.#workflows,
      stored: this.#stored,
      away: this.#away,
      isSettled: this.#settledAt(scan.now, first),
    });
    const { workflows } = decision;
    const invalid = new Map([
      ...this.#settings.invalid,
      ...this.#root.invalid,
      ...this.#alerts.invalid,
      ...decision.invalid,
    ]);
    this.#away = decision.away;
    this.#doubt(decision.doubted);
    if (first) this.#awaitMissing(workflows, scan.now);
    findTriggerProblems(workflows, this.#files.all, this.#root);
    const isSaved = await this.#putInForce(workflows);
    this.#files.areInUse();
    const { waiting } = decision;
    this.#setInvalid(
      [...invalid].map(([path, error]) => {
        const ids = waiting.get(path);
        return ids === undefined ? { path, error } : { path, error, waiting: ids };
      }),
    );
    this.#problems.tell(invalid, waiting, this.#files.all, this.#workflows, this.#alerts.alerts);
    const isUnsettled = [decision, this.#settings, this.#root, this.#alerts].some((part) => part.isUnsettled);
    if (isUnsettled) this.#settle.in(this.#settleMs);
    else this.#settle.cancel();
    const isPending = this.#files.isLoading || this.#away.size + this.#awaited.size > 0 || !isSaved;
    if (!isUnsettled && !isPending) this.#settled = scan.listing;
  }

  /** Whether a state that a file has had since then counts. */
  #settledAt(now: number, first: boolean): (since: number) => boolean {
    return (since) => first || now - since >= this.#settleMs;
  }

  #loaded(first: boolean): void {
    this.#isLoaded = true;
    if (!first) this.#o.log.info(`All workflow files are read: ${counted(this.#workflows.size, "workflow")}`);
    // Reading thousands of files leaves more garbage than everything else that is in memory.
    if (this.#workflows.size > MANY) giveBackMemory();
  }

  async #directoryMissing(error: unknown, first: boolean, now: number): Promise<void> {
    const missing = error instanceof Error && "code" in error && error.code === "ENOENT";
    const reason = missing ? "does not exist" : `cannot be read: ${errorMessage(error)}`;
    if (first && missing) this.#awaitMissing(new Map(), now);
    // The directory may exist but be inaccessible: the last known workflows stay in use.
    if (first && !missing) this.#replace(new Map(this.#stored.all()));
    const { size } = this.#workflows;
    const stays = size === 0 ? "" : ` The ${size} workflows from it stay in use.`;
    this.#problems.say(
      ABOUT_DIRECTORY,
      `The workflow directory ${this.#o.root} ${reason}.${stays} CDKTR_WORKFLOW_DIR sets its location.`,
    );
    this.#invalid = [{ path: this.#o.root, error: `the workflow directory ${reason}` }];
  }

  /** Keeps the last version and the schedule of workflows from before the start for a while, in case a mount is late. */
  #awaitMissing(present: ReadonlyMap<string, LoadedWorkflow>, now: number): void {
    const missing: string[] = [];
    for (const [id] of this.#stored.all()) if (!present.has(id)) missing.push(id);
    for (const id of missing) this.#awaited.set(id, now + DOUBT_MS);
    if (missing.length === 0) return;
    this.#o.log.warn(
      `${counted(missing.length, "workflow")} that ${missing.length === 1 ? "was" : "were"} in ${this.#o.root} when the principal ran last ${missing.length === 1 ? "is" : "are"} not there: ${namesOf(missing)}. ` +
        `Not in use; if the files come back within ${DOUBT_MS / 60_000} minutes, their schedules continue where they were, including missed firings. ` +
        "Is a volume not mounted yet? If they were deleted, there is nothing to do.",
    );
  }

  /** Logs, once, that the files of these workflows are not visible. */
  #doubt(ids: readonly string[]): void {
    if (ids.length === 0) {
      this.#problems.forget(ABOUT_MISSING);
      return;
    }
    this.#problems.say(
      ABOUT_MISSING,
      `The files of ${counted(ids.length, "workflow")} disappeared at the same time: ${namesOf(ids)}. A volume may have been unmounted, so they stay in use for ` +
        `${DOUBT_MS / 60_000} minutes. If they were deleted, restart the principal to remove them at once.`,
    );
  }

  /** Puts `wanted` into use, on disk first. @returns whether it is on disk */
  async #putInForce(wanted: ReadonlyMap<string, LoadedWorkflow>): Promise<boolean> {
    const now = this.#o.clock.monotonic();
    for (const [id, until] of this.#awaited) if (now >= until) this.#awaited.delete(id);
    let isSaved = false;
    try {
      await this.#stored.note(
        wanted,
        (workflow) => this.#files.signatureOf(workflow),
        (id) => this.#awaited.has(id) || this.#files.isUnread(id),
      );
      isSaved = true;
    } catch (error) {
      this.#o.log.warn(
        `Changed workflows are in use, but could not be saved to disk: ${errorMessage(error)}`,
      );
    }
    this.#replace(wanted);
    // Not before: as long as one is neither awaited nor in use, a trigger of it is refused for good.
    for (const id of this.#awaited.keys()) if (wanted.has(id)) this.#awaited.delete(id);
    return isSaved;
  }

  #replace(wanted: ReadonlyMap<string, LoadedWorkflow>): void {
    let changed = this.#isEarly;
    this.#isEarly = false;
    for (const [id, workflow] of this.#workflows) {
      if (wanted.has(id)) continue;
      this.#workflows.delete(id);
      this.#views.forgetRefusal(id);
      this.#ready.delete(id);
      this.#o.log.info(`Workflow ${id} is gone (${workflow.path})`);
      changed = true;
    }
    for (const [id, workflow] of wanted) {
      const present = this.#workflows.get(id);
      if (present === workflow) continue;
      this.#workflows.set(id, workflow);
      if (
        present?.facts.source_hash === workflow.facts.source_hash &&
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

  #setInvalid(invalid: InvalidFile[]): void {
    const isSame = JSON.stringify(invalid) === JSON.stringify(this.#invalid);
    this.#invalid = invalid;
    if (!isSame) this.#changed();
  }
}

/** The problems of a workflow's triggers as text. */
function messagesOf({ triggerProblems }: LoadedWorkflow): string {
  return triggerProblems.map(({ message }) => message).join("\n");
}
