/** The metrics of listeners, reported by their own process or by the principal. */
import type { Exposition, Labels } from "./exposition.ts";

/** The state of a listener; the names are those of the protocol. */
export interface ListenerNumbers {
  readonly name: string;
  readonly state: string;
  readonly restarts: number;
  readonly fired: number;
  readonly delivered: number;
  readonly failed: number;
  readonly dropped: number;
  readonly buffered: number;
  readonly buffer_bytes: number;
  readonly last_trigger_ms: number | null;
  readonly principal_away_since_ms: number | null;
  /** Its machine, when the page covers several. */
  readonly host?: string;
  readonly pid?: number;
}

const STATES = ["running", "backing off", "stopped", "lost"] as const;

/** Adds the metrics of listeners; counters restart with each process. */
export function addListeners(page: Exposition, listeners: readonly ListenerNumbers[]): void {
  if (listeners.length === 0) return;
  const labels = ({ name, host, pid }: ListenerNumbers): Record<string, string> => ({
    listener: name,
    ...(host === undefined ? {} : { host }),
    ...(pid === undefined ? {} : { pid: String(pid) }),
  });
  const each = (value: (listener: ListenerNumbers) => number | null): [Labels, number][] =>
    listeners.flatMap((listener) => {
      const number = value(listener);
      return number === null ? [] : [[labels(listener), number]];
    });
  page.gauge(
    "cdktr_listener_state",
    "1 for the current state of the listener.",
    listeners.flatMap((listener) =>
      STATES.map((state): [Labels, number] => [
        { ...labels(listener), state },
        Number(listener.state === state),
      ]),
    ),
  );
  page.counter(
    "cdktr_listener_restarts_total",
    "How often the listener was restarted after a failure.",
    each((listener) => listener.restarts),
  );
  page.counter(
    "cdktr_listener_triggers_total",
    "Triggers that the listener sent.",
    each((listener) => listener.fired),
  );
  page.counter(
    "cdktr_listener_delivered_total",
    "Triggers that became runs.",
    each((listener) => listener.delivered),
  );
  page.counter(
    "cdktr_listener_failed_total",
    "Triggers that were refused, or that neither the disk nor the principal accepted.",
    each((listener) => listener.failed),
  );
  page.counter(
    "cdktr_listener_dropped_total",
    "Triggers that were dropped because they were too late.",
    each((listener) => listener.dropped),
  );
  page.gauge(
    "cdktr_listener_buffered",
    "Triggers buffered on the listener's disk.",
    each((listener) => listener.buffered),
  );
  page.gauge(
    "cdktr_listener_buffer_bytes",
    "Size of the buffer file.",
    each((listener) => listener.buffer_bytes),
  );
  page.gauge(
    "cdktr_listener_last_trigger_time_seconds",
    "When the listener last sent a trigger, Unix time.",
    each((listener) => (listener.last_trigger_ms === null ? null : listener.last_trigger_ms / 1000)),
  );
  page.gauge(
    "cdktr_listener_principal_away",
    "1 while the principal does not accept the listener's triggers.",
    each((listener) => Number(listener.principal_away_since_ms !== null)),
  );
}
