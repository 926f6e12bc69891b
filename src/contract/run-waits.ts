/** Which parts of a run wait for an agent, or for slots of pools, in the words of the views and of the history. */
import type { RunDetails, SliceWait } from "./messages.ts";

/** Tasks that wait together. */
type Tasks = Omit<SliceWait, "tasks" | "kind"> & {
  readonly tasks: readonly string[];
  readonly kind?: string;
};

/** What waits: all of it, or the first of very many slices and how many there are. */
export interface Waiting {
  readonly waits?: readonly Tasks[] | undefined;
  readonly waiting_slices?: number | undefined;
  readonly pool_waits?: readonly Tasks[] | undefined;
  readonly pool_waiting_slices?: number | undefined;
}

/** All that waits, as far as it is named. */
export function waitsOf({ waits = [], pool_waits = [] }: Waiting): readonly Tasks[] {
  return [...waits, ...pool_waits];
}

/** Slices that wait for the same reason. */
export interface WaitGroup {
  /** What waits, as the subject of a sentence: `It`, `Slice 3 (train)`, `12 slices (load, check and 10 more)`. */
  readonly subject: string;
  readonly isPlural: boolean;
  /** What it waits for: `an agent`, `a pool`. */
  readonly waitsFor: string;
  readonly reason: string;
  readonly hint: string | null;
  /** Since when the first of them has waited, ms since the epoch. */
  readonly since_ms: number;
}

/** The error of a run; null while it waits, because it is then that of the attempt before. */
export function presentError({
  error,
  ...run
}: Pick<RunDetails, "error" | "waits" | "pool_waits">): string | null {
  return waitsOf(run).length === 0 ? error : null;
}

/** Tasks that are named before the number of the others. */
const NAMED = 5;

/** What waits, by reason, in order. @param names how many tasks of each group are named */
export function waitGroups(waiting: Waiting, names = NAMED): WaitGroup[] {
  const { waits = [], waiting_slices, pool_waits = [], pool_waiting_slices } = waiting;
  return [
    ...groupsOf(waits, "an agent", waiting_slices, names),
    ...groupsOf(pool_waits, "a pool", pool_waiting_slices, names),
  ];
}

function groupsOf(
  waits: readonly Tasks[],
  waitsFor: string,
  waiting_slices = waits.length,
  names = NAMED,
): WaitGroup[] {
  const byReason = [...Map.groupBy(waits, ({ reason }) => reason).values()];
  const unnamed = waiting_slices - waits.length;
  // The principal names at least one slice for each reason: if there is only one reason, the others wait for it, too.
  const [only] = byReason;
  const groups = byReason.flatMap((group): WaitGroup[] => {
    const [first] = group;
    if (first === undefined) return [];
    const more = only === group && byReason.length === 1 ? unnamed : 0;
    const count = group.length + more;
    const since_ms = Math.min(...group.map((wait) => wait.since_ms));
    const { reason, hint } = first;
    const subject = subjectOf(group, more, names);
    return [{ subject, isPlural: count > 1, waitsFor, reason, hint, since_ms }];
  });
  if (unnamed > 0 && byReason.length > 1) {
    groups.push({
      subject: `${unnamed} more ${unnamed === 1 ? "slice" : "slices"}`,
      isPlural: unnamed > 1,
      waitsFor,
      reason: "for one of these reasons",
      hint: null,
      since_ms: Math.min(...groups.map((group) => group.since_ms)),
    });
  }
  return groups;
}

/** A line for each reason: `Slice 3 (train): no agent is up`, or the reason alone if the whole run waits. @param names as above */
export function waitLines(waiting: Waiting, names = NAMED): string[] {
  return waitGroups(waiting, names).map(({ subject, reason }) =>
    subject === "It" ? reason : `${subject}: ${reason}`,
  );
}

function subjectOf(group: readonly Tasks[], more: number, most: number): string {
  const slice = group[0]?.slice ?? 0;
  if (slice === 0) return "It";
  const tasks = group.flatMap((wait) => wait.tasks);
  const others = tasks.length - most + more;
  const names = tasks.slice(0, most).join(", ") + (others > 0 ? ` and ${others} more` : "");
  const count = group.length + more;
  return count === 1 ? `Slice ${slice} (${names})` : `${count} slices (${names})`;
}
