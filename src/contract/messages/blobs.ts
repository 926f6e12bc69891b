/** Files that travel with runs: archives, each a blob that is named by its hash. */
import { z } from "zod";
import { AttemptName, type Blob, BlobHash } from "./agents.ts";
import { Identifier } from "./common.ts";

/** `FETCHBLOB`: a piece of a blob to which the run refers that the agent executes. The reply is as that of `READFILE`. */
export const FetchBlob = AttemptName.extend({
  agent_id: Identifier,
  hash: BlobHash,
  offset: z.number().int().nonnegative(),
});
export type FetchBlob = z.infer<typeof FetchBlob>;
export type { Blob };
