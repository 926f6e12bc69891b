/** Resolves runs from their id or any unambiguous prefix of it. */

import type { RunDetails, RunSummary } from "../../contract/messages.ts";
import { runIdProblem, runsNamed } from "../../contract/run-id.ts";
import { InvalidInputError, NotFoundError } from "../../errors.ts";
import { type PrincipalClient, RequestRefusedError } from "../../protocol/client.ts";
import { type Connection, principalNow } from "./connect.ts";
import { formatRelative } from "./format.ts";

/** The argument that names a run. */
export const runArg = {
  run: { type: "positional", required: true, description: "The run's id or a prefix of it" },
} as const;

/** How many of the newest runs are searched for a prefix, by older principals: as many as a principal lists at once. */
const SEARCHED = 10_000;
const SHOWN = 8;

/**
 * The run that `text` refers to; with `outputs`, its tasks have what they published.
 * @throws NotFoundError when there is none
 * @throws InvalidInputError when it is too short or not an id, or (listing the candidates) when the prefix is ambiguous
 */
export async function findRun(
  { client }: Connection,
  text: string,
  options: { readonly outputs?: boolean } = {},
): Promise<RunDetails> {
  const problem = runIdProblem(text);
  if (problem !== undefined)
    throw new InvalidInputError(`${sentence(problem)}.`, { hint: await hintFor(client, text) });
  try {
    return await client.getRun(text, options);
  } catch (error) {
    if (!(error instanceof RequestRefusedError)) throw error;
  }
  const found = await client.listRuns({ limit: SEARCHED, id_prefix: text.toLowerCase() });
  const only = onlyRun(text, found, principalNow());
  return client.getRun(only.workflow_instance_id, options);
}

/**
 * The one of `runs` that `text` refers to.
 * @throws NotFoundError when there is none
 * @throws InvalidInputError listing the candidates when there are several
 */
export function onlyRun(text: string, runs: readonly RunSummary[], now: number): RunSummary {
  const found = runsNamed(text, runs);
  const [only] = found;
  if (only === undefined) {
    throw new NotFoundError(`No run has the id '${text}', and none begins with it.`, {
      hint: "'cdktr runs list' shows the newest runs.",
    });
  }
  if (found.length === 1) return only;
  const shown = found
    .slice(0, SHOWN)
    .map(
      (run) =>
        `  ${run.workflow_instance_id}  ${run.workflow_id}  ${run.status}  ${formatRelative(run.created_at_ms, now)}`,
    );
  const more = found.length > SHOWN ? [`  … and ${found.length - SHOWN} more`] : [];
  throw new InvalidInputError([`${found.length} runs begin with '${text}':`, ...shown, ...more].join("\n"), {
    hint: "Give a longer prefix of the id.",
  });
}

async function hintFor(client: PrincipalClient, text: string): Promise<string> {
  const known = await client.listWorkflows();
  return Object.hasOwn(known, text)
    ? `That is a workflow: 'cdktr runs list --workflow ${text}' shows the ids of its runs.`
    : "'cdktr runs list' shows the ids of the newest runs.";
}

function sentence(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
