/**
 * Exports traces and logs by OTLP over HTTP. It gets what the history has just written, so nothing is exported that is not in the
 * history, and it runs in the process of the history: whatever the receiver does, coordination does not notice.
 *
 * What waits here is in memory only: it is lost when the process is killed, and what the history took meanwhile is exported when it is
 * written, however late.
 */
import type { ConsolaInstance } from "consola";
import { VERSION } from "../../build-facts.ts";
import { SIGNALS, type TelemetryCounts, type TelemetrySettings } from "../../contract/telemetry.ts";
import { errorMessage } from "../../errors.ts";
import { BackgroundService, type Service, startServices } from "../../service.ts";
import type { HistoryBatch } from "../database/write.ts";
import { logRecords } from "./log-records.ts";
import { attributes, logsRequest, type Origin, type Span, tracesRequest } from "./otlp.ts";
import { Sender, shown } from "./sender.ts";
import { SpanMaker } from "./spans.ts";

/** How long rows may wait before they are written and exported, ms, where traces or logs are exported. */
export const EXPORT_WITHIN_MS = 5000;

const LIMITS = {
  traces: { queueLength: 10_000, queueBytes: 32 * 1024 ** 2, batchLength: 2000, batchBytes: 1024 ** 2 },
  logs: { queueLength: 200_000, queueBytes: 32 * 1024 ** 2, batchLength: 5000, batchBytes: 1024 ** 2 },
} as const;
/** Approximate size of a span without its texts, bytes. */
const SPAN_BYTES = 1000;
/** Approximate size of a log record in addition to its characters, bytes. */
const RECORD_BYTES = 100;

/** Options of {@link Exporter}. */
export interface ExporterOptions {
  readonly settings: TelemetrySettings;
  readonly log: ConsolaInstance;
  /** The contexts that triggers of runs have brought lately: run and `traceparent`. @throws HistoryUnavailableError */
  readonly broughtContexts: () => Promise<readonly (readonly [string, string])[]>;
}

/** Its signals. */
interface ExporterSignals {
  /** A batch was taken in. */
  readonly taken: undefined;
}

export class Exporter extends BackgroundService<ExporterSignals> {
  readonly name = "exporter";
  readonly #o: ExporterOptions;
  readonly #spans: SpanMaker;
  readonly #senders: { readonly traces?: Sender<Span>; readonly logs?: Sender<string> };
  #recalled: Promise<void> | undefined;
  /** Batches are taken in one after the other. */
  #taking: Promise<void> = Promise.resolve();

  constructor(options: ExporterOptions) {
    super();
    this.#o = options;
    const { settings, log } = options;
    this.#spans = new SpanMaker(settings.sampling);
    const origin: Origin = {
      resource: { attributes: attributes(settings.resource) },
      scope: { name: "cdktr", version: VERSION },
    };
    const { traces, logs } = settings;
    this.#senders = {
      ...(traces && {
        traces: new Sender<Span>({
          what: "traces",
          target: traces,
          encode: (spans) => tracesRequest(origin, spans, traces.encoding),
          log,
          ...LIMITS.traces,
        }),
      }),
      ...(logs && {
        logs: new Sender<string>({
          what: "logs",
          target: logs,
          encode: (lines) => {
            const records = logRecords(lines, (id) => this.#spans.contextOf(id), this.clock.now());
            return logsRequest(origin, records, logs.encoding);
          },
          log,
          ...LIMITS.logs,
        }),
      }),
    };
  }

  /** What became of what was to be exported. */
  get counts(): TelemetryCounts {
    const counts: TelemetryCounts = {};
    for (const signal of SIGNALS) {
      const sender = this.#senders[signal];
      if (sender !== undefined) counts[signal] = sender.counts;
    }
    return counts;
  }

  /**
   * These rows and lines are in the history now.
   * @param isAll whether there are no more rows yet
   */
  written({ statuses, logs }: Pick<HistoryBatch, "statuses" | "logs">, isAll: boolean): void {
    this.#recalled ??= this.#recall();
    this.#taking = Promise.all([this.#taking, this.#recalled]).then(() => {
      const { traces, logs: lines } = this.#senders;
      const spans = this.#spans.take(statuses);
      if (isAll) spans.push(...this.#spans.settle());
      traces?.add(
        spans.map((span) => ({ item: span, bytes: SPAN_BYTES + (span.status?.message?.length ?? 0) })),
      );
      if (lines !== undefined)
        for (const slice of logs)
          lines.add(slice.lines.map((line) => ({ item: line, bytes: line.length + RECORD_BYTES })));
      this.signals.emit("taken");
    });
    this.track(this.#taking);
  }

  /** What an earlier process knew of runs that still go on. */
  async #recall(): Promise<void> {
    try {
      for (const [runId, traceparent] of await this.#o.broughtContexts())
        this.#spans.recall(runId, traceparent);
    } catch (error) {
      this.#o.log.debug(`The contexts of earlier runs cannot be read: ${errorMessage(error)}`);
    }
  }

  get #services(): readonly Service[] {
    return Object.values(this.#senders);
  }

  protected override async onStart(): Promise<void> {
    await startServices(this.#services);
    const { settings, log } = this.#o;
    const places = SIGNALS.flatMap((signal) => {
      const target = settings[signal];
      return target === null ? [] : [`${signal} to ${shown(target.url)}`];
    });
    log.info(`Sends ${places.join(" and ")}, as the variables of OpenTelemetry (OTEL_…) say.`);
  }

  protected override async onStop(): Promise<void> {
    await this.#taking;
    // A receiver that does not answer is waited for once, not for each signal.
    await Promise.all(this.#services.map((sender) => sender.stop()));
  }
}
