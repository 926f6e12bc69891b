/** In which order test files run, how many at once, and which of them have the machine to themselves. */

/** What a file took: seconds, and how many of them of a processor. */
export type Cost = readonly [seconds: number, cpu: number];

/** What each file took, by path. */
export type Costs = Readonly<Record<string, Cost>>;

/** Files that compare times. */
export const MEASURING: readonly string[] = ["test/e2e/start-up.test.ts"];

/** Processors that a file is assumed to keep busy while it is not known. */
const USUAL = 0.6;

/** Processors that are spoken for for each that there is: a file does not keep them busy all the time. */
const FULL = 1.25;

/** What runs side by side, and after it what runs alone. */
export interface Plan {
  readonly together: readonly string[];
  readonly alone: readonly string[];
}

/** The longest file comes first, so that no processor is idle at the end; one that never ran may be long. */
export function planOf(files: readonly string[], costs: Costs): Plan {
  const time = (file: string) => costs[file]?.[0] ?? Number.POSITIVE_INFINITY;
  const ordered = files.toSorted((a, b) => (time(a) === time(b) ? 0 : time(b) - time(a)));
  return {
    together: ordered.filter((file) => !MEASURING.includes(file)),
    alone: ordered.filter((file) => MEASURING.includes(file)),
  };
}

/** How many processors a file keeps busy. */
export function loadOf(file: string, costs: Costs): number {
  const [seconds, cpu] = costs[file] ?? [1, USUAL];
  return cpu / Math.max(seconds, 0.1);
}

/**
 * Does the work for each file, in their order. Many files wait for processes that they start: the next one begins as long as those
 * that run leave a processor free.
 * @param most how many run at once in any case
 */
export async function inParallel(
  files: readonly string[],
  options: { readonly costs: Costs; readonly processors: number; readonly most: number },
  work: (file: string) => Promise<void>,
): Promise<void> {
  const queue = [...files];
  const running = new Map<string, Promise<void>>();
  for (;;) {
    const load = [...running.keys()].reduce((sum, file) => sum + loadOf(file, options.costs), 0);
    const isFree = running.size === 0 || (load < options.processors * FULL && running.size < options.most);
    const file = isFree ? queue.shift() : undefined;
    if (file !== undefined) {
      running.set(
        file,
        work(file).finally(() => running.delete(file)),
      );
    } else if (running.size > 0) await Promise.race(running.values());
    else return;
  }
}

/** The files that took longest, `7.5 s  path` each. */
export function slowest(costs: Costs, count: number): string[] {
  return Object.entries(costs)
    .sort(([, [a]], [, [b]]) => b - a)
    .slice(0, count)
    .map(([file, [time]]) => `${time.toFixed(1).padStart(6)} s  ${file}`);
}
