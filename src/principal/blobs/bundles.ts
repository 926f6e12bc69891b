/** Packs the files of workflows (`files:`) when runs are triggered. A tree that has not changed since is not read again. */
import type { BlobStore } from "../../blobs/blob-store.ts";
import type { Blob } from "../../contract/messages.ts";
import { CdktrError, errorMessage, UnprocessableError } from "../../errors.ts";
import { FileHelper, PathSilentError } from "../../host/file-helper/file-helper.ts";
import { MAX_BUNDLE_BYTES } from "../../workflow/limits.ts";
import type { WorkflowDefinition } from "../../workflow/model.ts";
import type { BlobKeeper } from "./blob-keeper.ts";

/** Maximum number of workflows whose files are remembered. */
const MOST_KNOWN = 10_000;

interface Known {
  /** What was packed: directory and globs. */
  readonly what: string;
  readonly signature: string;
  readonly blob: Blob;
}

/** The files of a workflow, packed, or why they could not be. */
export interface Packed {
  readonly globs: readonly string[];
  readonly blob?: Blob;
  readonly error?: unknown;
}

/** The workflow names other files than those that were packed. */
export class FilesChangedError extends Error {}

/**
 * The files for a run with this definition. Part of a unit of work.
 * @param packed what {@link Bundles.pack} has returned before
 * @throws UnprocessableError when they could not be packed, FilesChangedError when the definition names others
 */
export function bundleFor({ files }: Pick<WorkflowDefinition, "files">, packed: Packed | null): Blob | null {
  if (JSON.stringify(files) !== JSON.stringify(packed?.globs)) throw new FilesChangedError();
  if (packed?.error !== undefined) throw packed.error;
  return packed?.blob ?? null;
}

/** What {@link Bundles} needs. */
interface BundlesOptions {
  readonly keeper: BlobKeeper;
  readonly blobs: BlobStore;
  readonly workflows: {
    get(workflowId: string): { readonly definition: WorkflowDefinition } | undefined;
    directoryOf(workflowId: string): string | undefined;
  };
}

export class Bundles {
  readonly #keeper: BlobKeeper;
  readonly #blobs: BlobStore;
  readonly #workflows: BundlesOptions["workflows"];
  /** A process of its own, for the files may be on a mount that does not answer, and packing takes time. */
  readonly #files = new FileHelper();
  readonly #known = new Map<string, Known>();

  constructor({ keeper, blobs, workflows }: BundlesOptions) {
    this.#keeper = keeper;
    this.#blobs = blobs;
    this.#workflows = workflows;
  }

  /** Packs the files of a workflow as they are now; null if it has none. A run has to refer to them within an hour. Never rejects. */
  async pack(workflowId: string): Promise<Packed | null> {
    const globs = this.#workflows.get(workflowId)?.definition.files;
    const directory = this.#workflows.directoryOf(workflowId);
    if (globs === undefined || directory === undefined) return null;
    try {
      return { globs, blob: await this.of(workflowId, directory, globs) };
    } catch (error) {
      return { globs, error };
    }
  }

  /**
   * The files of a workflow as they are now, packed and kept; a run has to refer to them within an hour.
   * @param directory of the workflow file
   * @throws UnprocessableError when they cannot be packed
   */
  async of(workflowId: string, directory: string, globs: readonly string[]): Promise<Blob> {
    const what = JSON.stringify([directory, globs]);
    const known = this.#known.get(workflowId);
    const same = known?.what === what ? known : undefined;
    try {
      const blob = await this.#pack(workflowId, { what, directory, globs, same });
      // What is the same may have been removed: nothing refers to it.
      if (blob !== null) return blob;
      const fresh = await this.#pack(workflowId, { what, directory, globs, same: undefined });
      if (fresh !== null) return fresh;
      throw new CdktrError("they change all the time");
    } catch (error) {
      throw new UnprocessableError(`The files of ${workflowId} cannot be packed: ${reasonOf(error)}.`, {
        cause: error,
        hint: error instanceof CdktrError ? error.hint : "'cdktr workflow validate' checks them, too.",
      });
    }
  }

  /** Null if they are the same as before, and those are gone. */
  async #pack(
    workflowId: string,
    how: { what: string; directory: string; globs: readonly string[]; same: Known | undefined },
  ): Promise<Blob | null> {
    const { what, directory, globs, same } = how;
    const to = this.#blobs.newFile();
    const { signature, packed } = await this.#files.ask("pack", {
      directory,
      globs,
      maxBytes: MAX_BUNDLE_BYTES,
      signature: same?.signature ?? null,
      to,
    });
    if (packed === null) return same !== undefined && (await this.#keeper.has(same.blob)) ? same.blob : null;
    const blob = { hash: packed.hash, bytes: packed.bytes };
    await this.#keeper.add(blob, to);
    this.#known.delete(workflowId);
    this.#known.set(workflowId, { what, signature, blob });
    const [oldest] = this.#known.keys();
    if (this.#known.size > MOST_KNOWN && oldest !== undefined) this.#known.delete(oldest);
    return blob;
  }

  close(): void {
    this.#files.close();
  }
}

function reasonOf(error: unknown): string {
  if (error instanceof PathSilentError) return `${error.path}: ${error.message}`;
  return errorMessage(error).replace(/\.$/, "");
}
