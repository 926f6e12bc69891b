/** What units of work do with files: a part of the interface of the operational state, see store.ts. */
import type { TaskRunRecord } from "./records.ts";

/** What a task run has left as files. */
export interface ArtifactsRecord
  extends Pick<
    TaskRunRecord,
    "workflow_instance_id" | "task_id" | "item_key" | "item_index" | "task_instance_id"
  > {
  /** The archive with them. */
  readonly hash: string;
  readonly bytes: number;
  /** JSON: `[{path, bytes, offset}]`. */
  readonly files: string;
}

/** Why a run refers to a blob: the files of its workflow, or what one of its tasks is about to leave. */
type BlobRefKind = "bundle" | "upload";

/** Blobs, and who refers to them. Whoever puts a blob into its place adds it here first; it may be removed an hour after that. */
export interface BlobIntentions {
  /** A blob is in its place, or will be. Its time begins anew. */
  addBlob(hash: string, bytes: number, nowMs: number): Promise<void>;
  /** A run refers to a blob from now on; by the same kind and task to no other. @param task `""` for the run itself */
  referToBlob(runId: string, kind: BlobRefKind, task: string, hash: string): Promise<void>;
  /** The blob to which a run refers; null for none. */
  referredBlob(
    runId: string,
    kind: BlobRefKind,
    task: string,
  ): Promise<{ hash: string; bytes: number } | null>;
  /** Keeps what a task run has left. */
  putArtifacts(artifacts: ArtifactsRecord): Promise<void>;
  /** What the tasks of a run have left that are carried from another one has to be carried, too. */
  carryArtifacts(runId: string, toRunId: string): Promise<void>;
  /** In the order in which they were kept. */
  artifactsOf(runId: string): Promise<ArtifactsRecord[]>;
  /** The archives that these tasks and their items have left, in the order in which they were kept. */
  archivesOf(
    runId: string,
    taskIds: readonly string[],
  ): Promise<Pick<ArtifactsRecord, "task_id" | "item_key" | "hash" | "bytes">[]>;
  /** Whether one of the tasks of a run has left this archive. */
  hasArtifacts(runId: string, hash: string): Promise<boolean>;
  /** How much a run keeps, apart from one of its task runs, bytes. */
  artifactsBytes(runId: string, exceptTask: string): Promise<number>;
  /** Forgets what runs that are over have left whose time began before `beforeMs`. Does a bounded amount of work; returns how much that was. */
  dropArtifacts(beforeMs: number, limit: number): Promise<number>;
  /** Ends what runs that are over are about to leave. */
  endUploads(): Promise<void>;
  /** Blobs to which nothing refers and whose time began before `beforeMs`. */
  unusedBlobs(beforeMs: number, limit: number): Promise<string[]>;
  /** Forgets such a blob. Returns whether it was one. */
  dropBlob(hash: string, beforeMs: number): Promise<boolean>;
  hasBlob(hash: string): Promise<boolean>;
  /** How many there are, and their size, bytes. */
  countBlobs(): Promise<{ blobs: number; bytes: number }>;
}
