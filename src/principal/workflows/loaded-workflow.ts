/** A loaded workflow in little memory: there may be tens of thousands, of which few are used at a time. */
import type { PlainWorkflowVersion } from "../../storage/operational/store.ts";
import { type Call, callsOf } from "../../workflow/check-calls.ts";
import type { Diagnostic } from "../../workflow/diagnostic.ts";
import { eventNamesOf } from "../../workflow/expressions.ts";
import { type Defaults, readDefinition, type WorkflowDefinition } from "../../workflow/model.ts";

/** A definition without its tasks. */
export type WorkflowHead = Omit<WorkflowDefinition, "tasks">;

/** What is needed of every workflow. Plain JSON: it is stored, and comes from the processes that parse files. */
export interface WorkflowFacts {
  readonly head: WorkflowHead;
  /** The number of its tasks. */
  readonly tasks: number;
  /** As written in the file. */
  readonly start_time: string | null;
  /** SHA-256 of the JSON of the definition, and of the source of the file with the defaults of its directory. */
  readonly hash: string;
  readonly source_hash: string;
  /** Length of the JSON of the definition, which is followed by the source. */
  readonly json_length: number;
  /** Names that its expressions read of the event that triggers it; null for all, absent for none. */
  readonly reads_event?: readonly string[] | null;
  /** Its tasks that run other workflows; absent for none. */
  readonly calls?: readonly Call[];
  readonly warnings: readonly Diagnostic[];
}

/** A workflow as it is kept: what is needed of every one, and its texts, compressed. */
export interface PackedWorkflow {
  readonly facts: WorkflowFacts;
  readonly texts: Uint8Array;
}

/** A loaded workflow. */
export interface LoadedWorkflow extends PackedWorkflow {
  readonly path: string;
  /** The file system of its directory; null if the directory has not been seen since the start. */
  readonly device: string | null;
  /** What is wrong with the current file. */
  readonly error: string | null;
  /** Problems of its triggers, already logged; they change with the files. */
  readonly triggerProblems: readonly Diagnostic[];
}

/** A workflow that was not in use before. */
export function loadedWorkflow(path: string, packed: PackedWorkflow, device: string | null): LoadedWorkflow {
  return { facts: packed.facts, texts: packed.texts, path, device, error: null, triggerProblems: [] };
}

/** Packs the definition of a file, with what is to be said about it. */
export function pack(
  definition: WorkflowDefinition,
  source: string,
  warnings: readonly Diagnostic[],
  defaults: Defaults | undefined,
): PackedWorkflow {
  const { tasks, ...head } = definition;
  const json = JSON.stringify(definition);
  const made = packed(head, tasks.length, json, source, warnings, derivedOf(definition));
  if (defaults === undefined) return made;
  const source_hash = hashOf(`${source}\0${JSON.stringify(defaults)}`);
  return { ...made, facts: { ...made.facts, source_hash } };
}

/** A workflow as another cdktr has stored it; undefined if this one cannot use it. */
export function convertedWorkflow(
  version: Pick<PlainWorkflowVersion, "path" | "definition" | "source">,
): LoadedWorkflow | undefined {
  try {
    const stored = JSON.parse(version.definition) as WorkflowDefinition;
    // The tasks are checked when they are used: that takes time, and there may be many.
    const first = JSON.stringify({ ...stored, tasks: stored.tasks.slice(0, 1) });
    const { tasks: _tasks, ...head } = readDefinition(first);
    const facts = derivedOf(stored);
    const kept = packed(head, stored.tasks.length, version.definition, version.source, [], facts);
    return loadedWorkflow(version.path, kept, null);
  } catch {
    return undefined;
  }
}

/** The JSON of the definition, and the source of the file. */
export function textsOf({ facts, texts }: PackedWorkflow): {
  readonly json: string;
  readonly source: string;
} {
  const text = Bun.zstdDecompressSync(texts).toString();
  return { json: text.slice(0, facts.json_length), source: text.slice(facts.json_length) };
}

/** Whether two definitions are the same. */
export function isSameDefinition(a: LoadedWorkflow, b: LoadedWorkflow): boolean {
  return a.facts.source_hash === b.facts.source_hash || a.facts.hash === b.facts.hash;
}

/** What is derived from the tasks; sparse. */
function derivedOf(definition: WorkflowDefinition): Pick<WorkflowFacts, "reads_event" | "calls"> {
  const reads_event = eventNamesOf(definition);
  const calls = callsOf(definition);
  return {
    ...(reads_event === undefined ? {} : { reads_event }),
    ...(calls === undefined ? {} : { calls }),
  };
}

function packed(
  head: WorkflowHead,
  tasks: number,
  json: string,
  source: string,
  warnings: readonly Diagnostic[],
  derived: ReturnType<typeof derivedOf>,
): PackedWorkflow {
  const facts: WorkflowFacts = {
    head,
    tasks,
    start_time: startTimeOf(head, source),
    hash: hashOf(json),
    source_hash: hashOf(source),
    json_length: json.length,
    ...derived,
    warnings,
  };
  // A part of a string keeps all of it in memory: the copy is of the parts alone.
  return {
    facts: JSON.parse(JSON.stringify(facts)) as WorkflowFacts,
    texts: new Uint8Array(Bun.zstdCompressSync(json + source, { level: 1 })),
  };
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
