/** Decides which workflows are in use after a scan: "not visible" is not "deleted". Nothing is changed here. */
import type { TreeListing } from "../../host/file-helper/tree.ts";
import { workflowIdOrNull } from "../../workflow/workflow-id.ts";
import { deviceOf, type KnownFile, type Scan } from "./known-files.ts";
import type { LoadedWorkflow } from "./loaded-workflow.ts";
import type { StoredWorkflows } from "./stored-workflows.ts";

/** How long a workflow is kept if its file is not visible but may still exist, ms. */
export const DOUBT_MS = 3_600_000;

/** What is known. */
interface Known {
  readonly files: ReadonlyMap<string, KnownFile>;
  /** Whether not all of the listed files are among them yet. */
  readonly isLoading: boolean;
  /** The workflows in use. */
  readonly workflows: ReadonlyMap<string, LoadedWorkflow>;
  readonly stored: StoredWorkflows;
  /** Those whose file is missing, and since when (monotonic). */
  readonly away: ReadonlyMap<string, number>;
  /** Whether a state that a file has had since then counts: editors write in several steps. */
  readonly isSettled: (since: number) => boolean;
}

/** What follows from it. */
interface Decision {
  /** The workflows to use, by id. */
  readonly workflows: Map<string, LoadedWorkflow>;
  /** The error of each invalid file. */
  readonly invalid: Map<string, string>;
  /** The ids of the workflows that are not in use because the settings at this path are invalid. */
  readonly waiting: Map<string, string[]>;
  /** Workflows that are used although their file is missing. */
  readonly away: Map<string, number>;
  /** Those of them that stay for long, because a volume may have been unmounted. */
  readonly doubted: readonly string[];
  /** Whether a state has to settle: scan again soon. */
  readonly isUnsettled: boolean;
}

/** The workflows to use after a scan. */
export function decide({ listing, duplicates, now }: Scan, known: Known): Decision {
  const workflows = new Map<string, LoadedWorkflow>();
  const invalid = new Map<string, string>();
  const waiting = new Map<string, string[]>();
  let isUnsettled = false;
  const lastValid = (id: string) => known.workflows.get(id) ?? known.stored.get(id);

  for (const [path, reason] of listing.unreadable) invalid.set(path, `${path}: cannot be read: ${reason}`);
  for (const [path, file] of known.files) {
    const duplicate = duplicates.get(path);
    if (duplicate !== undefined) {
      invalid.set(path, duplicate);
      continue;
    }
    if (file.read !== null) {
      workflows.set(file.read.facts.head.id, asInUse(file.read, known, listing));
      continue;
    }
    const kept = file.id === null ? undefined : lastValid(file.id);
    if (file.waitsFor !== undefined && file.id !== null && kept === undefined)
      waiting.set(file.waitsFor, [...(waiting.get(file.waitsFor) ?? []), file.id]);
    const isSettled = known.isSettled(file.since);
    if (!isSettled) isUnsettled = true;
    else if (file.error !== null) invalid.set(path, file.error);
    if (kept !== undefined)
      workflows.set(kept.facts.head.id, { ...kept, error: isSettled ? file.error : kept.error });
  }
  if (known.isLoading) {
    for (const path of listing.files.keys()) {
      const id = known.files.has(path) || duplicates.has(path) ? null : workflowIdOrNull(path);
      const kept = id === null ? undefined : lastValid(id);
      if (kept !== undefined) workflows.set(kept.facts.head.id, { ...kept, device: deviceOf(path, listing) });
    }
  }
  // After a start, workflows from before may be in a directory that cannot be read.
  if (listing.unreadable.size > 0) {
    for (const [id, { path }] of known.stored.all()) {
      const kept = workflows.has(id) || !isBelow(path, listing.unreadable) ? undefined : lastValid(id);
      if (kept !== undefined) workflows.set(id, kept);
    }
  }
  const isEmpty = workflows.size === 0 && listing.files.size === 0 && known.workflows.size > 1;
  const away = new Map<string, number>();
  const doubted: string[] = [];
  for (const [id, workflow] of known.workflows) {
    if (workflows.has(id)) continue;
    const since = known.away.get(id) ?? now;
    const isSettled = known.isSettled(since);
    const isInDoubt = (isEmpty || isElsewhere(workflow, listing.devices)) && now - since < DOUBT_MS;
    if (!isInDoubt && isSettled) continue;
    away.set(id, since);
    workflows.set(id, workflow);
    if (isSettled) doubted.push(id);
    else isUnsettled = true;
  }
  return { workflows, invalid, waiting, away, doubted, isUnsettled };
}

/** The workflow of a valid file, with what is known of the one in use if it is the same. */
function asInUse(read: LoadedWorkflow, { workflows }: Known, listing: TreeListing): LoadedWorkflow {
  const present = workflows.get(read.facts.head.id);
  if (present?.facts.source_hash !== read.facts.source_hash || present.path !== read.path) return read;
  const device = deviceOf(read.path, listing);
  const isSame = present.facts === read.facts && present.device === device && present.error === null;
  return isSame ? present : { ...read, device, triggerProblems: present.triggerProblems };
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
