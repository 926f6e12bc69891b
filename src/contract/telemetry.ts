/** Where traces and logs are sent, and what became of them. */
import type { Sampling } from "./trace-context.ts";

/** The two signals that are exported. */
export const SIGNALS = ["traces", "logs"] as const;
export type Signal = (typeof SIGNALS)[number];

/** Where a signal is sent. */
export interface TelemetryTarget {
  readonly url: string;
  /** May hold credentials: they are shown nowhere. */
  readonly headers: Readonly<Record<string, string>>;
  readonly encoding: "protobuf" | "json";
  readonly isCompressed: boolean;
  /** How long a request may take, ms. */
  readonly timeoutMs: number;
  /** Files with PEM: whom to trust instead of the authorities of the system, and the own certificate with its key. */
  readonly caFile?: string | undefined;
  readonly certificateFile?: string | undefined;
  readonly keyFile?: string | undefined;
}

/** What is exported, and where to. */
export interface TelemetrySettings {
  /** Attributes of everything that is exported. */
  readonly resource: Readonly<Record<string, string>>;
  readonly sampling: Sampling;
  readonly traces: TelemetryTarget | null;
  readonly logs: TelemetryTarget | null;
}

/** What became of what was to be exported, since the history started. */
export interface SignalCounts {
  /** Spans, or lines, that were accepted. */
  readonly exported: number;
  /** Those that were lost: there was no space, or they were refused for good. */
  readonly dropped: number;
  /** Requests that failed, and were repeated unless they were refused for good. */
  readonly failures: number;
  /** Those that wait. */
  readonly queued: number;
}

/** The counts of each signal that is exported. */
export type TelemetryCounts = Partial<Record<Signal, SignalCounts>>;
