/** Finds what is only visible across all workflows: triggers that cannot work, and tasks that cannot run another workflow. */

import type { Calendar } from "../../workflow/calendar.ts";
import { checkCalendars } from "../../workflow/check-calendars.ts";
import { checkCalls, locateCallProblems } from "../../workflow/check-calls.ts";
import { checkGroups } from "../../workflow/check-groups.ts";
import { checkNotify } from "../../workflow/check-notify.ts";
import { checkChains, locateChainProblem, TRIGGER_CODES } from "../../workflow/check-triggers.ts";
import type { KnownFile } from "./known-files.ts";
import { type LoadedWorkflow, textsOf } from "./loaded-workflow.ts";

/** What the workflow directory itself has. */
interface KnownSettings {
  readonly calendars: ReadonlyMap<string, Calendar>;
  readonly channels: ReadonlyMap<string, unknown>;
}

/** Sets the `triggerProblems` of all workflows. @param settings the calendars and the channels that there are, by name */
export function findTriggerProblems(
  workflows: Map<string, LoadedWorkflow>,
  files: ReadonlyMap<string, KnownFile>,
  { calendars, channels }: KnownSettings,
): void {
  const names = Object.fromEntries(channels);
  const all = [...workflows.values()].map(({ facts }) => facts);
  // There may be 100,000, of which one has changed: what none of them has is not looked for.
  const isFollowing = all.some(({ head }) => head.on?.workflow != null);
  const isCalling = all.some((facts) => facts.calls !== undefined);
  const ids = new Set<string>();
  if (isFollowing || isCalling) {
    for (const id of workflows.keys()) ids.add(id);
    for (const { id } of files.values()) if (id !== null) ids.add(id);
  }
  const chains = isFollowing
    ? checkChains(
        all.map(({ head }) => head),
        ids,
      )
    : null;
  const calls = isCalling
    ? checkCalls(
        all.map(({ head, calls = [] }) => ({ id: head.id, params: head.params, calls })),
        ids,
      )
    : null;
  const groups = all.some(({ head }) => head.concurrency !== undefined)
    ? checkGroups(all.map(({ head, calls = [] }) => ({ id: head.id, concurrency: head.concurrency, calls })))
    : null;
  for (const [id, workflow] of workflows) {
    const warnings = files.get(workflow.path)?.read?.facts.warnings ?? NONE;
    const own = warnings.length === 0 ? NONE : warnings.filter(({ code }) => TRIGGER_CODES.has(code));
    const chain = chains?.get(id);
    const called = joined([
      calls?.get(id),
      groups?.get(id),
      checkCalendars(workflow.facts.head.schedules, calendars),
      checkNotify(workflow.facts.head.notify, names),
    ]);
    const isFine = chain === undefined && called.length === 0 && own.length === 0;
    if (isFine && workflow.triggerProblems.length === 0) continue;
    const source = isFine ? "" : textsOf(workflow).source;
    const placed = [
      ...(chain === undefined ? [] : locateChainProblem(chain, source, workflow.path)),
      ...(called.length === 0 ? [] : locateCallProblems(called, source, workflow.path)),
    ];
    workflows.set(id, { ...workflow, triggerProblems: [...own, ...placed] });
  }
}

const NONE: readonly never[] = [];

/** All that is in these lists: most are empty. */
function joined<T>(lists: readonly (readonly T[] | undefined)[]): readonly T[] {
  return lists.every((list) => list === undefined || list.length === 0)
    ? NONE
    : lists.flatMap((list) => list ?? NONE);
}
