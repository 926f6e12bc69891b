/** Filters that match nothing because nothing has that name. */
import type { PrincipalClient } from "../../protocol/client.ts";
import { nearest } from "../../terminal/did-you-mean.ts";
import { say } from "./report.ts";

/** Says so when a filter that found nothing names a workflow that the principal does not have; one of the past may be meant. */
export async function tellUnknownWorkflow(client: PrincipalClient, id: string | undefined): Promise<void> {
  if (id === undefined) return;
  const known = Object.keys(await client.listWorkflows());
  if (known.includes(id)) return;
  const near = nearest(id, known);
  say(`There is no workflow '${id}' now.${near === undefined ? "" : ` Did you mean '${near}'?`}`);
}
