/** Numbers and how they are shown. */

/** One line of the result: what cdktr needs, beside what the same work needs without it. */
export interface Measure {
  readonly name: string;
  readonly unit: "ms" | "runs" | "runs/s" | "lines/s" | "% of a core" | "MB";
  readonly cdktr: number;
  /** What {@link baseline} is; null when nothing compares. */
  readonly against: string | null;
  readonly baseline: number | null;
}

/** The value below which the fraction `q` of the values lies. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * q))] ?? Number.NaN;
}

/** The middle of the values. */
export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** How long something takes, ms. */
export async function timed(work: () => unknown): Promise<number> {
  const started = performance.now();
  await work();
  return performance.now() - started;
}

/** The measures as a Markdown table. */
export function markdown(measures: readonly Measure[]): string {
  const rows = measures.map((measure) => {
    const { baseline, cdktr } = measure;
    return [
      measure.name,
      `${round(cdktr)} ${measure.unit}`,
      baseline === null ? "–" : `${round(baseline)} ${measure.unit}`,
      baseline === null ? "–" : `× ${(cdktr / baseline).toFixed(2)}`,
      measure.against ?? "–",
    ];
  });
  const table = [["measure", "cdktr", "baseline", "ratio", "what the baseline is"], ...rows];
  const widths =
    table[0]?.map((_, column) => Math.max(...table.map((row) => row[column]?.length ?? 0))) ?? [];
  const line = (cells: readonly string[]) =>
    `| ${cells.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join(" | ")} |`;
  const rule = `|${widths.map((width) => "-".repeat(width + 2)).join("|")}|`;
  return [line(table[0] ?? []), rule, ...table.slice(1).map(line)].join("\n");
}

function round(value: number): string {
  if (value >= 1000) return Math.round(value).toLocaleString("en");
  return value >= 100 ? value.toFixed(0) : value >= 10 ? value.toFixed(1) : value.toFixed(2);
}
