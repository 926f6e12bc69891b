/** The listeners that report to the principal, wherever they run. Kept in memory: they report again after a restart. */
import type { Clock } from "../clock.ts";
import type { ListenerSummary, ReportListeners } from "../contract/messages.ts";

/** A process that has not reported for this long is lost, ms; reports come every 5 s. */
const LOST_MS = 30_000;
/** Listeners that have not reported for this long are forgotten, ms. */
const FORGOTTEN_MS = 24 * 3_600_000;
/** Maximum number of listeners; beyond it, those that have been silent longest are forgotten. */
const CAPACITY = 1000;

interface Known {
  readonly sourceId: string;
  readonly summary: ListenerSummary;
  /** Monotonic. */
  readonly heardMs: number;
}

export class ListenerRegistry {
  readonly #clock: Clock;
  /** Ordered by their last report. */
  #known: Known[] = [];

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** Stores the report of a process; a listener that replaces another one keeps its identity. */
  report({ source_id: sourceId, host, pid, listeners }: ReportListeners): void {
    const heardMs = this.#clock.monotonic();
    const names = new Set(listeners.map((listener) => listener.name));
    const last_report_ms = this.#clock.now();
    const others = this.#known.filter(
      (known) =>
        known.sourceId !== sourceId &&
        !(known.summary.host === host && names.has(known.summary.name) && this.#stateOf(known) !== "running"),
    );
    const fresh = listeners.map((listener) => ({
      sourceId,
      summary: { ...listener, host, pid, last_report_ms },
      heardMs,
    }));
    this.#known = [...others, ...fresh].slice(-CAPACITY);
  }

  /** Sorted by name and host. */
  list(): ListenerSummary[] {
    const oldest = this.#clock.monotonic() - FORGOTTEN_MS;
    this.#known = this.#known.filter((known) => known.heardMs >= oldest);
    return this.#known
      .map((known) => ({ ...known.summary, state: this.#stateOf(known) }))
      .sort((a, b) => a.name.localeCompare(b.name) || a.host.localeCompare(b.host) || a.pid - b.pid);
  }

  #stateOf({ summary, heardMs }: Known): ListenerSummary["state"] {
    const silent = this.#clock.monotonic() - heardMs > LOST_MS;
    return silent && summary.state !== "stopped" ? "lost" : summary.state;
  }
}
