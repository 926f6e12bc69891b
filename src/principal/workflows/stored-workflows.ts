/** The workflows as the operational state has them: the newest valid version of each, and the positions of their schedules. */
import { statSync } from "node:fs";
import { BUILD_FACTS, VERSION } from "../../build-facts.ts";
import type { Clock } from "../../clock.ts";
import type {
  OperationalStore,
  OperationalTx,
  PlainWorkflowVersion,
  WorkflowVersion,
} from "../../storage/operational/store.ts";
import {
  convertedWorkflow,
  type LoadedWorkflow,
  loadedWorkflow,
  textsOf,
  type WorkflowFacts,
} from "./loaded-workflow.ts";
import { type PositionChange, SchedulePositions } from "./schedule-positions.ts";

/** Number of versions that are read from the operational state at once. */
const READ_AT_ONCE = 500;
/** Number of changes that are written to it in a transaction: requests wait for it. */
const WRITTEN_AT_ONCE = 200;

/** A version, and the signature of the file from which it was read; empty if the file must be read again at the next start. */
export interface StoredVersion {
  readonly workflow: LoadedWorkflow;
  readonly signature: string;
}

/** Reads, remembers and writes them. */
export class StoredWorkflows {
  readonly #store: OperationalStore;
  readonly #clock: Clock;
  readonly #reader: string | null;
  readonly #versions = new Map<string, StoredVersion>();
  /** How far the schedules have come. */
  readonly positions = new SchedulePositions();

  /** @param reader identifies the program that parses files: what another one made of a file is not what this one would; null: not even this one */
  constructor(store: OperationalStore, clock: Clock, reader: string | null) {
    this.#store = store;
    this.#clock = clock;
    this.#reader = reader;
  }

  /** Reads all versions. */
  async load(): Promise<void> {
    await this.#store.read((tx) => this.positions.load(tx));
    const own = (after: string) => this.#store.read((tx) => tx.listWorkflowVersions(after, READ_AT_ONCE));
    for await (const version of pagesOf(own)) {
      const stored = this.#read(version);
      if (stored !== undefined) this.#versions.set(version.workflow_id, stored);
    }
    const plain = (after: string) => this.#store.read((tx) => tx.listPlainVersions(after, READ_AT_ONCE));
    const converted: StoredVersion[] = [];
    for await (const version of pagesOf<PlainWorkflowVersion>(plain)) {
      const workflow = convertedWorkflow(version);
      if (workflow === undefined) continue;
      converted.push({ workflow, signature: "" });
      this.#versions.set(version.workflow_id, { workflow, signature: "" });
    }
    try {
      await this.put(converted);
    } catch {
      // They are converted again at the next start.
    }
  }

  get size(): number {
    return this.#versions.size;
  }

  has(id: string): boolean {
    return this.#versions.has(id);
  }

  get(id: string): LoadedWorkflow | undefined {
    return this.#versions.get(id)?.workflow;
  }

  /** All versions, by id. */
  *all(): Iterable<[id: string, workflow: LoadedWorkflow]> {
    for (const [id, { workflow }] of this.#versions) yield [id, workflow];
  }

  /** The version that was read from a file, if the file has not changed since. */
  readFrom(path: string, id: string, signature: string): LoadedWorkflow | undefined {
    const version = this.#versions.get(id);
    return version?.signature === signature && version.workflow.path === path ? version.workflow : undefined;
  }

  /** Writes versions. */
  async put(versions: readonly StoredVersion[]): Promise<void> {
    for (let i = 0; i < versions.length; i += WRITTEN_AT_ONCE) {
      const some = versions.slice(i, i + WRITTEN_AT_ONCE);
      await this.#store.transact(async (tx) => {
        for (const version of some) await this.#putOne(tx, version);
      });
      for (const version of some) this.#versions.set(version.workflow.facts.head.id, version);
    }
  }

  /**
   * Writes what differs from what is on disk.
   * @param wanted the workflows that are going to be in use
   * @param signatureOf the signature for {@link StoredVersion}; undefined if the file is not that version any more
   * @param isAwaited whether a workflow that is not wanted is kept
   */
  async note(
    wanted: ReadonlyMap<string, LoadedWorkflow>,
    signatureOf: (workflow: LoadedWorkflow) => string | undefined,
    isAwaited: (id: string) => boolean,
  ): Promise<void> {
    const changes: PositionChange[] = [];
    const fresh: StoredVersion[] = [];
    const nowMs = this.#clock.now();
    for (const workflow of wanted.values()) {
      const signature = signatureOf(workflow);
      if (!this.#isNoted(workflow, signature)) fresh.push({ workflow, signature: signature ?? "" });
      const change = this.positions.changeTo(workflow.facts.head, nowMs);
      if (change !== undefined) changes.push(change);
    }
    await this.put(fresh);
    for (const id of new Set([...this.#versions.keys(), ...this.positions.ids()])) {
      if (wanted.has(id) || isAwaited(id)) continue;
      const written = () => {
        this.#versions.delete(id);
        this.positions.drop(id);
      };
      changes.push({ write: (tx) => tx.dropWorkflow(id), written });
    }
    for (let i = 0; i < changes.length; i += WRITTEN_AT_ONCE) {
      const some = changes.slice(i, i + WRITTEN_AT_ONCE);
      await this.#store.transact(async (tx) => {
        for (const { write } of some) await write(tx);
      });
      for (const { written } of some) written();
    }
  }

  #isNoted(workflow: LoadedWorkflow, signature: string | undefined): boolean {
    const noted = this.#versions.get(workflow.facts.head.id);
    if (!isSameVersion(noted?.workflow, workflow)) return false;
    return signature === undefined || this.#reader === null || noted?.signature === signature;
  }

  #putOne(tx: OperationalTx, { workflow, signature }: StoredVersion): Promise<void> {
    const { facts, texts, path } = workflow;
    const version = {
      workflow_id: facts.head.id,
      path,
      fingerprint: `${this.#reader ?? ""}\n${signature}`,
      facts: JSON.stringify(facts),
      texts,
    };
    return tx.putWorkflowVersion(version, isSameVersion(this.get(facts.head.id), workflow));
  }

  #read({ workflow_id, path, fingerprint, facts, texts }: WorkflowVersion): StoredVersion | undefined {
    try {
      const packed = { facts: JSON.parse(facts) as WorkflowFacts, texts };
      const [reader, signature = ""] = fingerprint.split("\n");
      if (reader === this.#reader && packed.facts.head.id === workflow_id)
        return { workflow: loadedWorkflow(path, packed, null), signature };
      const { json: definition, source } = textsOf(packed);
      const workflow = convertedWorkflow({ path, definition, source });
      return workflow && { workflow, signature: "" };
    } catch {
      return undefined;
    }
  }
}

/** Identifies this executable; null when it runs from its sources, which may be edited. */
export function ownReader(): string | null {
  if (BUILD_FACTS === null) return null;
  try {
    const { size, mtimeNs } = statSync("/proc/self/exe", { bigint: true });
    return `${VERSION} ${BUILD_FACTS.commit} ${size} ${mtimeNs}`;
  } catch {
    return null;
  }
}

function isSameVersion(a: LoadedWorkflow | undefined, b: LoadedWorkflow): boolean {
  return a?.facts.source_hash === b.facts.source_hash && a.path === b.path;
}

/** Everything that is read in pages, in the order of the ids. */
async function* pagesOf<Row extends { readonly workflow_id: string }>(
  read: (after: string) => Promise<readonly Row[]>,
): AsyncIterable<Row> {
  for (let after = ""; ; ) {
    const page = await read(after);
    yield* page;
    const last = page.at(-1);
    if (last === undefined) return;
    after = last.workflow_id;
  }
}
