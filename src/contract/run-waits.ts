/** What of a run waits for an agent, as views show it. */
import type { RunDetails } from "./messages.ts";

/** Slices that wait for the same reason. */
export interface WaitGroup {
  /** What waits, as the subject of a sentence: `It`, `Slice 3 (train)`, `12 slices (load, check and 10 more)`. */
  readonly subject: string;
  readonly isPlural: boolean;
  readonly reason: string;
  readonly hint: string | null;
  /** Since when the first of them has waited, ms since the epoch. */
  readonly since_ms: number;
}

/** Tasks that are named before the number of the others. */
const NAMED = 5;

/** What waits, by reason, in order. */
export function waitGroups({ waits = [], waiting_slices = waits.length }: RunDetails): WaitGroup[] {
  const groups = Map.groupBy(waits, ({ reason }) => reason);
  // The principal names only the first of very many; the others wait for the same most of the time.
  let unnamed = waiting_slices - waits.length;
  return [...groups.values()].flatMap((group): WaitGroup[] => {
    const [first] = group;
    if (first === undefined) return [];
    const count = group.length + unnamed;
    const tasks = group.flatMap((wait) => wait.tasks);
    const more = tasks.length - NAMED + unnamed;
    unnamed = 0;
    const names = tasks.slice(0, NAMED).join(", ") + (more > 0 ? ` and ${more} more` : "");
    const subject =
      first.slice === 0
        ? "It"
        : count === 1
          ? `Slice ${first.slice} (${names})`
          : `${count} slices (${names})`;
    const { reason, hint } = first;
    return [
      {
        subject,
        isPlural: count > 1,
        reason,
        hint,
        since_ms: Math.min(...group.map((wait) => wait.since_ms)),
      },
    ];
  });
}
