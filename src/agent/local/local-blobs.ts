/** The files that travel with runs without a principal: archives in the private directory, by hash. */
import { existsSync, mkdirSync, renameSync } from "node:fs";
import { join } from "node:path";
import {
  type Artifacts,
  type AttemptName,
  type Blob,
  MAX_FILE_NAMES_BYTES,
} from "../../contract/messages.ts";
import { errorMessage, InvalidInputError } from "../../errors.ts";
import { ArchiveError, packing } from "../../host/archive.ts";
import { MatchingFilesError, matchingFiles } from "../../host/matching-files.ts";
import { packFiles } from "../../host/pack-files.ts";
import { turn } from "../../timer.ts";
import { MAX_BUNDLE_BYTES } from "../../workflow/limits.ts";
import { CannotStartError } from "../executors/index.ts";
import { ARTIFACT_MATCHING, ArtifactsError, type RunBlobs, type SayOfFiles } from "../run-blobs.ts";

export class LocalBlobs implements RunBlobs {
  readonly #directory: string;
  readonly #limitBytes: number;
  /** Size of what each run has left. */
  readonly #bytesOf = new Map<string, number>();

  /** @param limitBytes how much a run may leave */
  constructor(directory: string, limitBytes: number) {
    this.#directory = directory;
    this.#limitBytes = limitBytes;
  }

  /**
   * Packs the files of a workflow as they are now.
   * @param directory of the workflow file
   * @throws InvalidInputError when they cannot be packed
   */
  bundle(workflowId: string, directory: string, globs: readonly string[]): Blob {
    const to = this.#newFile();
    try {
      const { packed } = packFiles(
        { directory, globs, maxBytes: MAX_BUNDLE_BYTES, signature: null, to },
        () => {},
      );
      if (packed === null) throw new Error("they were not packed");
      return this.#add(to, packed);
    } catch (error) {
      const reason = errorMessage(error).replace(/\.$/, "");
      throw new InvalidInputError(`The files of ${workflowId} cannot be packed: ${reason}.`, {
        cause: error,
      });
    }
  }

  async use<T>(
    _attempt: AttemptName,
    { hash }: Blob,
    _how: { readonly signal: AbortSignal },
    work: (path: string) => Promise<T>,
  ): Promise<T> {
    const path = join(this.#directory, hash);
    if (!existsSync(path))
      throw new CannotStartError("Cannot start: files that it needs are not there any more.");
    return work(path);
  }

  async keep(
    { workflow_instance_id }: AttemptName,
    { directory, isSecret }: Parameters<RunBlobs["keep"]>[1],
    { signal }: { readonly signal: AbortSignal; readonly say: SayOfFiles },
  ): Promise<Artifacts | null> {
    try {
      const { sources, bytes } = matchingFiles(directory, ["**"], ARTIFACT_MATCHING);
      if (sources.length === 0) return null;
      if (sources.some(({ path }) => isSecret(path)))
        throw new ArtifactsError("the name of one of them contains a secret");
      const together = (this.#bytesOf.get(workflow_instance_id) ?? 0) + bytes;
      if (together > this.#limitBytes)
        throw new ArtifactsError(`a run may keep ${Math.round(this.#limitBytes / 1024 / 1024)} MiB of them`);
      this.#bytesOf.set(workflow_instance_id, together);
      const to = this.#newFile();
      const steps = packing(sources, to);
      for (let step = steps.next(); ; step = steps.next()) {
        if (step.done === true) {
          const { files } = step.value;
          if (Buffer.byteLength(JSON.stringify(files)) > MAX_FILE_NAMES_BYTES)
            throw new ArtifactsError(`their names have more than ${MAX_FILE_NAMES_BYTES / 1024 / 1024} MiB`);
          return { ...this.#add(to, step.value), files: [...files] };
        }
        await turn();
        signal.throwIfAborted();
      }
    } catch (error) {
      signal.throwIfAborted();
      if (!(error instanceof MatchingFilesError || error instanceof ArchiveError)) throw error;
      throw new ArtifactsError(errorMessage(error), { cause: error });
    }
  }

  #newFile(): string {
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    return join(this.#directory, `new-${crypto.randomUUID()}`);
  }

  #add(file: string, { hash, bytes }: Blob): Blob {
    renameSync(file, join(this.#directory, hash));
    return { hash, bytes };
  }
}
