/** Reads files that tasks left with their run. */
import type { ArtifactsSummary } from "../contract/messages.ts";
import type { PrincipalClient, RequestOptions } from "./client.ts";

/** The largest piece that is asked for, bytes. */
const PIECE_BYTES = 1024 * 1024;

/** Where a file is: the archive of its task, and its place there. */
export interface ArtifactFile {
  readonly runId: string;
  readonly hash: string;
  readonly file: ArtifactsSummary["files"][number];
}

/** The content of a file in pieces. @param most only the beginning, bytes */
export async function* readArtifactFile(
  client: Pick<PrincipalClient, "call">,
  { runId, hash, file }: ArtifactFile,
  options: RequestOptions & { readonly most?: number } = {},
): AsyncGenerator<Buffer> {
  const { most = file.bytes, ...request } = options;
  const end = file.offset + Math.min(most, file.bytes);
  for (let offset = file.offset; offset < end; ) {
    const length = Math.min(PIECE_BYTES, end - offset);
    const piece = await client.call(
      "READBLOB",
      { workflow_instance_id: runId, hash, offset, length },
      request,
    );
    const data = Buffer.from(piece.data, "base64").subarray(0, length);
    if (data.length === 0) throw new Error(`${file.path} ends early: ${offset} of ${end} bytes are there`);
    offset += data.length;
    yield data;
  }
}
