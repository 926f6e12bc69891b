/** What travels with runs, on an agent: fetched from the principal and sent to it, and kept here for other runs. */
import { open } from "node:fs/promises";
import { BlobCache } from "../blobs/blob-cache.ts";
import { PIECE_BYTES } from "../blobs/blob-store.ts";
import { type Artifacts, type AttemptName, type Blob, MAX_FILE_NAMES_BYTES } from "../contract/messages.ts";
import { CdktrError, errorMessage } from "../errors.ts";
import { ArchiveError, packing } from "../host/archive.ts";
import { MatchingFilesError, matchingFiles } from "../host/matching-files.ts";
import { log } from "../log.ts";
import { type PrincipalClient, RequestRefusedError, RequestUnprocessableError } from "../protocol/client.ts";
import { BackOff, pause, turn } from "../timer.ts";
import { CannotStartError } from "./executors/index.ts";
import type { PrincipalLink } from "./principal-link.ts";
import { ARTIFACT_MATCHING, ArtifactsError, type RunBlobs, type SayOfFiles } from "./run-blobs.ts";

/** Pauses between tries while the principal is there and cannot give or take a file, ms. */
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 30_000;

/** How long the principal has for an answer, ms: it may have to send a whole archive to a bucket. That it is gone is known before. */
const ANSWER_MS = 120_000;

/** What {@link BlobFetcher} needs. */
interface BlobFetcherOptions {
  /** The agent's own, for what is kept. */
  readonly directory: string;
  /** How much is kept there, bytes. */
  readonly limitBytes: number;
  readonly client: PrincipalClient;
  readonly link: PrincipalLink;
  readonly agentId: string;
}

interface How {
  readonly signal: AbortSignal;
  readonly say?: SayOfFiles;
}

export class BlobFetcher implements RunBlobs {
  readonly #o: BlobFetcherOptions;
  /** Made when it is first needed: most agents never need it. */
  #made: BlobCache | undefined;

  constructor(options: BlobFetcherOptions) {
    this.#o = options;
  }

  get #cache(): BlobCache {
    this.#made ??= new BlobCache(this.#o.directory, this.#o.limitBytes);
    return this.#made;
  }

  async use<T>(
    attempt: AttemptName,
    { hash, bytes }: Blob,
    how: How,
    work: (path: string) => Promise<T>,
  ): Promise<T> {
    const { client, agentId } = this.#o;
    const of = { ...nameOf(attempt), agent_id: agentId, hash };
    const fetch = async (offset: number): Promise<Uint8Array> => {
      try {
        const { data } = await this.#patiently(how, "A file that it needs cannot be fetched yet", (options) =>
          client.call("FETCHBLOB", { ...of, offset }, options),
        );
        return Buffer.from(data, "base64");
      } catch (error) {
        if (!(error instanceof RequestRefusedError)) throw error;
        const message = `Cannot start: a file that it needs cannot be fetched: ${error.message}`;
        throw new CannotStartError(message, { cause: error });
      }
    };
    return this.#cache.use(hash, bytes, fetch, work);
  }

  async keep(
    attempt: AttemptName,
    { task_instance_id, directory, isSecret }: Parameters<RunBlobs["keep"]>[1],
    how: How,
  ): Promise<Artifacts | null> {
    const { client, agentId } = this.#o;
    const of = { ...nameOf(attempt), agent_id: agentId, task_instance_id };
    const write = (piece: { hash: string | null; bytes: number; offset: number; data: string }) =>
      this.#patiently(how, "Its artifacts cannot be kept yet", (options) =>
        client.call("WRITEBLOB", { ...of, ...piece }, options),
      );
    try {
      const found = matchingFiles(directory, ["**"], ARTIFACT_MATCHING);
      if (found.sources.length === 0) return null;
      const secret = found.sources.findIndex(({ path }) => isSecret(path));
      if (secret !== -1) throw new ArtifactsError("the name of one of them contains a secret");
      // Before gigabytes are read that nobody takes.
      await write({ hash: null, bytes: Math.max(1, found.bytes), offset: 0, data: "" });
      const packed = await this.#pack(found.sources, how.signal);
      if (Buffer.byteLength(JSON.stringify(packed.files)) > MAX_FILE_NAMES_BYTES)
        throw new ArtifactsError(
          `their names have more than ${MAX_FILE_NAMES_BYTES / 1024 / 1024} MiB together`,
        );
      await this.#send(packed, write);
      return packed;
    } catch (error) {
      how.signal.throwIfAborted();
      const isOurs =
        error instanceof MatchingFilesError ||
        error instanceof ArchiveError ||
        error instanceof RequestRefusedError;
      if (!isOurs) throw error;
      throw new ArtifactsError(errorMessage(error), { cause: error });
    }
  }

  /** Packs files; they stay here for tasks of the run that need them. */
  async #pack(sources: Parameters<typeof packing>[0], signal: AbortSignal): Promise<Artifacts> {
    const file = this.#cache.newFile();
    const steps = packing(sources, file);
    try {
      for (;;) {
        const { done, value } = steps.next();
        if (done === true) {
          this.#cache.add(value.hash, value.bytes, file);
          return { hash: value.hash, bytes: value.bytes, files: [...value.files] };
        }
        await turn();
        signal.throwIfAborted();
      }
    } finally {
      // What was not finished is removed.
      if (signal.aborted) steps.return?.(undefined as never);
    }
  }

  async #send(
    { hash, bytes }: Blob,
    write: (piece: {
      hash: string;
      bytes: number;
      offset: number;
      data: string;
    }) => Promise<{ next: number }>,
  ): Promise<void> {
    const isGone = () => Promise.reject(new CdktrError("it was removed from the agent's cache"));
    await this.#cache.use(hash, bytes, isGone, async (path) => {
      const file = await open(path, "r");
      try {
        const piece = Buffer.allocUnsafe(PIECE_BYTES);
        let { next } = await write({ hash, bytes, offset: 0, data: "" });
        while (next < bytes) {
          const { bytesRead } = await file.read(piece, 0, PIECE_BYTES, next);
          if (bytesRead === 0)
            throw new ArtifactsError("the archive of them was cut short on the agent's disk");
          const data = piece.toString("base64", 0, bytesRead);
          ({ next } = await write({ hash, bytes, offset: next, data }));
        }
      } finally {
        await file.close();
      }
    });
  }

  /**
   * Asks the principal until it answers.
   * @param what cannot be done meanwhile
   * @throws RequestRefusedError when it never will; the reason of the signal
   */
  async #patiently<T>(
    { signal, say }: How,
    what: string,
    ask: (options: { attempts: 1; timeoutMs: number; signal: AbortSignal }) => Promise<T>,
  ): Promise<T> {
    const { link } = this.#o;
    const pauses = new BackOff(FIRST_PAUSE_MS, LONGEST_PAUSE_MS);
    let said = "";
    for (;;) {
      await link.untilUp(signal);
      try {
        return await ask({
          attempts: 1,
          timeoutMs: ANSWER_MS,
          signal: AbortSignal.any([signal, link.whileUp]),
        });
      } catch (error) {
        signal.throwIfAborted();
        if (error instanceof RequestRefusedError) throw error;
        if (link.whileUp.aborted || !link.isUp) continue;
        const reason = errorMessage(error);
        if (error instanceof RequestUnprocessableError && reason !== said)
          say?.("WARN", `${what}: ${reason}`);
        said = reason;
        log.debug(`${what}: ${reason}`);
        await pause(pauses.next(), signal);
      }
    }
  }
}

function nameOf({ workflow_instance_id, slice, attempt }: AttemptName): AttemptName {
  return { workflow_instance_id, slice, attempt };
}
