/** Watches the files declared in workflow files under `on: file`: a file that is created, changed or deleted starts a run. */
import { createHash } from "node:crypto";
import type { ConsolaInstance } from "consola";
import { type Clock, systemClock } from "../../clock.ts";
import { errorMessage } from "../../errors.ts";
import { FileHelper } from "../../host/file-helper/file-helper.ts";
import { pause, turn } from "../../timer.ts";
import { filesOf } from "../../workflow/triggers.ts";
import type { DeclaredWorkflow } from "./declaration-source.ts";
import { DeclaredListener } from "./declared-listener.ts";
import { DOUBT_MS, FileChanges, type FileEvent, type HiddenFiles } from "./file-changes.ts";
import { GlobFiles } from "./glob-files.ts";
import { SeenFiles } from "./seen-files.ts";
import type { WorkflowFeed } from "./workflow-feed.ts";

/** Interval between scans, ms; more if a scan takes long: scanning never uses more than a tenth of the time. */
const LOOK_MS = 100;
const IDLE_SHARE = 9;
/** Interval between full scans while file events arrive, ms: a hundred times the duration of a scan, within limits. */
const NET_SHARE = 100;
const SHORTEST_NET_MS = 5000;
const LONGEST_NET_MS = 60_000;
/** The same without file events. */
const DEAF_MS = 500;
/** Events that are triggered concurrently. */
const AT_ONCE = 200;
/** Files that are checked one by one; if there are more, everything is scanned. */
const MOST_CHECKED = 5000;
/** States of files that are stored at once. */
const SAVED_AT_ONCE = 1000;
const LONGEST_KEY = 400;

type WatchedGlob = NonNullable<NonNullable<DeclaredWorkflow["on"]>["file"]>;

/** What is to be watched for a workflow. */
interface WantedWatch {
  /** The workflow's id if it is the only one of its workflow; else with the glob, so that the place in the list does not matter. */
  readonly id: string;
  readonly workflow: DeclaredWorkflow;
  readonly file: WatchedGlob;
}

interface Watch {
  readonly id: string;
  readonly file: WatchedGlob;
  readonly key: string;
  readonly files: GlobFiles;
  readonly ended: AbortController;
  workflow: DeclaredWorkflow;
  /** Ends the wait for the next scan. */
  wake: AbortController;
}

function watchesOf(workflow: DeclaredWorkflow): WantedWatch[] {
  const files = filesOf(workflow.on);
  const counts = new Map<string, number>();
  return files.map((file) => {
    const count = (counts.get(file.glob) ?? 0) + 1;
    counts.set(file.glob, count);
    const several = `${workflow.id}#${file.glob}${count === 1 ? "" : `#${count}`}`;
    return { id: files.length === 1 ? workflow.id : several, workflow, file };
  });
}

/** What it needs. */
export interface FileListenerOptions {
  readonly log: ConsolaInstance;
  /** Directory in which it stores what it has handled. */
  readonly directory: string;
  readonly clock?: Clock;
  /** Interval between full scans while file events arrive, ms; by default a hundred times the duration of a scan. */
  readonly netMs?: number;
  /** Where it gets the workflows from; by default it reads them itself. */
  readonly feed?: WorkflowFeed;
}

/**
 * The watcher. The kernel reports changes and it then scans; it also scans periodically, for changes that are not reported. So it works
 * on every file system, and with directories that are created later.
 */
export class FileListener extends DeclaredListener {
  override readonly name = "file";
  readonly #directory: string;
  readonly #clock: Clock;
  readonly #netMs: number | undefined;
  readonly #watches = new Map<string, Watch>();
  readonly #following = new Set<Promise<void>>();
  #helper = new FileHelper();
  #seen: SeenFiles | undefined;
  #begun = 0;

  constructor(options: FileListenerOptions) {
    super(options.log, options.feed);
    this.#directory = options.directory;
    this.#clock = options.clock ?? systemClock;
    this.#netMs = options.netMs;
  }

  override async startListening(): Promise<void> {
    this.#seen = new SeenFiles(this.#directory);
    this.#helper = new FileHelper();
    this.#helper.signals.on("warning", (text) => this.log.warn(text));
    try {
      await super.startListening();
    } finally {
      for (const id of this.#watches.keys()) this.#end(id);
      this.#helper.close();
      await Promise.all(this.#following);
      this.#seen.close();
    }
  }

  protected override take(workflows: readonly DeclaredWorkflow[]): void {
    const wanted = new Map(workflows.flatMap(watchesOf).map((watch) => [watch.id, watch]));
    for (const [id, watch] of this.#watches) {
      const now = wanted.get(id);
      if (now !== undefined && JSON.stringify(now.file) === watch.key) watch.workflow = now.workflow;
      else this.#end(id);
    }
    for (const { id, workflow, file } of wanted.values())
      this.#seen?.adopt({ id, workflowId: workflow.id, glob: file.glob }, new Set(wanted.keys()));
    this.#seen?.keep(new Set(wanted.keys()), this.#clock.now());
    for (const watch of wanted.values()) if (!this.#watches.has(watch.id)) this.#begin(watch);
  }

  #begin({ id, workflow, file }: WantedWatch): void {
    const watch: Watch = {
      id,
      file,
      key: JSON.stringify(file),
      files: new GlobFiles(this.#helper, `${++this.#begun}`, file.glob, () => watch.wake.abort()),
      ended: new AbortController(),
      workflow,
      wake: new AbortController(),
    };
    this.#watches.set(id, watch);
    const following = this.#follow(watch, file);
    this.#following.add(following);
    void following.finally(() => this.#following.delete(following));
  }

  #end(id: string): void {
    const watch = this.#watches.get(id);
    this.#watches.delete(id);
    watch?.ended.abort();
    watch?.files.close();
  }

  async #follow(watch: Watch, file: WatchedGlob): Promise<void> {
    const signal = AbortSignal.any([this.signal, watch.ended.signal]);
    const { files, id } = watch;
    let changes: FileChanges | undefined;
    let told = false;
    let isHiddenTold = false;
    let isFirst = true;
    let wholeTookMs = 0;
    let wholeAtMs = Number.NEGATIVE_INFINITY;
    while (!signal.aborted) {
      const started = this.#clock.monotonic();
      watch.wake = new AbortController();
      const netMs = files.hears
        ? (this.#netMs ?? Math.min(LONGEST_NET_MS, Math.max(SHORTEST_NET_MS, wholeTookMs * NET_SHARE)))
        : Math.max(DEAF_MS, wholeTookMs * IDLE_SHARE);
      let waitMs = netMs;
      try {
        changes ??= await this.#recall(id, file);
        const also = changes.unsettled(MOST_CHECKED);
        const whole = also === undefined || started - wholeAtMs >= netMs;
        const look = await files.look({ also: also ?? [], directories: changes.directories(), whole });
        if (signal.aborted) return;
        if (whole) {
          wholeAtMs = started;
          wholeTookMs = this.#clock.monotonic() - started;
        }
        if (changes.isNew) await this.#seen?.begin(id, file.glob, look.present, signal);
        const events = await changes.see(look, this.#clock.monotonic());
        await this.#save(id, changes, signal);
        if (signal.aborted) return;
        if (told) this.log.success(`Files of workflow ${watch.workflow.id} are accessible again`);
        if (isFirst) this.log.info(`Watching ${file.glob} for workflow ${watch.workflow.id}`);
        isFirst = false;
        isHiddenTold = this.#tellHidden(watch, changes.hidden, isHiddenTold);
        for (let i = 0; i < events.length && !signal.aborted; i += AT_ONCE) {
          await this.#happened(watch, changes, events.slice(i, i + AT_ONCE), signal);
        }
        told = false;
        // A volume that is mounted again may cause no event.
        const longest = isHiddenTold ? Math.min(netMs, DEAF_MS) : netMs;
        waitMs = Math.min(longest, changes.nextMs(this.#clock.monotonic()) ?? longest);
      } catch (error) {
        if (signal.aborted) return;
        if (!told)
          this.log.error(`Files of workflow ${watch.workflow.id} (${file.glob}): ${errorMessage(error)}`);
        told = true;
        waitMs = DEAF_MS;
      }
      const took = this.#clock.monotonic() - started;
      const rest = Math.max(LOOK_MS, took * IDLE_SHARE);
      await pause(rest, signal);
      await pause(Math.max(1, waitMs - rest), AbortSignal.any([signal, watch.wake.signal]));
    }
  }

  async #recall(id: string, { glob, settle_ms, catchup }: WatchedGlob): Promise<FileChanges> {
    const seen = await this.#seen?.load(id, glob, this.#clock.now());
    return new FileChanges(settle_ms, seen, catchup !== "none");
  }

  /** Stores what changed without an event. */
  async #save(id: string, changes: FileChanges, signal: AbortSignal): Promise<void> {
    const { unsaved } = changes;
    for (let i = 0; i < unsaved.length && !signal.aborted; i += SAVED_AT_ONCE) {
      this.#seen?.save(id, unsaved.slice(i, i + SAVED_AT_ONCE));
      await turn();
    }
    changes.saved();
  }

  /** Logs when files begin or cease to be hidden. Returns whether they are. */
  #tellHidden(
    { workflow: { id }, file: { glob } }: Watch,
    hidden: HiddenFiles | undefined,
    isTold: boolean,
  ): boolean {
    if (hidden !== undefined && !isTold) {
      const { count, directory } = hidden;
      this.log.warn(
        `${count} file${count === 1 ? "" : "s"} of workflow ${id} (${glob}) ${count === 1 ? "is" : "are"} not visible: ${directory} is missing or was replaced. ` +
          `Is a volume not mounted? ${count === 1 ? "It counts" : "They count"} as deleted only if this lasts for ${DOUBT_MS / 60_000} minutes. If ${count === 1 ? "it was" : "they were"} deleted, there is nothing to do.`,
      );
    }
    if (hidden === undefined && isTold)
      this.log.info(`No file of workflow ${id} (${glob}) is hidden any more`);
    return hidden !== undefined;
  }

  /** @throws when one of them could not be handled; it comes again */
  async #happened(
    watch: Watch,
    changes: FileChanges,
    events: readonly FileEvent[],
    signal: AbortSignal,
  ): Promise<void> {
    const { id } = watch;
    const outcomes = await Promise.allSettled(events.map((event) => this.#trigger(watch, event)));
    if (signal.aborted) return;
    const done = events.filter((_, i) => outcomes[i]?.status === "fulfilled");
    // Stored after the triggers are safe: if killed in between, it triggers them again with the same keys.
    const [doubtful, plain] = [
      done.filter((event) => event.isDoubtful),
      done.filter((event) => !event.isDoubtful),
    ];
    this.#seen?.save(
      id,
      plain.map(({ kind, path, state }) => ({ path, state: kind === "deleted" ? null : state })),
    );
    this.#seen?.save(id, doubtful, this.#clock.now());
    for (const event of done) changes.done(event);
    const failure = outcomes.find((outcome) => outcome.status === "rejected");
    if (failure !== undefined) throw failure.reason;
  }

  async #trigger({ workflow, file }: Watch, { kind, path, state }: FileEvent): Promise<void> {
    if (!file.events.includes(kind)) return;
    const name = path.slice(path.lastIndexOf("/") + 1);
    const key = `file:${workflow.id}:${kind}:${state.version}:${path}`;
    const isLong = key.length > LONGEST_KEY;
    await this.fire(
      workflow,
      { path, file: name, event: kind },
      isLong ? `file:${createHash("sha256").update(key).digest("hex")}` : key,
    );
  }
}
