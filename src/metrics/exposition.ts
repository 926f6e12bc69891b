/** The Prometheus text format, version 0.0.4. */

/** Its content type. */
export const CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8";

/** Labels of a sample. */
export type Labels = Readonly<Record<string, string>>;

/** Collects metrics in order. Names follow the Prometheus conventions: `_total` for counters, a unit where there is one. */
export class Exposition {
  readonly #lines: string[] = [];

  /** A gauge. */
  gauge(name: string, help: string, samples: number | readonly (readonly [Labels, number])[]): void {
    this.#metric(name, "gauge", help, samples);
  }

  /** A counter. */
  counter(name: string, help: string, samples: number | readonly (readonly [Labels, number])[]): void {
    this.#metric(name, "counter", help, samples);
  }

  /** A histogram, or several with labels. */
  histogram(
    name: string,
    help: string,
    histograms: Histogram | readonly (readonly [Labels, Histogram])[],
  ): void {
    this.#head(name, "histogram", help);
    const rows = histograms instanceof Histogram ? [[{}, histograms] as const] : histograms;
    for (const [labels, histogram] of rows) {
      for (const [bound, count] of histogram.cumulative()) {
        const le = bound === Number.POSITIVE_INFINITY ? "+Inf" : String(bound);
        this.#sample(`${name}_bucket`, { ...labels, le }, count);
      }
      this.#sample(`${name}_sum`, labels, histogram.sum);
      this.#sample(`${name}_count`, labels, histogram.count);
    }
  }

  toString(): string {
    return `${this.#lines.join("\n")}\n`;
  }

  #metric(
    name: string,
    type: "gauge" | "counter",
    help: string,
    samples: number | readonly (readonly [Labels, number])[],
  ): void {
    this.#head(name, type, help);
    const rows = typeof samples === "number" ? [[{}, samples] as const] : samples;
    for (const [labels, value] of rows) this.#sample(name, labels, value);
  }

  #head(name: string, type: string, help: string): void {
    this.#lines.push(`# HELP ${name} ${help.replaceAll("\\", "\\\\").replaceAll("\n", "\\n")}`);
    this.#lines.push(`# TYPE ${name} ${type}`);
  }

  #sample(name: string, labels: Labels, value: number): void {
    const pairs = Object.entries(labels).map(([key, text]) => `${key}="${escapeLabel(text)}"`);
    this.#lines.push(`${name}${pairs.length === 0 ? "" : `{${pairs.join(",")}}`} ${value}`);
  }
}

function escapeLabel(text: string): string {
  return text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n");
}

/** Counts observations by size. */
export class Histogram {
  readonly #bounds: readonly number[];
  readonly #counts: number[];
  sum = 0;
  count = 0;

  /** @param bounds upper bounds of the buckets, ascending; a bucket for larger values is added */
  constructor(bounds: readonly number[]) {
    this.#bounds = [...bounds, Number.POSITIVE_INFINITY];
    this.#counts = this.#bounds.map(() => 0);
  }

  observe(value: number): void {
    const index = this.#bounds.findIndex((bound) => value <= bound);
    this.#counts[index] = (this.#counts[index] ?? 0) + 1;
    this.sum += value;
    this.count++;
  }

  /** Cumulative counts: for each bound, how many observations do not exceed it. */
  cumulative(): [number, number][] {
    let total = 0;
    return this.#bounds.map((bound, i) => {
      total += this.#counts[i] ?? 0;
      return [bound, total];
    });
  }
}
