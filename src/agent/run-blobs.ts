/** What a run needs of whoever has the files that travel with it. */
import type { Artifacts, AttemptName, Blob } from "../contract/messages.ts";
import { CdktrError } from "../errors.ts";
import type { MatchOptions } from "../host/matching-files.ts";

/** How the files are found that a task run left. */
export const ARTIFACT_MATCHING: MatchOptions = { hidden: true, mayBeNone: true, stays: true };

/** What a task run left cannot be kept. */
export class ArtifactsError extends CdktrError {}

/** Tells something about the files in the log of a task. */
export type SayOfFiles = (level: "INFO" | "WARN", text: string) => void;

export interface RunBlobs {
  /**
   * Does something with an archive that belongs to a run; if it has to be fetched, this waits while the principal is away.
   * @param attempt for which it is needed
   * @param work gets the path
   * @throws CannotStartError when there is none; the reason of the signal
   */
  use<T>(
    attempt: AttemptName,
    blob: Blob,
    how: { readonly signal: AbortSignal; readonly say?: SayOfFiles },
    work: (path: string) => Promise<T>,
  ): Promise<T>;
  /**
   * Keeps the files in a directory, which a task run has left; resolves when they are safe. While the principal is away, this waits.
   * @param isSecret whether a name must not be known
   * @returns null if there are none
   * @throws ArtifactsError when they cannot be kept; the reason of the signal
   */
  keep(
    attempt: AttemptName,
    left: { readonly task_instance_id: string; readonly directory: string; isSecret(name: string): boolean },
    how: { readonly signal: AbortSignal; readonly say: SayOfFiles },
  ): Promise<Artifacts | null>;
}
