/**
 * Evaluates the alert files at their intervals, one at a time: each row of a result is an alert, raised when it appears and resolved when it
 * is gone, in the commit that also keeps how far the evaluations are. So neither a restart nor a second evaluation raises it again. What
 * was missed while the principal was down is evaluated once.
 */
import type { ConsolaInstance } from "consola";
import type { Clock } from "../../clock.ts";
import { HistoryUnavailableError } from "../../contract/history.ts";
import type { AlertQueryStatus } from "../../contract/messages.ts";
import { errorMessage } from "../../errors.ts";
import { BackgroundService } from "../../service.ts";
import type { QueryAlertRecord } from "../../storage/operational/query-alerts.ts";
import type { OperationalStore, OperationalTx } from "../../storage/operational/store.ts";
import { type AlertQuery, MAX_ALERT_ROWS } from "../../workflow/alert-file.ts";
import { type AlertRows, alertRows, nameOf } from "../../workflow/alert-rows.ts";
import { checkTold } from "../../workflow/check-notify.ts";
import { IDENTIFIER } from "../../workflow/model.ts";
import type { Alerts } from "../alerts/alerts.ts";
import type { HistoryAccess } from "../history/history-access.ts";
import { logFailure } from "../log-failure.ts";
import type { PrincipalEvents } from "../principal-events.ts";
import { rowChanges } from "./query-rows.ts";

/** What the evaluations need. */
interface QueryAlertsOptions {
  readonly store: OperationalStore;
  readonly clock: Clock;
  readonly events: Pick<PrincipalEvents, "on">;
  readonly log: ConsolaInstance;
  readonly history: Pick<HistoryAccess, "evaluate">;
  readonly alerts: Pick<Alerts, "raise" | "resolve">;
  readonly workflows: {
    readonly alertFiles: ReadonlyMap<string, AlertQuery>;
    readonly channels: ReadonlyMap<string, unknown>;
  };
}

/** The longest time between two looks at what is due, ms: the clock may be set, and the host may sleep. */
const LONGEST_SLEEP_MS = 60_000;
/** How soon a file is evaluated again after the history could not be read, ms. */
const AGAIN_MS = 30_000;
/** The longest id of a workflow or a run, characters. */
const LONGEST_ID = 200;
/** So many failures in a row are an alert of their own. */
const FAILURES = 3;

/** Events for tests. */
interface QueryAlertsSignals {
  /** A file was evaluated, or could not be. */
  readonly evaluated: QueryAlertRecord;
  /** Nothing is due now. */
  readonly idle: undefined;
}

/** Evaluates them. */
export class QueryAlerts extends BackgroundService<QueryAlertsSignals> {
  readonly name = "alert queries";
  readonly #o: QueryAlertsOptions;
  readonly #records = new Map<string, QueryAlertRecord>();
  /** The files as they were evaluated or planned last. */
  #files: ReadonlyMap<string, AlertQuery> = new Map();
  #working: Promise<void> | undefined;
  readonly #timer = this.timer(() => this.#work());

  constructor(options: QueryAlertsOptions) {
    super(options.clock);
    this.#o = options;
    options.events.on("alert files changed", () => this.#work());
  }

  protected override async onStart(): Promise<void> {
    for (const record of await this.#o.store.read((tx) => tx.listQueryAlerts()))
      this.#records.set(record.file, record);
    this.#files = this.#o.workflows.alertFiles;
    this.#work();
  }

  protected override async onStop(): Promise<void> {
    await this.#working;
  }

  /** The alert files in use, and how their evaluations are. */
  async list(): Promise<AlertQueryStatus[]> {
    const counts = await this.#o.store.read((tx) => tx.countQueryRows());
    const channels = Object.fromEntries(this.#o.workflows.channels);
    return [...this.#o.workflows.alertFiles.values()].map((alert) => {
      const { path: file, every_ms, severity, to = [] } = alert;
      const record = this.#records.get(file);
      const { raised = 0, pending = 0 } = counts.get(file) ?? {};
      return {
        file,
        name: nameOf(alert),
        severity,
        to: [...to],
        every_ms,
        evaluated_at_ms: record?.evaluated_at_ms ?? null,
        next_ms: record?.next_ms ?? null,
        rows: record?.rows ?? 0,
        raised,
        pending,
        error: record?.error ?? null,
        problem: checkTold(to, channels)[0]?.message ?? null,
      };
    });
  }

  /** Evaluates what is due, unless that is being done. */
  #work(): void {
    if (this.isStopping || this.#working !== undefined) return;
    this.#working = this.#evaluateDue()
      .catch((error) => this.#o.log.error(`Alert files cannot be evaluated: ${errorMessage(error)}`, error))
      .finally(() => {
        this.#working = undefined;
        if (this.isStopping) return;
        this.#sleep();
        this.signals.emit("idle");
      });
  }

  #sleep(): void {
    const now = this.clock.now();
    const files = this.#o.workflows.alertFiles;
    // They have changed since.
    const isChanged = files !== this.#files;
    if (!isChanged && files.size === 0) return;
    const next = Math.min(...[...files.keys()].map((file) => this.#records.get(file)?.next_ms ?? now));
    this.#timer.in(isChanged ? 0 : Math.min(Math.max(0, next - now), LONGEST_SLEEP_MS));
  }

  async #evaluateDue(): Promise<void> {
    for (;;) {
      await this.#takeOver();
      const due = this.#nextDue();
      if (due === undefined || this.isStopping) return;
      await this.#evaluate(due);
    }
  }

  /** Takes over the files as they are now: what has changed is due, and the alerts of what is gone are over. */
  async #takeOver(): Promise<void> {
    const files = this.#o.workflows.alertFiles;
    const now = this.clock.now();
    for (const [file, alert] of files) {
      const record = this.#records.get(file);
      if (record === undefined) continue;
      const before = this.#files.get(file);
      const isChanged = before === undefined || JSON.stringify(before) !== JSON.stringify(alert);
      // Also when the clock was set back, or the interval has become shorter.
      const next_ms = isChanged ? now : Math.min(record.next_ms, now + alert.every_ms);
      if (next_ms !== record.next_ms) this.#records.set(file, { ...record, next_ms });
    }
    this.#files = files;
    for (const file of [...this.#records.keys()].filter((each) => !files.has(each))) {
      await this.#o.store.transact(async (tx) => {
        for (const { key, is_raised } of await tx.listQueryRows(file))
          if (is_raised) await this.#o.alerts.resolve(tx, keyOf(file, key), now);
        await this.#o.alerts.resolve(tx, keyOfError(file), now);
        await tx.removeQueryAlert(file);
      });
      this.#records.delete(file);
    }
  }

  #nextDue(): AlertQuery | undefined {
    const now = this.clock.now();
    let due: { readonly alert: AlertQuery; readonly next_ms: number } | undefined;
    for (const [file, alert] of this.#files) {
      const next_ms = this.#records.get(file)?.next_ms ?? Number.NEGATIVE_INFINITY;
      if (next_ms <= now && (due === undefined || next_ms < due.next_ms)) due = { alert, next_ms };
    }
    return due?.alert;
  }

  async #evaluate(alert: AlertQuery): Promise<void> {
    const { path: file, query, every_ms, timeout_ms } = alert;
    const before = this.#records.get(file);
    const begunMs = this.clock.now();
    let found: AlertRows | Error;
    try {
      const result = await this.#o.history.evaluate({ sql: query, max_rows: MAX_ALERT_ROWS }, timeout_ms);
      // What has not reached the history might change the result.
      if (result.warning !== null) throw new HistoryUnavailableError(result.warning);
      found = alertRows(alert, result);
    } catch (error) {
      if (this.isStopping) return;
      found = error instanceof Error ? error : new Error(errorMessage(error));
    }
    const record = recordOf(alert, before, found, begunMs);
    if (found instanceof HistoryUnavailableError) {
      this.#took(record, before);
      return;
    }
    try {
      await this.#o.store.transact(async (tx) => {
        if (!(found instanceof Error)) await this.#change(tx, alert, found, begunMs);
        await this.#tellFailures(tx, alert, record, before, begunMs);
        await tx.putQueryAlert(record);
      });
    } catch (error) {
      // Nothing has changed; it is evaluated again.
      const next_ms = begunMs + Math.min(every_ms, AGAIN_MS);
      const why = `its alerts cannot be stored: ${errorMessage(error)}`;
      this.#took({ ...(before ?? record), next_ms, error: why }, before);
      logFailure(this.#o.log, `Alerts of ${file} cannot be stored`, error);
      return;
    }
    this.#took(record, before);
  }

  #took(record: QueryAlertRecord, before: QueryAlertRecord | undefined): void {
    this.#records.set(record.file, record);
    this.signals.emit("evaluated", record);
    // The history says itself that it is away.
    if (record.failures === (before?.failures ?? 0) && record.error !== null) return;
    if (record.error !== null && record.error !== before?.error)
      this.#o.log.warn(`${record.file} was not evaluated: ${record.error}`);
    else if (record.failures === 0 && (before?.failures ?? 0) > 0)
      this.#o.log.success(`${record.file} is evaluated again`);
  }

  async #change(tx: OperationalTx, alert: AlertQuery, found: AlertRows, nowMs: number): Promise<void> {
    const { path: file } = alert;
    const known = new Map((await tx.listQueryRows(file)).map((row) => [row.key, row]));
    const changes = rowChanges(known, found, alert, nowMs);
    for (const key of changes.resolve) await this.#o.alerts.resolve(tx, keyOf(file, key), nowMs);
    for (const key of changes.remove) await tx.removeQueryRow(file, key);
    for (const row of changes.put) await tx.putQueryRow(file, row);
    for (const { key, summary, row } of changes.raise)
      await this.#o.alerts.raise(tx, {
        kind: "query",
        key: keyOf(file, key),
        workflow_id: idIn(row, "workflow_id"),
        workflow_instance_id: idIn(row, "workflow_instance_id"),
        subject: summary,
        facts: { ...factsOf(alert), key, row: row as Record<string, never> },
        at_ms: nowMs,
        ...(alert.to === undefined ? {} : { to: alert.to }),
      });
  }

  /** A query that goes on failing is an alert of its own, which ends with its next success. */
  async #tellFailures(
    tx: OperationalTx,
    alert: AlertQuery,
    { failures, error }: QueryAlertRecord,
    before: QueryAlertRecord | undefined,
    nowMs: number,
  ): Promise<void> {
    const { path: file } = alert;
    if (failures === 0) {
      if ((before?.failures ?? 0) >= FAILURES) await this.#o.alerts.resolve(tx, keyOfError(file), nowMs);
      return;
    }
    if (failures < FAILURES) return;
    await this.#o.alerts.raise(tx, {
      kind: "query",
      key: keyOfError(file),
      workflow_id: null,
      workflow_instance_id: null,
      subject: `${nameOf(alert)} cannot be evaluated: ${oneLine(error ?? "")}`,
      facts: { ...factsOf(alert), error: error ?? "" },
      at_ms: nowMs,
      ...(alert.to === undefined ? {} : { to: alert.to }),
    });
  }
}

/** The key of an alert of a row, and of one about a query that fails. */
const keyOf = (file: string, key: string) => `query ${file} ${key}`;
const keyOfError = (file: string) => `query ${file}`;

function factsOf(alert: AlertQuery): Record<string, string> {
  const { path: file, severity, description } = alert;
  return { file, name: nameOf(alert), severity, ...(description === undefined ? {} : { description }) };
}

/** How the evaluations of a file are after this one. */
function recordOf(
  { path: file, every_ms }: AlertQuery,
  before: QueryAlertRecord | undefined,
  found: AlertRows | Error,
  nowMs: number,
): QueryAlertRecord {
  if (!(found instanceof Error)) {
    const { size } = found.keys;
    return { file, evaluated_at_ms: nowMs, next_ms: nowMs + every_ms, error: null, rows: size, failures: 0 };
  }
  const isAway = found instanceof HistoryUnavailableError;
  return {
    file,
    evaluated_at_ms: before?.evaluated_at_ms ?? null,
    next_ms: nowMs + (isAway ? Math.min(every_ms, AGAIN_MS) : every_ms),
    error: found.message,
    rows: before?.rows ?? 0,
    // The query is not to blame.
    failures: (before?.failures ?? 0) + (isAway ? 0 : 1),
  };
}

/** An id in a column that is named like one; a query may have put any text there. */
function idIn(row: Readonly<Record<string, unknown>>, column: string): string | null {
  const value = Object.hasOwn(row, column) ? row[column] : null;
  return typeof value === "string" && value.length <= LONGEST_ID && IDENTIFIER.test(value) ? value : null;
}

function oneLine(text: string): string {
  const line = text.replace(/\s+/g, " ");
  return line.length <= 200 ? line : `${line.slice(0, 200).toWellFormed()}…`;
}
