/**
 * Runs that would wait for themselves: a run has the last place of a group and waits for a run that it has started, which waits for a place
 * in the same group, or in one that others hold who wait in turn. Pure.
 *
 * A run that has a place can end if all the runs that it waits for can. One that waits for a place can begin if all that wait before it can,
 * and if so many of those that have a place can end that there is room. What cannot be reached so from the beginning is stuck for ever.
 */

/** A run of a group that waits for runs that it has started. */
export interface WaitingHolder {
  readonly id: string;
  /** The runs, not over yet. */
  readonly waitsFor: readonly string[];
}

/** A group of which somebody waits. */
export interface WaitingGroup {
  readonly key: string;
  /** Those that have a place and wait for runs; the others end by themselves. */
  readonly holders: readonly WaitingHolder[];
  /** Those that wait for a place, in their order. */
  readonly held: readonly { readonly id: string; readonly seq: number; readonly max: number }[];
}

/**
 * The run to fail, because it waits for itself; the newest if there are several. Once it is gone, there may be others.
 * @param groups those of which somebody waits who was started by another run, and whatever these depend on
 * @param others runs in no group that wait for runs
 */
export function stuckRun(
  groups: readonly WaitingGroup[],
  others: readonly WaitingHolder[],
): { readonly id: string; readonly group: string; readonly holder: string } | null {
  const waiting = new Map(
    [...groups.flatMap(({ holders }) => holders), ...others].map((run) => [run.id, run]),
  );
  const placeOf = new Map(
    groups.flatMap((group) => group.held.map((run, n) => [run.id, { group, n }] as const)),
  );
  const free = new Set<string>();
  const isFree = (id: string): boolean => free.has(id) || !(waiting.has(id) || placeOf.has(id));
  const mayEnd = ({ waitsFor }: WaitingHolder): boolean => waitsFor.every(isFree);
  const mayBegin = ({ holders }: WaitingGroup, max: number): boolean =>
    holders.filter(({ id }) => !isFree(id)).length < max;
  for (let before = -1; before < free.size; ) {
    before = free.size;
    for (const run of waiting.values()) if (!placeOf.has(run.id) && mayEnd(run)) free.add(run.id);
    for (const group of groups)
      for (const run of group.held) {
        if (!mayBegin(group, run.max)) break;
        free.add(run.id);
      }
  }
  // What keeps a run from going on, one step away.
  const causes = (id: string): readonly string[] => {
    const place = placeOf.get(id);
    if (place === undefined) return (waiting.get(id)?.waitsFor ?? []).filter((other) => !isFree(other));
    const { holders, held } = place.group;
    return [...holders, ...held.slice(0, place.n)].map((run) => run.id).filter((other) => !isFree(other));
  };
  const children = new Set([...waiting.values()].flatMap(({ waitsFor }) => waitsFor));
  const candidates = groups
    .flatMap(({ key, held }) => held.map((run) => ({ ...run, key })))
    .filter(({ id }) => children.has(id) && !isFree(id))
    .sort((a, b) => b.seq - a.seq);
  for (const { id, key } of candidates) {
    const holder = way(id, causes);
    if (holder !== null) return { id, group: key, holder };
  }
  return null;
}

/** The run in whose place a run would have to be to go on, if the causes lead back to the run itself; null if they do not. */
function way(from: string, causes: (id: string) => readonly string[]): string | null {
  for (const first of causes(from)) {
    const seen = new Set<string>();
    const queue = [first];
    for (let id = queue.pop(); id !== undefined; id = queue.pop()) {
      if (id === from) return first;
      if (seen.has(id)) continue;
      seen.add(id);
      queue.push(...causes(id));
    }
  }
  return null;
}
