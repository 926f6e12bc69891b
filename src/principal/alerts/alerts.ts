/**
 * Raises and resolves alerts, in the unit of work that makes it so: what a run, an agent or a workflow did is never on disk without the
 * alert about it, nor the other way round. Who is told is decided in the same commit; sending is up to deliveries.ts.
 */
import type { ConsolaInstance } from "consola";
import type { Clock } from "../../clock.ts";
import type { Service } from "../../service.ts";
import type { AlertRecord } from "../../storage/operational/alerts.ts";
import type { OperationalStore, OperationalTx, RunRecord } from "../../storage/operational/store.ts";
import { type AlertKind, alertKey, kindFacts } from "../../workflow/alert-kinds.ts";
import type { WorkflowDefinition } from "../../workflow/model.ts";
import { channelsFor, failuresOf, isAbout, type NotifyRule } from "../../workflow/notify.ts";
import { logFailure } from "../log-failure.ts";
import type { PrincipalEvents } from "../principal-events.ts";
import type { NewAlert } from "./new-alert.ts";
import { factsOfRun, subjectOfRun } from "./run-alerts.ts";

/** Who is told about what, as of now. */
export interface NotifyRules {
  /** Those of a workflow, its own or inherited; undefined if it is not loaded. */
  notifyOf(workflowId: string): readonly NotifyRule[] | undefined;
  /** Those of the workflow directory itself. */
  readonly notify: readonly NotifyRule[];
  /** How long a channel collects alerts for one message, ms; 0 for one that does not exist. */
  groupMsOf(channel: string): number;
}

/** What {@link Alerts} needs. */
export interface AlertsOptions {
  readonly store: OperationalStore;
  readonly clock: Clock;
  readonly events: PrincipalEvents;
  readonly log: ConsolaInstance;
  /** The definitions of runs, for those whose workflow is not loaded. */
  readonly definitions: {
    of(tx: OperationalTx, run: RunRecord): Promise<Pick<WorkflowDefinition, "notify"> | null>;
  };
}

/** Raises and resolves alerts. Runs of workflows about which nobody is told cost nothing. */
export class Alerts implements Service {
  readonly name = "alerts";
  readonly #o: AlertsOptions;
  /** Keys of open alerts, as of the last commit or about to be: others are not looked for. */
  readonly #open = new Set<string>();
  /** Runs whose end may resolve alerts. */
  readonly #runs = new Set<string>();
  #rules: NotifyRules = { notifyOf: () => undefined, notify: [], groupMsOf: () => 0 };

  constructor(options: AlertsOptions) {
    this.#o = options;
    options.events.on("firing refused", ({ workflowId, trigger, message }) => {
      void this.#givenUp({
        kind: "dead_letter",
        key: alertKey("dead_letter", "firing", workflowId),
        workflow_id: workflowId,
        workflow_instance_id: null,
        subject: `A firing of ${workflowId} (${trigger}) was refused`,
        facts: { trigger, error: message },
        at_ms: options.clock.now(),
      });
    });
  }

  /** What was given up is nothing that a unit of work has changed. Never rejects. */
  async #givenUp(alert: NewAlert): Promise<void> {
    try {
      await this.#o.store.transact((tx) => this.raise(tx, alert));
    } catch (error) {
      logFailure(this.#o.log, `Nobody can be told: ${alert.subject}`, error);
    }
  }

  /** From now on, these rules count. */
  follow(rules: NotifyRules): void {
    this.#rules = rules;
  }

  /** Reads the open alerts; called before anything is raised. */
  async start(): Promise<void> {
    const open = await this.#o.store.read((tx) => tx.openAlerts());
    this.#open.clear();
    this.#runs.clear();
    for (const alert of open) this.#opens(alert);
  }

  async stop(): Promise<void> {}

  /** The keys of the open alerts of a kind, as of the last commit or about to be. */
  openOf(kind: AlertKind): string[] {
    return [...this.#open].filter((key) => key.startsWith(`${kind} `));
  }

  /**
   * Raises an alert, and tells the channels that are to know. Part of a unit of work.
   * @returns false if it is open already, or if nobody is told of it and it is of a kind that nobody has asked for otherwise
   */
  async raise(tx: OperationalTx, alert: NewAlert): Promise<boolean> {
    const { workflow_id: id, kind, to = [], except } = alert;
    // What belongs to the installation may be about a workflow, whose rules cannot name it.
    const isOfWorkflow = id !== null && kindFacts(kind).of === "workflow";
    const rules = (isOfWorkflow ? this.#rules.notifyOf(id) : undefined) ?? this.#rules.notify;
    const told = new Set([...channelsFor(rules, kind), ...to]);
    const channels = [...told].filter((channel) => channel !== except);
    if (channels.length === 0 && !kindFacts(kind).isAlwaysShown) return false;
    return this.#raise(tx, alert, channels);
  }

  /** Resolves the open alert with a key, and tells those who were told of it. Part of a unit of work. Returns whether there was one. */
  async resolve(tx: OperationalTx, key: string, atMs: number): Promise<boolean> {
    if (!this.#open.has(key)) return false;
    const alert = await tx.resolveAlert(key, atMs);
    tx.afterCommit(() => this.#open.delete(key));
    if (alert === null) return false;
    const told = await tx.deliveriesOf([alert.alert_id]);
    const channels = told.filter(({ about }) => about === "raised").map(({ channel }) => channel);
    await this.#tell(tx, alert, "resolved", channels);
    return true;
  }

  /** A run is over: resolves what was open about it, and raises what follows. Part of the unit of work that ends it. */
  async ended(tx: OperationalTx, run: RunRecord): Promise<void> {
    const { workflow_instance_id: id, workflow_id } = run;
    if (this.#runs.has(id)) {
      for (const { kind, key } of await tx.openAlertsOf(id))
        if (kindFacts(kind).endsWithRun) await this.resolve(tx, key, run.status_at_ms);
      tx.afterCommit(() => this.#runs.delete(id));
    }
    const hasFailed = run.status === "FAILED" || run.status === "CRASHED";
    if (!hasFailed && run.status !== "COMPLETED") return;
    const rules = await this.#rulesOf(tx, run);
    if (!rules.some((rule) => isAbout(rule, "failed") || isAbout(rule, "recovered"))) return;
    const kind = hasFailed ? "failed" : "recovered";
    // Runs of a backfill are of other days: they are told each for itself, and do not count.
    const isOfBackfill = run.backfill_id !== null;
    if (isOfBackfill && !hasFailed) return;
    const { failures, before } = isOfBackfill
      ? { failures: 1, before: 0 }
      : await tx.countToldFailure(workflow_id, hasFailed, this.#o.clock.now());
    const inARow = hasFailed ? failures : before;
    if (inARow === 0) return;
    const channels = channelsFor(rules, kind, (rule) => inARow >= failuresOf(rule));
    if (channels.length === 0) return;
    const alert: NewAlert = {
      kind,
      key: alertKey(kind, workflow_id, id),
      workflow_id,
      workflow_instance_id: id,
      subject: subjectOfRun(run, inARow),
      facts: await factsOfRun(tx, run, inARow),
      at_ms: run.status_at_ms,
    };
    await this.#raise(tx, alert, channels);
  }

  async #raise(tx: OperationalTx, alert: NewAlert, channels: readonly string[]): Promise<boolean> {
    const { kind, key, workflow_id, workflow_instance_id, at_ms } = alert;
    const { lasts } = kindFacts(kind);
    const record: AlertRecord = {
      alert_id: crypto.randomUUID(),
      kind,
      key,
      workflow_id,
      workflow_instance_id,
      subject: oneLine(alert.subject),
      facts: JSON.stringify(alert.facts),
      raised_at_ms: at_ms,
      resolved_at_ms: lasts ? null : at_ms,
    };
    if (!(await tx.raiseAlert(record))) return false;
    if (lasts) {
      this.#opens(record);
      tx.afterCommit(() => this.#opens(record));
    }
    await this.#tell(tx, record, "raised", channels);
    return true;
  }

  async #tell(
    tx: OperationalTx,
    { alert_id }: AlertRecord,
    about: "raised" | "resolved",
    channels: readonly string[],
  ): Promise<void> {
    const created_at_ms = this.#o.clock.now();
    for (const channel of channels) {
      const due_ms = created_at_ms + this.#rules.groupMsOf(channel);
      await tx.addDelivery({ alert_id, channel, about, created_at_ms, due_ms });
    }
    tx.afterCommit(() => {
      this.#o.events.emit("statuses written");
      this.#o.events.emit("alerts changed");
    });
  }

  /** The rules that count for a run: those that its workflow has now; if it has none any more, those that it had. */
  async #rulesOf(tx: OperationalTx, run: RunRecord): Promise<readonly NotifyRule[]> {
    const now = this.#rules.notifyOf(run.workflow_id);
    return now ?? (await this.#o.definitions.of(tx, run))?.notify ?? this.#rules.notify;
  }

  #opens({
    kind,
    key,
    workflow_instance_id: run,
  }: Pick<AlertRecord, "kind" | "key" | "workflow_instance_id">) {
    this.#open.add(key);
    // What is about a run that is over already has nothing to wait for.
    if (run !== null && kindFacts(kind).endsWithRun) this.#runs.add(run);
  }
}

/** Control characters would break a subject, and could forge a header. */
function oneLine(text: string): string {
  return text.replace(/[\x00-\x1f\x7f-\x9f\u2028\u2029]+/g, " ").trim();
}
