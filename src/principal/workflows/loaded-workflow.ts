/** A loaded workflow in little memory: there may be tens of thousands, of which few are used at a time. */
import type { WorkflowVersion } from "../../storage/operational/store.ts";
import type { Diagnostic } from "../../workflow/diagnostic.ts";
import { readDefinition, type WorkflowDefinition } from "../../workflow/model.ts";

/** A definition without its tasks. */
export type WorkflowHead = Omit<WorkflowDefinition, "tasks">;

/** The texts of a workflow, compressed. */
class WorkflowTexts {
  /** Of the source of the file. */
  readonly sourceHash: string;
  readonly #packed: Uint8Array;
  readonly #jsonLength: number;
  #hash: string | undefined;

  constructor(json: string, source: string) {
    this.sourceHash = hashOf(source);
    this.#jsonLength = json.length;
    this.#packed = Bun.zstdCompressSync(json + source, { level: 1 });
  }

  /** Of the JSON of the definition. */
  get hash(): string {
    this.#hash ??= hashOf(this.unpack().json);
    return this.#hash;
  }

  isOf(json: string, source: string): boolean {
    return this.sourceHash === hashOf(source) && this.unpack().json === json;
  }

  unpack(): { readonly json: string; readonly source: string } {
    const text = Bun.zstdDecompressSync(this.#packed).toString();
    return { json: text.slice(0, this.#jsonLength), source: text.slice(this.#jsonLength) };
  }
}

/** Whether two definitions are the same. */
export function isSameDefinition(a: LoadedWorkflow, b: LoadedWorkflow): boolean {
  return a.texts.sourceHash === b.texts.sourceHash || a.texts.hash === b.texts.hash;
}

/** A loaded workflow. */
export interface LoadedWorkflow {
  readonly head: WorkflowHead;
  readonly tasks: number;
  readonly texts: WorkflowTexts;
  readonly path: string;
  /** As written in the file. */
  readonly startTime: string | null;
  /** The file system of its directory; null if the directory has not been seen since the start. */
  readonly device: string | null;
  /** What is wrong with the current file. */
  readonly error: string | null;
  /** Problems of its triggers, already logged; they change with the files. */
  readonly triggerProblems: readonly Diagnostic[];
}

/**
 * A workflow that was not in use before.
 * @param stored its last version; if that is the same, both share their texts
 */
export function loadedWorkflow(
  path: string,
  definition: WorkflowDefinition,
  source: string,
  device: string | null,
  stored?: LoadedWorkflow,
): LoadedWorkflow {
  const json = JSON.stringify(definition);
  const texts = stored?.texts.isOf(json, source) ? stored.texts : new WorkflowTexts(json, source);
  return fresh(path, definition, definition.tasks.length, texts, device, source);
}

/** A workflow as the operational state has it; undefined if this version cannot use it. */
export function storedWorkflow(version: WorkflowVersion): LoadedWorkflow | undefined {
  try {
    const stored = JSON.parse(version.definition) as WorkflowDefinition;
    // The tasks are checked when they are used: that takes time, and there may be many.
    const definition = readDefinition(JSON.stringify({ ...stored, tasks: stored.tasks.slice(0, 1) }));
    const texts = new WorkflowTexts(version.definition, version.source);
    return fresh(version.path, definition, stored.tasks.length, texts, null, version.source);
  } catch {
    return undefined;
  }
}

function fresh(
  path: string,
  { tasks: _tasks, ...head }: WorkflowDefinition,
  tasks: number,
  texts: WorkflowTexts,
  device: string | null,
  source: string,
): LoadedWorkflow {
  // A part of a string keeps all of it in memory: the copy is of the parts alone.
  const copy = JSON.parse(JSON.stringify({ head, startTime: startTimeOf(head, source) })) as Pick<
    LoadedWorkflow,
    "head" | "startTime"
  >;
  return { ...copy, tasks, texts, path, device, error: null, triggerProblems: [] };
}

/** As written in the file, if that can be found; otherwise the same time in UTC. */
function startTimeOf({ start_time_ms: ms }: WorkflowHead, source: string): string | null {
  if (ms === null) return null;
  const written = /^start_time:[ \t]*["']?([^"'#\n]*[^"'#\s])/m.exec(source)?.[1];
  return written !== undefined && Date.parse(written) === ms ? written : new Date(ms).toISOString();
}

function hashOf(text: string): string {
  return new Bun.CryptoHasher("sha256").update(text).digest("hex");
}
