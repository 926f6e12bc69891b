/** The files of a workflow in the directory of a run. */
import type { AttemptName, Blob } from "../contract/messages.ts";
import { errorMessage } from "../errors.ts";
import { ArchiveError, unpacking } from "../host/archive.ts";
import { turn } from "../timer.ts";
import { CannotStartError } from "./executors/index.ts";
import type { RunBlobs, SayOfFiles } from "./run-blobs.ts";
import type { RunDirectory } from "./run-directories.ts";
import { cannotWrite } from "./task-files.ts";

/** How long unpacking keeps the agent from other things, ms. */
const BUSY_MS = 10;

export class RunBundle {
  readonly #attempt: AttemptName;
  readonly #blob: Blob;
  readonly #blobs: RunBlobs;
  readonly #directory: RunDirectory;

  constructor(attempt: AttemptName, blob: Blob, blobs: RunBlobs, directory: RunDirectory) {
    this.#attempt = attempt;
    this.#blob = blob;
    this.#blobs = blobs;
    this.#directory = directory;
  }

  /**
   * Resolves when the files are in the directory of the run, where the tasks may change them: they are put there once.
   * @throws CannotStartError; the reason of the signal
   */
  unpacked(signal: AbortSignal, say: SayOfFiles): Promise<void> {
    return this.#directory.fill(
      (path, stopped) =>
        this.#blobs.use(this.#attempt, this.#blob, { signal: stopped, say }, (archive) =>
          unpack(archive, path, stopped),
        ),
      signal,
    );
  }
}

/**
 * Unpacks an archive.
 * @throws CannotStartError; the reason of the signal
 */
export async function unpack(archive: string, into: string, signal: AbortSignal): Promise<void> {
  try {
    let turnedMs = performance.now();
    for (const _ of unpacking(archive, into)) {
      // There may be ten thousand small files: a turn for each would take longer than the files.
      if (performance.now() - turnedMs < BUSY_MS) continue;
      await turn();
      signal.throwIfAborted();
      turnedMs = performance.now();
    }
  } catch (error) {
    signal.throwIfAborted();
    if (error instanceof ArchiveError) throw new CannotStartError(`Cannot start: ${errorMessage(error)}.`);
    throw cannotWrite(`The files that it needs cannot be written to ${into}`, into, error);
  }
}
