/** The principal's files that travel with runs: gives them to agents, and removes those to which no run refers any more. */
import type { ConsolaInstance } from "consola";
import { OWNER } from "../../blobs/blob-place.ts";
import { type BlobStore, PIECE_BYTES } from "../../blobs/blob-store.ts";
import type { Clock } from "../../clock.ts";
import type {
  ArtifactsSummary,
  Blob,
  FetchBlob,
  FilePiece,
  PrincipalInfo,
  ReadBlob,
  WriteBlob,
} from "../../contract/messages.ts";
import { errorMessage, InvalidInputError, NotFoundError, UnprocessableError } from "../../errors.ts";
import { BackgroundService } from "../../service.ts";
import type {
  ArtifactsRecord,
  AttemptName,
  OperationalStore,
  OperationalTx,
} from "../../storage/operational/store.ts";

/** How long a blob stays to which nothing refers, ms: somebody may be about to. */
const UNUSED_MS = 3_600_000;
const DAY_MS = 24 * 3_600_000;
/** The name of no blob. */
const NOBODY = "0".repeat(64);
/** How often unused ones are removed, and how often what the state does not know, ms. */
const INTERVAL_MS = 600_000;
const STRANGERS_MS = 24 * 3_600_000;
/** Maximum number of blobs that are removed between two looks at whether to stop. */
const STEP = 100;

/** What {@link BlobKeeper} needs. */
interface BlobKeeperOptions {
  readonly store: OperationalStore;
  readonly blobs: BlobStore;
  /** The most that is kept, bytes. */
  readonly limitBytes: number;
  /** How long that stays which runs that are over have left, ms; null for ever. */
  readonly artifactsMs: number | null;
  /** The most that the tasks of a run may leave, bytes. */
  readonly artifactsBytes: number;
  /** The id of this installation, which has the place for itself. */
  readonly owner: () => string;
  readonly clock: Clock;
  readonly log: ConsolaInstance;
}

export class BlobKeeper extends BackgroundService<{ tidied: undefined }> {
  readonly name = "files of runs";
  readonly #o: BlobKeeperOptions;
  readonly #interval = this.timer(() => this.track(this.tidy()));
  /** What is kept; undefined as long as it was not counted. To count it anew for each file would take long when there are very many. */
  #count: { readonly blobs: number; readonly bytes: number } | undefined;
  /** Undefined as long as it is not known. */
  #hasPlace: boolean | undefined;
  /** Why the place could not be read when it was looked at last. */
  #error: string | null = null;
  /** When the place was looked through (monotonic). */
  #lookedMs = Number.NEGATIVE_INFINITY;

  constructor(options: BlobKeeperOptions) {
    super(options.clock);
    this.#o = options;
  }

  protected override onStart(): void {
    this.#interval.every(INTERVAL_MS);
    this.track(this.#look());
  }

  /** What is kept, as it was known last; undefined if there is nothing and nothing is wrong. */
  get held(): PrincipalInfo["files"] {
    const { blobs: archives, bytes } = this.#count ?? { blobs: 0, bytes: 0 };
    if (archives === 0 && this.#error === null) return undefined;
    const { limitBytes, blobs } = this.#o;
    return { archives, bytes, limit_bytes: limitBytes, place: blobs.place.name, error: this.#error };
  }

  /** Finds out how much there is, and whether the place can be read. Never rejects. */
  async #look(): Promise<void> {
    const { store, blobs, log } = this.#o;
    let problem: string | null = null;
    try {
      const { blobs: archives } = await store.read((tx) => this.#counted(tx, true));
      await blobs.place.sizeOf(NOBODY);
      if (archives > 0) await this.#isOwn();
    } catch (error) {
      problem = errorMessage(error);
      if (problem !== this.#error) log.warn(`Files of runs: ${problem}`);
    }
    this.#error = problem;
  }

  /** Whether the place is this principal's alone, as it should be: whoever uses it first has it. */
  async #isOwn(): Promise<boolean> {
    const { blobs, owner, log } = this.#o;
    if (this.#hasPlace !== true) {
      const isOwn = (await blobs.place.claim(owner())) === owner();
      if (!isOwn && this.#hasPlace === undefined) log.warn(belongsToOther(blobs.place.name));
      this.#hasPlace = isOwn;
    }
    return this.#hasPlace;
  }

  /** What is kept. Part of a unit of work. @param isFresh whether it is counted anew */
  async #counted(tx: OperationalTx, isFresh = false): Promise<{ blobs: number; bytes: number }> {
    if (this.#count === undefined || isFresh) this.#count = await tx.countBlobs();
    return this.#count;
  }

  /** Remembers that a blob will be there. Part of a unit of work. @throws UnprocessableError when there is no room for it */
  async #expect(tx: OperationalTx, { hash, bytes }: Blob): Promise<void> {
    const isKnown = await tx.hasBlob(hash);
    if (!isKnown) await this.#requireRoom(tx, bytes);
    await tx.addBlob(hash, bytes, this.#o.clock.now());
    if (isKnown) return;
    tx.afterCommit(() => {
      if (this.#count !== undefined)
        this.#count = { blobs: this.#count.blobs + 1, bytes: this.#count.bytes + bytes };
    });
  }

  /**
   * Takes a file that was packed here; afterwards a run has to refer to it within an hour.
   * @throws UnprocessableError when it cannot be kept
   */
  async add({ hash, bytes }: Blob, file: string): Promise<void> {
    const { store, blobs } = this.#o;
    await store.transact((tx) => this.#expect(tx, { hash, bytes }));
    await blobs.add(hash, bytes, file);
  }

  /** Whether a blob is there, which it is for another hour then. */
  async has({ hash, bytes }: Blob): Promise<boolean> {
    const { store, blobs, clock } = this.#o;
    const isKnown = await store.transact(async (tx) => {
      if (!(await tx.hasBlob(hash))) return false;
      await tx.addBlob(hash, bytes, clock.now());
      return true;
    });
    return isKnown && (await blobs.place.sizeOf(hash)) === bytes;
  }

  /**
   * A piece of a blob for an agent that executes a run which refers to it.
   * @throws UnprocessableError when the agent does not execute it (any more)
   * @throws NotFoundError when the run does not refer to it
   */
  async fetch({ agent_id, hash, offset, ...attempt }: FetchBlob): Promise<FilePiece> {
    await this.#o.store.read(async (tx) => {
      await requireLease(tx, agent_id, attempt);
      const { workflow_instance_id: id } = attempt;
      const bundle = await tx.referredBlob(id, "bundle", "");
      if (bundle?.hash !== hash) await requireArtifacts(tx, id, hash);
    });
    return this.#piece(hash, offset);
  }

  /**
   * Takes a piece of what a task run leaves.
   * @throws InvalidInputError when it is not what its hash says, or the run leaves too much
   * @throws UnprocessableError when the agent does not have the attempt (any more), or nothing can be kept now
   */
  async write({
    agent_id,
    task_instance_id,
    hash,
    bytes,
    offset,
    data,
    ...attempt
  }: WriteBlob): Promise<{ next: number }> {
    const { store, blobs } = this.#o;
    const { workflow_instance_id: id } = attempt;
    if (offset > 0) await store.read((tx) => requireLease(tx, agent_id, attempt));
    else
      await store.transact(async (tx) => {
        await requireLease(tx, agent_id, attempt);
        const others = await tx.artifactsBytes(id, task_instance_id);
        if (others + bytes > this.#o.artifactsBytes) throw tooMuch(bytes, others, this.#o.artifactsBytes);
        if (hash === null) return this.#requireRoom(tx, bytes);
        // First: nobody removes it from now on.
        await this.#expect(tx, { hash, bytes });
        await tx.referToBlob(id, "upload", task_instance_id, hash);
      });
    return { next: hash === null ? 0 : await blobs.write(hash, bytes, offset, Buffer.from(data, "base64")) };
  }

  /** What the tasks of a run have left; items of a fan-out are in their order. */
  async list(runId: string): Promise<ArtifactsSummary[]> {
    const found = await this.#o.store.read((tx) => tx.artifactsOf(runId));
    const tasks = [...new Set(found.map(({ task_id }) => task_id))];
    const placeOf = ({ task_id, item_index }: ArtifactsRecord) =>
      [tasks.indexOf(task_id), item_index ?? -1] as const;
    const sorted = found.toSorted((a, b) => {
      const [[taskA, itemA], [taskB, itemB]] = [placeOf(a), placeOf(b)];
      return taskA - taskB || itemA - itemB;
    });
    return sorted.map(({ task_id, item_key, task_instance_id, hash, bytes, files }) => ({
      task_id,
      item_key,
      task_instance_id,
      hash,
      bytes,
      files: JSON.parse(files),
    }));
  }

  /**
   * A piece of what a task of a run has left.
   * @throws NotFoundError when none has left it
   */
  async read({ workflow_instance_id, hash, offset, length }: ReadBlob): Promise<FilePiece> {
    await this.#o.store.read((tx) => requireArtifacts(tx, workflow_instance_id, hash));
    return this.#piece(hash, offset, length);
  }

  async #piece(hash: string, offset: number, most = PIECE_BYTES): Promise<FilePiece> {
    const length = Math.min(most, PIECE_BYTES);
    const piece = await this.#o.blobs.place.read(hash, offset, length);
    const next = piece.length < length ? null : offset + piece.length;
    return { data: Buffer.from(piece).toString("base64"), next };
  }

  /** Removes what no run refers to, now; never rejects. */
  async tidy(): Promise<void> {
    const { store, blobs, clock, log } = this.#o;
    const beforeMs = clock.now() - UNUSED_MS;
    try {
      await store.transact((tx) => tx.endUploads());
      await this.#dropArtifacts();
      for (let unused: string[] = []; !this.isStopping; ) {
        unused = await store.read((tx) => tx.unusedBlobs(beforeMs, STEP));
        // Another principal may need what this one does not.
        if (unused.length === 0 || !(await this.#isOwn())) break;
        for (const hash of unused)
          await blobs.remove(hash, () => store.transact((tx) => tx.dropBlob(hash, beforeMs)));
      }
      await this.#removeStrangers(beforeMs);
      await this.#look();
      await blobs.tidy(clock.now());
    } catch (error) {
      log.debug(`Files that no run needs could not be removed; they are later: ${errorMessage(error)}`);
    }
    this.signals.emit("tidied");
  }

  /** Removes what runs have left that is too old. */
  async #dropArtifacts(): Promise<void> {
    const { store, clock, log, artifactsMs } = this.#o;
    if (artifactsMs === null) return;
    const beforeMs = clock.now() - artifactsMs;
    let dropped = 0;
    for (let last = STEP; last === STEP && !this.isStopping; dropped += last)
      last = await store.transact((tx) => tx.dropArtifacts(beforeMs, STEP));
    if (dropped === 0) return;
    const days = Math.round(artifactsMs / DAY_MS);
    log.info(
      `What ${dropped === 1 ? "1 task" : `${dropped} tasks`} left as files more than ${days} days ago was removed (CDKTR_ARTIFACTS_KEEP_DAYS).`,
    );
  }

  /** What is in the place and unknown to the state: it was put there just before the principal died, or the state is that of a backup. */
  async #removeStrangers(beforeMs: number): Promise<void> {
    const { store, blobs, clock } = this.#o;
    if (clock.monotonic() - this.#lookedMs < STRANGERS_MS) return;
    this.#lookedMs = clock.monotonic();
    const isUnknown = async (hash: string) => !(await store.read((tx) => tx.hasBlob(hash)));
    for await (const { hash, changedMs } of blobs.place.list()) {
      if (this.isStopping || !(await this.#isOwn())) return;
      if (changedMs < beforeMs && (await isUnknown(hash))) await blobs.remove(hash, () => isUnknown(hash));
    }
  }

  /** @throws UnprocessableError */
  async #requireRoom(tx: OperationalTx, bytes: number): Promise<void> {
    const { bytes: used } = await this.#counted(tx);
    if (used + bytes <= this.#o.limitBytes) return;
    throw new UnprocessableError(
      `The principal keeps ${inMiB(used)} of files of runs and may keep ${inMiB(this.#o.limitBytes)}: there is no room for ${inMiB(bytes)}.`,
      { hint: "Raise CDKTR_BLOB_LIMIT_GB." },
    );
  }
}

/** @throws NotFoundError */
async function requireArtifacts(tx: OperationalTx, runId: string, hash: string): Promise<void> {
  if (!(await tx.hasArtifacts(runId, hash)))
    throw new NotFoundError(`Run ${runId} does not refer to this file.`);
}

function belongsToOther(place: string): string {
  return `${place} belongs to another principal, or did, so this one removes nothing there. Set CDKTR_BLOB_URL to a place of its own; or, if it has this one for itself now, remove the file ${OWNER} there.`;
}

function tooMuch(bytes: number, others: number, limit: number): InvalidInputError {
  const already = others === 0 ? "" : `, other tasks of its run have left ${inMiB(others)}`;
  return new InvalidInputError(
    `they have ${inMiB(bytes)}${already}, and a run may keep ${inMiB(limit)} (CDKTR_ARTIFACTS_LIMIT_MB)`,
  );
}

/** @throws UnprocessableError when the agent does not have this attempt (any more) */
async function requireLease(tx: OperationalTx, agentId: string, attempt: AttemptName): Promise<void> {
  const found = await tx.getAttempt(attempt);
  if (found?.agent_id === agentId && (found.lease === "HELD" || found.lease === "OFFERED")) return;
  throw new UnprocessableError(
    `Run ${attempt.workflow_instance_id} does not belong to agent ${agentId} (any more).`,
  );
}

function inMiB(bytes: number): string {
  return `${Math.ceil(bytes / 1024 / 1024)} MiB`;
}
