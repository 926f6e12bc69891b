/** In which order test files run, and which of them have the machine to themselves. */

/** Seconds that each file took, by path. */
export type Seconds = Readonly<Record<string, number>>;

/** Files that compare times, or load the machine until something gives. */
export const MEASURING: readonly string[] = [
  "test/e2e/bench.test.ts",
  "test/e2e/hostile.test.ts",
  "test/e2e/start-up.test.ts",
];

/** What runs side by side, and after it what runs alone. */
export interface Plan {
  readonly together: readonly string[];
  readonly alone: readonly string[];
}

/** The longest file comes first, so that no worker sits idle at the end; one that never ran may be long. */
export function planOf(files: readonly string[], seconds: Seconds): Plan {
  const time = (file: string) => seconds[file] ?? Number.POSITIVE_INFINITY;
  const ordered = files.toSorted((a, b) => (time(a) === time(b) ? 0 : time(b) - time(a)));
  return {
    together: ordered.filter((file) => !MEASURING.includes(file)),
    alone: ordered.filter((file) => MEASURING.includes(file)),
  };
}

/** The files that took longest, `7.5 s  path` each. */
export function slowest(seconds: Seconds, count: number): string[] {
  return Object.entries(seconds)
    .sort(([, a], [, b]) => b - a)
    .slice(0, count)
    .map(([file, time]) => `${time.toFixed(1).padStart(6)} s  ${file}`);
}
