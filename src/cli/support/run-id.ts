/** Resolves runs from their id or any unambiguous prefix of it. */

import type { RunDetails } from "../../contract/messages.ts";
import { InvalidInputError, NotFoundError } from "../../errors.ts";
import { RequestRefusedError } from "../../protocol/client.ts";
import type { Connection } from "./connect.ts";
import { formatRelative } from "./format.ts";

/** How many of the newest runs are searched for a prefix: as many as the principal lists at once. */
const SEARCHED = 10_000;
const SHOWN = 8;

/**
 * The run that `text` refers to.
 * @throws NotFoundError when there is none
 * @throws InvalidInputError listing the candidates when the prefix is ambiguous
 */
export async function findRun({ client }: Connection, text: string): Promise<RunDetails> {
  try {
    return await client.getRun(text);
  } catch (error) {
    if (!(error instanceof RequestRefusedError)) throw error;
  }
  const runs = await client.listRuns({ limit: SEARCHED });
  const found = runs.filter((run) => run.workflow_instance_id.startsWith(text.toLowerCase()));
  const [only] = found;
  if (only === undefined) {
    throw new NotFoundError(`No run has the id '${text}', and none begins with it.`, {
      hint: "'cdktr runs list' shows the newest runs.",
    });
  }
  if (found.length > 1) {
    const now = Date.now();
    const shown = found
      .slice(0, SHOWN)
      .map(
        (run) =>
          `  ${run.workflow_instance_id}  ${run.workflow_id}  ${run.status}  ${formatRelative(run.created_at_ms, now)}`,
      );
    const more = found.length > SHOWN ? [`  … and ${found.length - SHOWN} more`] : [];
    throw new InvalidInputError(
      [`${found.length} runs begin with '${text}':`, ...shown, ...more].join("\n"),
      { hint: "Give a longer prefix of the id." },
    );
  }
  return client.getRun(only.workflow_instance_id);
}
