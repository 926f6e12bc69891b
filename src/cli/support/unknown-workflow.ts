/** Hints for filters that match nothing. */
import type { PrincipalClient } from "../../protocol/client.ts";
import { nearest } from "../../terminal/did-you-mean.ts";
import { say } from "./report.ts";

/** Tells the user when a filter without results names a workflow that the principal does not have; it may be a former one. */
export async function tellUnknownWorkflow(client: PrincipalClient, id: string | undefined): Promise<void> {
  if (id === undefined) return;
  const known = Object.keys(await client.listWorkflows());
  if (known.includes(id)) return;
  const near = nearest(id, known);
  say(`There is no workflow '${id}' now.${near === undefined ? "" : ` Did you mean '${near}'?`}`);
}
