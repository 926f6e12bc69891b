/** The principal's files that travel with runs: gives them to agents, and removes those to which no run refers any more. */
import type { ConsolaInstance } from "consola";
import { type BlobStore, PIECE_BYTES } from "../../blobs/blob-store.ts";
import type { Clock } from "../../clock.ts";
import type { Blob, FetchBlob, FilePiece } from "../../contract/messages.ts";
import { errorMessage, NotFoundError, UnprocessableError } from "../../errors.ts";
import { BackgroundService } from "../../service.ts";
import type { AttemptName, OperationalStore, OperationalTx } from "../../storage/operational/store.ts";

/** How long a blob stays to which nothing refers, ms: somebody may be about to. */
const UNUSED_MS = 3_600_000;
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
  readonly clock: Clock;
  readonly log: ConsolaInstance;
}

export class BlobKeeper extends BackgroundService<{ tidied: undefined }> {
  readonly name = "files of runs";
  readonly #o: BlobKeeperOptions;
  readonly #interval = this.timer(() => this.track(this.tidy()));
  /** When the place was looked through (monotonic). */
  #lookedMs = Number.NEGATIVE_INFINITY;

  constructor(options: BlobKeeperOptions) {
    super(options.clock);
    this.#o = options;
  }

  protected override onStart(): void {
    this.#interval.every(INTERVAL_MS);
  }

  /**
   * Takes a file that was packed here; afterwards a run has to refer to it within an hour.
   * @throws UnprocessableError when it cannot be kept
   */
  async add({ hash, bytes }: Blob, file: string): Promise<void> {
    const { store, blobs, clock } = this.#o;
    await store.transact(async (tx) => {
      await this.#requireRoom(tx, bytes);
      await tx.addBlob(hash, bytes, clock.now());
    });
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
      const bundle = await tx.referredBlob(attempt.workflow_instance_id, "bundle", "");
      if (bundle?.hash !== hash) throw new NotFoundError("The run does not refer to this file.");
    });
    return this.#piece(hash, offset);
  }

  async #piece(hash: string, offset: number): Promise<FilePiece> {
    const piece = await this.#o.blobs.place.read(hash, offset, PIECE_BYTES);
    const next = piece.length < PIECE_BYTES ? null : offset + piece.length;
    return { data: Buffer.from(piece).toString("base64"), next };
  }

  /** How much there is. */
  count(): Promise<{ blobs: number; bytes: number }> {
    return this.#o.store.read((tx) => tx.countBlobs());
  }

  /** Removes what no run refers to, now; never rejects. */
  async tidy(): Promise<void> {
    const { store, blobs, clock, log } = this.#o;
    const beforeMs = clock.now() - UNUSED_MS;
    try {
      await store.transact((tx) => tx.endUploads());
      for (let unused: string[] = []; !this.isStopping; ) {
        unused = await store.read((tx) => tx.unusedBlobs(beforeMs, STEP));
        if (unused.length === 0) break;
        for (const hash of unused)
          await blobs.remove(hash, () => store.transact((tx) => tx.dropBlob(hash, beforeMs)));
      }
      await this.#removeStrangers(beforeMs);
      await blobs.tidy(clock.now());
    } catch (error) {
      log.debug(`Files that no run needs could not be removed; they are later: ${errorMessage(error)}`);
    }
    this.signals.emit("tidied");
  }

  /** What is in the place and unknown to the state: it was put there just before the principal died, or the state is that of a backup. */
  async #removeStrangers(beforeMs: number): Promise<void> {
    const { store, blobs, clock } = this.#o;
    if (clock.monotonic() - this.#lookedMs < STRANGERS_MS) return;
    this.#lookedMs = clock.monotonic();
    const isUnknown = async (hash: string) => !(await store.read((tx) => tx.hasBlob(hash)));
    for await (const { hash, changedMs } of blobs.place.list()) {
      if (this.isStopping) return;
      if (changedMs < beforeMs && (await isUnknown(hash))) await blobs.remove(hash, () => isUnknown(hash));
    }
  }

  /** @throws UnprocessableError */
  async #requireRoom(tx: OperationalTx, bytes: number): Promise<void> {
    const { bytes: used } = await tx.countBlobs();
    if (used + bytes <= this.#o.limitBytes) return;
    throw new UnprocessableError(
      `The principal keeps ${inMiB(used)} of files of runs and may keep ${inMiB(this.#o.limitBytes)}: there is no room for ${inMiB(bytes)}.`,
      { hint: "Raise CDKTR_BLOB_LIMIT_GB." },
    );
  }
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
