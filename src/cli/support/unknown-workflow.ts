/** Hints for filters that match nothing. */
import { NotFoundError } from "../../errors.ts";
import type { PrincipalClient } from "../../protocol/client.ts";
import { nearest } from "../../terminal/did-you-mean.ts";
import { say } from "./report.ts";

/** Tells the user when a filter without results names a workflow that the principal does not have; it may be a former one. */
export async function tellUnknownWorkflow(client: PrincipalClient, id: string | undefined): Promise<void> {
  const problem = await unknownWorkflow(client, id);
  if (problem !== undefined)
    say(problem.hint === undefined ? problem.message : `${problem.message} ${problem.hint}`);
}

/**
 * Refuses to wait for lines of a workflow that does not exist and never printed anything.
 * @throws NotFoundError
 */
export async function refuseUnknownWorkflow(client: PrincipalClient, id: string | undefined): Promise<void> {
  const problem = await unknownWorkflow(client, id);
  if (problem === undefined) return;
  const lines = await client.searchLogs({ workflow_id: id, limit: 1 }).catch(() => undefined);
  // Unknown is only what the history has not either; while it cannot be read, the benefit of the doubt.
  if (lines !== undefined && lines.rows.length === 0 && lines.warning === null) throw problem;
}

async function unknownWorkflow(
  client: PrincipalClient,
  id: string | undefined,
): Promise<NotFoundError | undefined> {
  if (id === undefined) return undefined;
  const known = Object.keys(await client.listWorkflows());
  if (known.includes(id)) return undefined;
  const near = nearest(id, known);
  return new NotFoundError(`There is no workflow '${id}' now.`, {
    hint: near === undefined ? "'cdktr workflow list' shows the workflows." : `Did you mean '${near}'?`,
  });
}
