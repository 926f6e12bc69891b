/** Files that travel with runs: archives, each a blob that is named by its hash. */
import { z } from "zod";
import { ArchivedFile, AttemptName, BlobHash } from "./agents.ts";
import { Identifier, Name } from "./common.ts";

const Offset = z.number().int().nonnegative();

/** `FETCHBLOB`: a piece of a blob to which the run refers that the agent executes. The reply is as that of `READFILE`. */
export const FetchBlob = AttemptName.extend({ agent_id: Identifier, hash: BlobHash, offset: Offset });
export type FetchBlob = z.infer<typeof FetchBlob>;

/** `WRITEBLOB`: a piece of what a task run leaves. */
export const WriteBlob = AttemptName.extend({
  agent_id: Identifier,
  task_instance_id: z.string().max(64),
  /** Null to ask whether there is room. */
  hash: BlobHash.nullable(),
  /** The size of the blob. */
  bytes: z.number().int().positive(),
  offset: Offset,
  /** Base64; empty to ask how much is there. */
  data: z.string().max(8 * 1024 * 1024),
});
export type WriteBlob = z.infer<typeof WriteBlob>;

/** Where the next piece begins: at `bytes` when the blob is there. */
export const Written = z.object({ next: Offset });

/** `LSARTIFACTS`: what the tasks of a run have left as files. */
export const ListArtifacts = z.object({ workflow_instance_id: Name });

/** An entry of `LSARTIFACTS`: what a task run has left. */
export const ArtifactsSummary = z.object({
  task_id: z.string(),
  /** Of the item of a fan-out. */
  item_key: z.string().nullable(),
  task_instance_id: z.string(),
  /** Of the archive. */
  hash: z.string(),
  bytes: z.number(),
  files: z.array(ArchivedFile),
});
export type ArtifactsSummary = z.infer<typeof ArtifactsSummary>;

/** `READBLOB`: a piece of an archive that a run has left. */
export const ReadBlob = z.object({
  workflow_instance_id: Name,
  hash: BlobHash,
  offset: Offset,
  /** At most, bytes; as much as a reply may have by default. */
  length: z.number().int().positive().optional(),
});
export type ReadBlob = z.infer<typeof ReadBlob>;
