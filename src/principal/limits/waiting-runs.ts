/** Reads who waits for whom, among runs of concurrency groups and those that they have started. Part of a unit of work. */
import type { OperationalTx } from "../../storage/operational/store.ts";
import type { WaitingGroup, WaitingHolder } from "./stuck.ts";

/** The most runs of a group that are read of those that wait. */
const MANY = 10_000;

/** The groups for which runs wait that others have started, and all that these depend on. */
export async function waitingRuns(
  tx: OperationalTx,
): Promise<{ readonly groups: readonly WaitingGroup[]; readonly others: readonly WaitingHolder[] }> {
  const groups = new Map<string, WaitingGroup>();
  const others = new Map<string, WaitingHolder>();
  const seen = new Set<string>();

  const visitRun = async (id: string): Promise<void> => {
    if (seen.has(id)) return;
    seen.add(id);
    const run = await tx.getRun(id);
    if (run === null || run.finished_at_ms !== null) return;
    if (run.hold === "group" && run.group_key !== null) return visitGroup(run.group_key);
    const waits = await tx.listWaits(id);
    const waitsFor = waits.filter(({ kind }) => kind === "run").flatMap(({ data }) => childIn(data));
    if (waitsFor.length > 0) others.set(id, { id, waitsFor });
    for (const child of waitsFor) await visitRun(child);
  };

  const visitGroup = async (key: string): Promise<void> => {
    if (groups.has(key)) return;
    const waiting = Map.groupBy(await tx.waitingHolders(key), ({ id }) => id);
    const holders = [...waiting].map(([id, rows]) => ({ id, waitsFor: rows.map(({ child }) => child) }));
    // Where all end by themselves, nobody is stuck.
    const held = holders.length === 0 ? [] : await tx.groupHeld(key, MANY);
    groups.set(key, {
      key,
      holders,
      held: held.map(({ workflow_instance_id: id, seq, group_max: max }) => ({ id, seq, max })),
    });
    for (const { waitsFor } of holders) for (const child of waitsFor) await visitRun(child);
  };

  for (const key of await tx.groupsOfHeldChildren()) await visitGroup(key);
  return { groups: [...groups.values()], others: [...others.values()] };
}

/** The run for which a task waits, as its wait says; none if it is not created yet, or the wait is damaged. */
function childIn(data: string): string[] {
  try {
    const { child } = JSON.parse(data) as { readonly child?: string };
    return child === undefined ? [] : [child];
  } catch {
    return [];
  }
}
