/** Watches the files that workflow files declare under `on: file`: what appears, changes or goes is a run. */
import { stat } from "node:fs/promises";
import { isAbsolute, join, resolve } from "node:path";
import type { ConsolaInstance } from "consola";
import { type Clock, systemClock } from "../../clock.ts";
import { errorMessage } from "../../errors.ts";
import type { WorkflowSummary } from "../../protocol/messages.ts";
import { pause } from "../pause.ts";
import { DeclaredListener } from "./declared-listener.ts";
import { FileChanges, type FileEvent } from "./file-changes.ts";

/** Between two looks at the files, ms; more when a look takes long: it never takes more than a tenth of the time. */
const LOOK_MS = 100;
const IDLE_SHARE = 9;

interface Watch {
  readonly key: string;
  readonly changes: FileChanges;
  readonly ended: AbortController;
  workflow: WorkflowSummary;
}

/**
 * The watcher. It looks at the files instead of waiting for the kernel's notifications: so it works on every file
 * system, on directories that appear later, and a burst of writes or a rename that replaces costs nothing.
 */
export class FileListener extends DeclaredListener {
  override readonly name = "file";
  readonly #clock: Clock;
  readonly #watches = new Map<string, Watch>();

  constructor(options: { readonly log: ConsolaInstance; readonly clock?: Clock }) {
    super(options.log);
    this.#clock = options.clock ?? systemClock;
  }

  override async stopListening(): Promise<void> {
    for (const watch of this.#watches.values()) watch.ended.abort();
  }

  protected override take(workflows: readonly WorkflowSummary[]): void {
    const wanted = new Map(
      workflows.filter(({ on }) => on?.file != null).map((workflow) => [workflow.id, workflow]),
    );
    for (const [id, watch] of this.#watches) {
      const workflow = wanted.get(id);
      if (workflow !== undefined && JSON.stringify(workflow.on?.file) === watch.key) {
        watch.workflow = workflow;
        continue;
      }
      watch.ended.abort();
      this.#watches.delete(id);
    }
    for (const [id, workflow] of wanted) {
      if (this.#watches.has(id)) continue;
      const watch: Watch = {
        key: JSON.stringify(workflow.on?.file),
        changes: new FileChanges(workflow.on?.file?.settle_ms ?? 0),
        ended: new AbortController(),
        workflow,
      };
      this.#watches.set(id, watch);
      void this.#follow(watch);
    }
  }

  async #follow(watch: Watch): Promise<void> {
    const signal = AbortSignal.any([this.signal, watch.ended.signal]);
    let told = false;
    while (!signal.aborted) {
      const started = this.#clock.monotonic();
      try {
        const { glob = "" } = watch.workflow.on?.file ?? {};
        const present = await versionsOf(glob);
        const isFirst = watch.changes.isNew;
        const events = watch.changes.see(present, this.#clock.monotonic());
        if (isFirst) this.log.info(`Watching ${glob} for workflow ${watch.workflow.id}`);
        for (const event of events) if (!signal.aborted) await this.#happened(watch, event);
        told = false;
      } catch (error) {
        if (!told) this.log.error(`Files of workflow ${watch.workflow.id}: ${errorMessage(error)}`);
        told = true;
      }
      const took = this.#clock.monotonic() - started;
      await pause(Math.max(LOOK_MS, took * IDLE_SHARE), signal);
    }
  }

  async #happened({ workflow, changes }: Watch, event: FileEvent): Promise<void> {
    if (workflow.on?.file?.events.includes(event.kind)) {
      const name = event.path.slice(event.path.lastIndexOf("/") + 1);
      await this.fire(
        workflow,
        { path: event.path, file: name, event: event.kind },
        `file:${workflow.id}:${event.kind}:${event.version}:${event.path}`.slice(0, 500),
      );
    }
    changes.done(event);
  }
}

/** The files of a glob with what changes when they are written or replaced. */
export async function versionsOf(glob: string): Promise<Map<string, string>> {
  const absolute = isAbsolute(glob) ? glob : join(resolve("."), glob);
  // The directory down to the first part with a wildcard.
  const parts = absolute.split("/");
  const wild = parts.findIndex((part) => /[*?[\]{}!]/.test(part));
  const cwd = wild === -1 ? parts.slice(0, -1).join("/") : parts.slice(0, wild).join("/");
  const pattern = wild === -1 ? parts.at(-1) : parts.slice(wild).join("/");
  const versions = new Map<string, string>();
  try {
    for await (const path of new Bun.Glob(pattern ?? "*").scan({ cwd: cwd || "/", absolute: true })) {
      const found = await stat(path, { bigint: true }).catch(() => undefined);
      // Gone between listing and looking.
      if (found !== undefined) versions.set(path, `${found.ino}:${found.mtimeNs}:${found.size}`);
    }
  } catch (error) {
    // The directory may appear later.
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "ENOENT" && code !== "ENOTDIR") throw error;
  }
  return versions;
}
