/** Finds triggers that cannot work; most of these problems are only visible across all workflows. */
import { checkChains, locateChainProblem, TRIGGER_CODES } from "../../workflow/check-triggers.ts";
import type { KnownFile } from "./known-files.ts";
import { type LoadedWorkflow, textsOf } from "./loaded-workflow.ts";

/** Sets the `triggerProblems` of all workflows. */
export function findTriggerProblems(
  workflows: Map<string, LoadedWorkflow>,
  files: ReadonlyMap<string, KnownFile>,
): void {
  const ids = new Set(workflows.keys());
  for (const { id } of files.values()) if (id !== null) ids.add(id);
  const chains = checkChains(
    [...workflows.values()].map(({ facts }) => facts.head),
    ids,
  );
  for (const [id, workflow] of workflows) {
    const warnings = files.get(workflow.path)?.read?.facts.warnings ?? [];
    const own = warnings.filter(({ code }) => TRIGGER_CODES.has(code));
    const chain = chains.get(id);
    if (chain === undefined && own.length === 0 && workflow.triggerProblems.length === 0) continue;
    const placed =
      chain === undefined ? [] : locateChainProblem(chain, textsOf(workflow).source, workflow.path);
    workflows.set(id, { ...workflow, triggerProblems: [...own, ...placed] });
  }
}
