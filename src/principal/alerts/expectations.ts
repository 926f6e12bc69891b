/**
 * What is expected of workflows and of their runs: kept, broken and made in the units of work that create, start and end runs, and that
 * pause and resume workflows. Whatever is broken is raised as an alert in the same commit. What nothing but time breaks is found by
 * {@link ExpectationWatch}. Workflows of which nobody expects anything cost nothing.
 */
import type { Clock } from "../../clock.ts";
import type { ExpectationRecord } from "../../storage/operational/expectations.ts";
import type { OperationalStore, OperationalTx, RunRecord } from "../../storage/operational/store.ts";
import type { Calendar } from "../../workflow/calendar.ts";
import {
  type Deadline,
  type FinishPlan,
  finishPlan,
  lastDeadline,
  nextDeadline,
} from "../../workflow/deadlines.ts";
import type { Expect } from "../../workflow/expect.ts";
import type { WorkflowDefinition } from "../../workflow/model.ts";
import { RUN_TRANSITIONS } from "../../workflow/run-state.ts";
import { isTerminal } from "../../workflow/status.ts";
import type { PrincipalEvents } from "../principal-events.ts";
import type { Alerts } from "./alerts.ts";
import {
  type FinishExpectation,
  NEVER_MS,
  type PeriodExpectation,
  type RunExpectation,
  readExpectation,
} from "./expectation-data.ts";
import { brokenAlert, lateKey, missedKey } from "./expectation-words.ts";

/** What of a workflow decides about what is expected of it. */
export type ExpectingWorkflow = Pick<
  WorkflowDefinition,
  "id" | "name" | "expect" | "cron" | "timezone" | "start_time_ms" | "catchup" | "schedules"
>;

/** What {@link Expectations} needs. */
export interface ExpectationsOptions {
  readonly clock: Clock;
  readonly events: PrincipalEvents;
  /** The definitions of runs. */
  readonly definitions: {
    of(tx: OperationalTx, run: RunRecord): Promise<Pick<WorkflowDefinition, "expect"> | null>;
  };
  /** Tells those who are to know. */
  readonly alerts: Pick<Alerts, "raise" | "resolve">;
  /** Says why a run waits. */
  readonly waits: { why(tx: OperationalTx, run: RunRecord): Promise<readonly { readonly reason: string }[]> };
  /** IANA name of the zone for workflows without one. */
  readonly zone: string;
}

/** What is expected of a workflow as its file is now. */
interface Planned {
  readonly workflow: ExpectingWorkflow;
  readonly calendars: ReadonlyMap<string, Calendar>;
  readonly expect: Expect;
  /** The deadlines of `finish_by`; null without one. */
  readonly finish: FinishPlan | null;
  /** Identifies all that decides about these. */
  readonly spec: string;
}

/** Keeps what is expected. */
export class Expectations {
  readonly #o: ExpectationsOptions;
  /** Of workflows, and those of runs that are RAISED, by workflow; as of the last commit. */
  readonly #known = new Map<string, Map<string, ExpectationRecord>>();
  /** Workflows that have, or are about to have, expectations. */
  readonly #concerned = new Set<string>();
  #plans: ReadonlyMap<string, Planned> = new Map();
  /** Workflows whose files are there, but expect nothing any more. */
  #unexpecting: ReadonlySet<string> = new Set();

  constructor(options: ExpectationsOptions) {
    this.#o = options;
  }

  /** Reads what is expected; called before anything else. */
  async load(store: OperationalStore): Promise<void> {
    const { all, workflows } = await store.read(async (tx) => ({
      all: await tx.listExpectations(),
      workflows: await tx.expectedWorkflows(),
    }));
    this.#known.clear();
    for (const row of all) this.#note(row);
    this.#concerned.clear();
    for (const id of workflows) this.#concerned.add(id);
  }

  /**
   * The workflows as they are now.
   * @returns those of which something else may be expected than before
   */
  workflowsAre(
    workflows: Iterable<ExpectingWorkflow>,
    calendars: ReadonlyMap<string, Calendar>,
  ): readonly string[] {
    const plans = new Map<string, Planned>();
    const changed: string[] = [];
    const unexpecting = new Set<string>();
    for (const workflow of workflows) {
      const { id, expect } = workflow;
      if (expect === undefined) {
        if (this.#known.has(id)) {
          changed.push(id);
          unexpecting.add(id);
        }
        continue;
      }
      const before = this.#plans.get(id);
      const isSame = before?.workflow === workflow && before.calendars === calendars;
      if (!isSame) changed.push(id);
      plans.set(id, isSame ? before : this.#plan(workflow, expect, calendars));
    }
    this.#plans = plans;
    this.#unexpecting = unexpecting;
    return changed;
  }

  /** Workflows of which something is expected, or was. */
  get workflows(): ReadonlySet<string> {
    return new Set([...this.#plans.keys(), ...this.#known.keys()]);
  }

  /** Whether its file is there, and expects something. */
  isPlanned(workflowId: string): boolean {
    return this.#plans.has(workflowId);
  }

  /** All that is known of a workflow as of the last commit: what is expected of it, and what its runs have broken. */
  of(workflowId: string): ExpectationRecord[] {
    return [...(this.#known.get(workflowId)?.values() ?? [])].filter(({ rule }) => rule !== "resumed");
  }

  /** What is broken now, of all workflows. */
  broken(): ExpectationRecord[] {
    return [...this.#known.keys()].flatMap((id) => this.of(id).filter(({ state }) => state === "RAISED"));
  }

  /** A run is created. Part of the unit of work that does it. @param expect of its definition */
  async created(tx: OperationalTx, run: RunRecord, expect: Expect | undefined): Promise<void> {
    const limit_ms = expect?.start_within_ms;
    if (limit_ms === undefined || run.backfill_id !== null) return;
    const { workflow_id, workflow_instance_id: key } = run;
    const since_ms = await this.#startOf(tx, run);
    const state = (await tx.getPause(workflow_id)) === null ? "OPEN" : "HELD";
    const data: RunExpectation = { limit_ms, since_ms };
    const due_ms = since_ms + limit_ms;
    await this.#put(tx, {
      workflow_id,
      rule: "start_within",
      key,
      due_ms,
      state,
      data: JSON.stringify(data),
    });
  }

  /** A run has started for the first time. Part of the unit of work that does it. */
  async started(tx: OperationalTx, run: RunRecord): Promise<void> {
    const expect = await this.#expectOf(tx, run);
    if (expect === undefined || run.backfill_id !== null) return;
    const { workflow_id, workflow_instance_id: key, started_at_ms } = run;
    const at = started_at_ms ?? this.#o.clock.now();
    if (expect.start_within_ms !== undefined) {
      const row = await tx.getExpectation({ workflow_id, rule: "start_within", key });
      if (row !== null) await this.#over(tx, run, row, at, row.state === "OPEN" && at > row.due_ms);
    }
    const limit_ms = expect.max_duration_ms;
    if (limit_ms === undefined) return;
    const data: RunExpectation = { limit_ms, since_ms: at };
    const row = {
      workflow_id,
      rule: "max_duration",
      key,
      state: "OPEN",
      data: JSON.stringify(data),
    } as const;
    // Its agent may tell of its start later.
    const left = limit_ms - Math.max(0, this.#o.clock.now() - at);
    await this.#put(tx, { ...row, due_ms: at + limit_ms }, left);
  }

  /** A run has ended. Part of the unit of work that ends it, before alerts about the run are resolved for that. */
  async ended(tx: OperationalTx, run: RunRecord): Promise<void> {
    if (!this.#concerned.has(run.workflow_id)) return;
    const at = run.finished_at_ms ?? this.#o.clock.now();
    for (const row of await tx.expectationsOf(run.workflow_id, run.workflow_instance_id)) {
      switch (row.rule) {
        case "start_within":
          await this.#over(tx, run, row, at, row.state === "OPEN" && at > row.due_ms);
          break;
        case "max_duration":
          await this.#over(tx, run, row, at, row.state === "OPEN" && tookTooLong(row, run, at));
          break;
        case "at_least_every":
          if (run.status === "COMPLETED" && run.backfill_id === null) await this.#lived(tx, run, row, at);
          break;
        case "finish_by":
          if (run.status === "COMPLETED") await this.#completed(tx, run, row, at);
          else await this.#abandoned(tx, run, row, at);
          break;
        case "resumed":
      }
    }
  }

  /** A workflow is paused: nothing is expected of it, except of runs that have begun. Part of the unit of work that does it. */
  async paused(tx: OperationalTx, workflowId: string, at: number): Promise<void> {
    if (!this.#concerned.has(workflowId)) return;
    await tx.holdStarts(workflowId);
    for (const row of await tx.expectationsOf(workflowId)) {
      const isLate = row.rule === "finish_by" && runOf(row) !== undefined;
      if (row.state === "HELD" || (row.state === "RAISED" && isLate)) continue;
      if (row.state === "RAISED") await this.#resolve(tx, row, at);
      await this.#change(tx, row, { state: "HELD" });
    }
  }

  /** A workflow goes on: it has all of its time again. Part of the unit of work that does it. */
  async resumed(tx: OperationalTx, workflowId: string, at: number): Promise<void> {
    const planned = this.#plans.get(workflowId);
    if (planned === undefined && !this.#concerned.has(workflowId)) return;
    if (planned?.expect.start_within_ms !== undefined) {
      const row = { workflow_id: workflowId, rule: "resumed", key: "", state: "HELD", data: "{}" } as const;
      await this.#put(tx, { ...row, due_ms: at });
    }
    await tx.releaseStarts(workflowId, at);
    tx.afterCommit(() => this.#o.events.emit("expectation added", { dueMs: at }));
    for (const row of await tx.expectationsOf(workflowId)) await this.#again(tx, row, at);
  }

  /**
   * Makes what is expected of a workflow that of its file, as far as that has changed. Part of a unit of work.
   * @param gone whether its file is gone for good
   */
  async reconcile(tx: OperationalTx, workflowId: string, gone: boolean): Promise<void> {
    const planned = this.#plans.get(workflowId);
    const now = this.#o.clock.now();
    const rows = await tx.expectationsOf(workflowId);
    const isPaused =
      rows.length + (planned === undefined ? 0 : 1) > 0 && (await tx.getPause(workflowId)) !== null;
    const isKnown = planned !== undefined || gone || this.#unexpecting.has(workflowId);
    for (const row of rows) {
      const isExpected = planned !== undefined && isRuleOf(planned, row.rule);
      if (isExpected) await this.#adapt(tx, row, planned, isPaused, now);
      else if (isKnown) await this.forget(tx, row);
    }
    if (isKnown && planned?.expect.start_within_ms === undefined)
      await this.#drop(tx, { workflow_id: workflowId, rule: "resumed", key: "" });
    if (planned === undefined) return;
    for (const rule of ["finish_by", "at_least_every"] as const) {
      if (!isRuleOf(planned, rule) || rows.some((row) => row.rule === rule)) continue;
      const state = isPaused ? "HELD" : "OPEN";
      const of = { workflow_id: workflowId, rule, key: "", state } as const;
      if (rule === "at_least_every") {
        const data: PeriodExpectation = { since_ms: now };
        await this.#put(tx, {
          ...of,
          due_ms: now + (planned.expect.at_least_every_ms ?? 0),
          data: JSON.stringify(data),
        });
      } else {
        const data = { spec: planned.spec, since_ms: now, judged_ms: null };
        await this.#put(tx, { ...of, ...nextOf(planned, data, now) });
      }
    }
  }

  /** The run of an expectation is over, or not known. Part of a unit of work. */
  async forget(tx: OperationalTx, row: ExpectationRecord): Promise<void> {
    if (row.state === "RAISED") await this.#resolve(tx, row, this.#o.clock.now());
    await this.#drop(tx, row);
  }

  /** The time of an expectation has passed: raises it, if that is still so. Part of a unit of work. */
  async judge(tx: OperationalTx, { workflow_id, rule, key }: ExpectationRecord): Promise<void> {
    const row = await tx.getExpectation({ workflow_id, rule, key });
    if (row === null || row.state !== "OPEN") return;
    switch (rule) {
      case "start_within":
      case "max_duration": {
        const run = await tx.getRun(key);
        const isOver = run === null || isTerminal(RUN_TRANSITIONS, run.status);
        if (isOver || (rule === "start_within" && run.started_at_ms !== null)) return this.#drop(tx, row);
        await this.#raise(tx, row, run, this.#dueOf(row));
        await this.#change(tx, row, { state: "RAISED" });
        return;
      }
      case "at_least_every":
        // Its file is away.
        if (!this.#plans.has(workflow_id)) return void (await this.#change(tx, row, { state: "HELD" }));
        await this.#raise(tx, row, null, row.due_ms);
        await this.#change(tx, row, { state: "RAISED" });
        return;
      case "finish_by":
        return this.#judgeDeadline(tx, row);
      case "resumed":
    }
  }

  async #judgeDeadline(tx: OperationalTx, row: ExpectationRecord): Promise<void> {
    const planned = this.#plans.get(row.workflow_id);
    const data = readExpectation<FinishExpectation>(row.data);
    if (planned?.finish == null || data === null)
      return void (await this.#change(tx, row, { state: "HELD" }));
    const now = this.#o.clock.now();
    if (row.due_ms > now) return;
    // Of several that have passed while nobody looked, the last one counts.
    const last = lastDeadline(planned.finish, now, row.due_ms, data.since_ms) ?? {
      at_ms: row.due_ms,
      from_ms: data.from_ms,
    };
    if (isKept(last, data))
      return void (await this.#change(
        tx,
        row,
        nextOf(planned, { ...data, judged_ms: last.at_ms }, last.at_ms),
      ));
    await this.#breaks(tx, row, data, last);
  }

  /** A deadline was not kept: a run that is still under way is late, otherwise it is missed. */
  async #breaks(
    tx: OperationalTx,
    row: ExpectationRecord,
    data: FinishExpectation,
    at: Deadline,
  ): Promise<void> {
    const run = await tx.newestOpenRun(row.workflow_id, at.from_ms);
    const next: FinishExpectation = {
      ...data,
      from_ms: at.from_ms,
      judged_ms: at.at_ms,
      run: run?.workflow_instance_id,
    };
    const broken = await this.#change(tx, row, {
      due_ms: at.at_ms,
      state: "RAISED",
      data: JSON.stringify(next),
    });
    await this.#raise(tx, broken, run === null ? null : await tx.getRun(run.workflow_instance_id), at.at_ms);
  }

  /** A run of a workflow completed, of which one is expected from time to time. */
  async #lived(tx: OperationalTx, run: RunRecord, row: ExpectationRecord, at: number): Promise<void> {
    const data = readExpectation<PeriodExpectation>(row.data);
    const since_ms = Math.max(data?.since_ms ?? 0, at);
    const period = this.#plans.get(row.workflow_id)?.expect.at_least_every_ms;
    const due_ms = period === undefined ? row.due_ms : since_ms + period;
    // It was due before, and nobody has looked since.
    if (row.state === "OPEN" && at > row.due_ms) await this.#raise(tx, row, null, row.due_ms);
    if (row.state !== "HELD") await this.#resolve(tx, row, at);
    const next: PeriodExpectation = { since_ms, run: run.workflow_instance_id };
    const state = row.state === "HELD" ? "HELD" : "OPEN";
    await this.#change(tx, row, { due_ms, state, data: JSON.stringify(next) });
  }

  /** A run of a workflow completed that has a deadline. */
  async #completed(tx: OperationalTx, run: RunRecord, row: ExpectationRecord, at: number): Promise<void> {
    const data = readExpectation<FinishExpectation>(row.data);
    const planned = this.#plans.get(row.workflow_id);
    if (data === null) return;
    const time_ms = timeOf(run);
    const isLatest = data.completed === undefined || time_ms >= data.completed.time_ms;
    const known: FinishExpectation = isLatest ? { ...data, completed: { time_ms, finished_ms: at } } : data;
    const counts = time_ms >= data.from_ms && row.state !== "HELD";
    if (!counts) {
      if (isLatest) await this.#change(tx, row, { data: JSON.stringify(known) });
      return;
    }
    if (row.state === "OPEN" && at > row.due_ms) await this.#raise(tx, row, run, row.due_ms);
    await this.#resolve(tx, row, at, run);
    const { run: _, ...kept } = known;
    // Its file is away.
    if (planned === undefined)
      return void (await this.#change(tx, row, { state: "HELD", data: JSON.stringify(kept) }));
    const judged_ms = row.due_ms === NEVER_MS ? data.judged_ms : row.due_ms;
    const after = row.due_ms === NEVER_MS ? at : Math.max(row.due_ms, at);
    await this.#change(tx, row, { state: "OPEN", ...nextOf(planned, { ...kept, judged_ms }, after) });
  }

  /** A run ended that did not complete: if it was late, another one is, or all of it is missed. */
  async #abandoned(tx: OperationalTx, run: RunRecord, row: ExpectationRecord, at: number): Promise<void> {
    const data = readExpectation<FinishExpectation>(row.data);
    if (data === null || row.state !== "RAISED" || data.run !== run.workflow_instance_id) return;
    await this.#resolve(tx, row, at);
    if ((await tx.getPause(row.workflow_id)) !== null) {
      const { run: _, ...held } = data;
      await this.#change(tx, row, { state: "HELD", data: JSON.stringify(held) });
      return;
    }
    await this.#breaks(tx, row, data, { at_ms: row.due_ms, from_ms: data.from_ms });
  }

  /** An expectation of a run is over, because it was kept, or the run is over. @param isBroken whether it was broken before, unseen */
  async #over(
    tx: OperationalTx,
    run: RunRecord,
    row: ExpectationRecord,
    at: number,
    isBroken: boolean,
  ): Promise<void> {
    if (isBroken) await this.#raise(tx, row, run, this.#dueOf(row));
    if (isBroken || row.state === "RAISED") await this.#resolve(tx, row, at);
    await this.#drop(tx, row);
  }

  /** The file has changed, or is there again. */
  async #adapt(
    tx: OperationalTx,
    row: ExpectationRecord,
    planned: Planned,
    isPaused: boolean,
    now: number,
  ): Promise<void> {
    if (row.state === "HELD" && !isPaused) return this.#again(tx, row, now);
    // An older cdktr paused it.
    if (row.state === "OPEN" && isPaused) return void (await this.#change(tx, row, { state: "HELD" }));
    if (row.rule === "at_least_every") {
      const data = readExpectation<PeriodExpectation>(row.data) ?? { since_ms: now };
      // A clock that was set back must not make it wait for longer.
      const since_ms = Math.min(data.since_ms, now);
      const due_ms = since_ms + (planned.expect.at_least_every_ms ?? 0);
      if (due_ms === row.due_ms) return;
      const isKept = row.state === "RAISED" && due_ms > now;
      if (isKept) await this.#resolve(tx, row, now);
      const state = isKept ? "OPEN" : row.state;
      await this.#change(tx, row, { due_ms, state, data: JSON.stringify({ ...data, since_ms }) });
      return;
    }
    const data = readExpectation<FinishExpectation>(row.data);
    if (data === null) return this.#again(tx, row, now);
    // A deadline that is far ahead was judged by a wrong clock. One that is about to be reached again is not told twice.
    const isAhead = (data.judged_ms ?? 0) > now + AHEAD_MS;
    if (row.state !== "OPEN" && !isAhead) {
      if (data.spec === planned.spec) return;
      return void (await this.#change(tx, row, { data: JSON.stringify({ ...data, spec: planned.spec }) }));
    }
    if (data.spec === planned.spec && !isAhead && row.due_ms <= now) return;
    if (row.state === "RAISED") await this.#resolve(tx, row, now);
    const since_ms = Math.min(data.since_ms, now);
    const known = isAhead ? { judged_ms: null } : { judged_ms: data.judged_ms, completed: data.completed };
    const after = Math.max(known.judged_ms ?? 0, now);
    const next = nextOf(planned, { spec: planned.spec, since_ms, ...known }, after);
    const state = row.state === "HELD" ? "HELD" : "OPEN";
    if (next.due_ms !== row.due_ms || next.data !== row.data || state !== row.state)
      await this.#change(tx, row, { ...next, state });
  }

  /** All of its time begins now: it was paused, its file was away, or what was known of it is damaged. */
  async #again(tx: OperationalTx, row: ExpectationRecord, now: number): Promise<void> {
    const planned = this.#plans.get(row.workflow_id);
    if (planned === undefined || !isRuleOf(planned, row.rule)) return;
    if (row.state === "RAISED") {
      const data = readExpectation<FinishExpectation>(row.data);
      if (data !== null) await this.#change(tx, row, { data: JSON.stringify({ ...data, since_ms: now }) });
      return;
    }
    if (row.rule === "at_least_every") {
      const data: PeriodExpectation = { ...readExpectation<PeriodExpectation>(row.data), since_ms: now };
      const due_ms = now + (planned.expect.at_least_every_ms ?? 0);
      await this.#change(tx, row, { state: "OPEN", due_ms, data: JSON.stringify(data) });
    } else if (row.rule === "finish_by") {
      const { completed, judged_ms = null } = readExpectation<FinishExpectation>(row.data) ?? {};
      const data = { spec: planned.spec, since_ms: now, judged_ms, completed };
      await this.#change(tx, row, { state: "OPEN", ...nextOf(planned, data, now) });
    }
  }

  #plan(workflow: ExpectingWorkflow, expect: Expect, calendars: ReadonlyMap<string, Calendar>): Planned {
    const by = expect.finish_by;
    const finish = by === undefined ? null : finishPlan(by, workflow, this.#o.zone, calendars);
    return { workflow, calendars, expect, finish, spec: finish === null ? "" : specOf(finish) };
  }

  /** From when on a run should start. */
  async #startOf(tx: OperationalTx, run: RunRecord): Promise<number> {
    const { trigger, scheduled_time_ms, start_at_ms, created_at_ms, workflow_id } = run;
    if (start_at_ms !== null) return start_at_ms;
    if (trigger !== "cron" || scheduled_time_ms === null) return created_at_ms;
    if (!this.#concerned.has(workflow_id)) return scheduled_time_ms;
    const resumed = await tx.getExpectation({ workflow_id, rule: "resumed", key: "" });
    // What was missed in a pause could not start before its end.
    return Math.max(scheduled_time_ms, resumed?.due_ms ?? 0);
  }

  /** When it was broken, ms since the epoch. */
  #dueOf({ rule, due_ms, data }: ExpectationRecord): number {
    if (rule !== "max_duration") return due_ms;
    const of = readExpectation<RunExpectation>(data);
    return of === null ? this.#o.clock.now() : of.since_ms + of.limit_ms;
  }

  async #raise(
    tx: OperationalTx,
    row: ExpectationRecord,
    run: RunRecord | null,
    dueMs: number,
  ): Promise<void> {
    const { workflow_id, rule } = row;
    if (rule === "resumed") return;
    const planned = this.#plans.get(workflow_id);
    // What is expected of a run is what its own definition says.
    const expect = rule === "finish_by" || run === null ? planned?.expect : await this.#expectOf(tx, run);
    const waits = run === null || rule === "max_duration" ? [] : await this.#o.waits.why(tx, run);
    const [last = null] = await tx.listRuns({ workflow_id, limit: 1 });
    const alert = brokenAlert({
      rule,
      workflow_id,
      run,
      last,
      expect: expect ?? {},
      name: run?.workflow_name ?? planned?.workflow.name ?? workflow_id,
      zone: planned?.finish?.zone,
      reason: waits[0]?.reason,
      completedMs: completedMsOf(row),
      dueMs,
      noticedMs: this.#o.clock.now(),
    });
    await this.#o.alerts.raise(tx, alert);
    this.#tell(tx);
  }

  /** What was broken is kept after all, or over. @param run that was raised for it in this unit of work */
  async #resolve(tx: OperationalTx, row: ExpectationRecord, at: number, run?: RunRecord): Promise<void> {
    for (const key of keysOf(row, run)) await this.#o.alerts.resolve(tx, key, at);
    this.#tell(tx);
  }

  async #expectOf(tx: OperationalTx, run: RunRecord): Promise<Expect | undefined> {
    return (await this.#o.definitions.of(tx, run))?.expect;
  }

  async #put(tx: OperationalTx, row: ExpectationRecord, leftMs?: number): Promise<void> {
    this.#concerned.add(row.workflow_id);
    await tx.putExpectation(row, leftMs);
    tx.afterCommit(() => {
      this.#note(row);
      const { rule, due_ms: dueMs, state } = row;
      if (rule !== "resumed" && state === "OPEN")
        this.#o.events.emit("expectation added", leftMs === undefined ? { dueMs } : { leftMs });
    });
  }

  async #change(
    tx: OperationalTx,
    row: ExpectationRecord,
    to: Partial<Pick<ExpectationRecord, "due_ms" | "state" | "data">>,
  ): Promise<ExpectationRecord> {
    const next = await tx.changeExpectation(row, to);
    tx.afterCommit(() => {
      this.#note(next);
      if (next.state === "OPEN") this.#o.events.emit("expectation added", { dueMs: next.due_ms });
    });
    return next;
  }

  async #drop(
    tx: OperationalTx,
    row: Pick<ExpectationRecord, "workflow_id" | "rule" | "key">,
  ): Promise<void> {
    await tx.dropExpectation(row);
    tx.afterCommit(() => {
      const known = this.#known.get(row.workflow_id);
      known?.delete(`${row.rule} ${row.key}`);
      if (known?.size === 0) this.#known.delete(row.workflow_id);
    });
  }

  #note(row: ExpectationRecord): void {
    if (row.key !== "" && row.state !== "RAISED") return;
    const known = this.#known.get(row.workflow_id) ?? new Map<string, ExpectationRecord>();
    this.#known.set(row.workflow_id, known.set(`${row.rule} ${row.key}`, row));
  }

  #tell(tx: OperationalTx): void {
    tx.afterCommit(() => this.#o.events.emit("expectations changed"));
  }
}

/** A clock that was set back by more than this was wrong before, ms. */
const AHEAD_MS = 25 * 3_600_000;

/** The time that decides to which deadline a run belongs, ms since the epoch. */
function timeOf({ scheduled_time_ms, created_at_ms }: RunRecord): number {
  return scheduled_time_ms ?? created_at_ms;
}

function isRuleOf({ expect, finish }: Planned, rule: ExpectationRecord["rule"]): boolean {
  if (rule === "finish_by") return finish !== null;
  return rule === "at_least_every" && expect.at_least_every_ms !== undefined;
}

/** Whether a run has kept a deadline, as far as is known. */
function isKept({ at_ms, from_ms }: Deadline, { completed }: Pick<FinishExpectation, "completed">): boolean {
  return completed !== undefined && completed.time_ms >= from_ms && completed.finished_ms <= at_ms;
}

/** The first deadline after a time that was not kept yet, as it is stored. */
function nextOf(
  { finish }: Planned,
  data: Omit<FinishExpectation, "from_ms">,
  afterMs: number,
): Pick<ExpectationRecord, "due_ms" | "data"> {
  let { judged_ms } = data;
  let after = afterMs;
  for (;;) {
    const next = finish === null ? null : nextDeadline(finish, after, data.since_ms);
    if (next !== null && isKept(next, data)) {
      after = judged_ms = next.at_ms;
      continue;
    }
    const from_ms = next?.from_ms ?? 0;
    return { due_ms: next?.at_ms ?? NEVER_MS, data: JSON.stringify({ ...data, judged_ms, from_ms }) };
  }
}

/** Whether a run that is over took longer than it should have: by its own clock if that is known, and by the wall clock otherwise. */
function tookTooLong({ data }: ExpectationRecord, { duration_ms }: RunRecord, at: number): boolean {
  const of = readExpectation<RunExpectation>(data);
  return of !== null && (duration_ms ?? at - of.since_ms) > of.limit_ms;
}

/** The run that a broken `finish_by` is about; undefined if there is none. */
function runOf({ rule, data }: ExpectationRecord): string | undefined {
  return rule === "finish_by" ? readExpectation<FinishExpectation>(data)?.run : undefined;
}

/** The keys of the alerts that may be open for an expectation. @param run that may have been raised for it */
function keysOf(row: ExpectationRecord, run?: RunRecord): string[] {
  const { workflow_id, rule, key } = row;
  if (key !== "") return [lateKey(workflow_id, key, rule)];
  const late = [runOf(row), run?.workflow_instance_id].filter((id) => id !== undefined);
  return [missedKey(workflow_id, rule), ...new Set(late.map((id) => lateKey(workflow_id, id, rule)))];
}

/** The end of the last run that completed, as far as an expectation knows it, ms since the epoch. */
function completedMsOf({ rule, data }: ExpectationRecord): number | undefined {
  if (rule === "finish_by") return readExpectation<FinishExpectation>(data)?.completed?.finished_ms;
  const of = rule === "at_least_every" ? readExpectation<PeriodExpectation>(data) : null;
  return of?.run === undefined ? undefined : of.since_ms;
}

function specOf({ timeMs, zone, days, entries }: FinishPlan): string {
  const parts = entries.map(({ entry, context }) => [
    entry.cron,
    context.zone,
    entry.start_time_ms,
    entry.end_time_ms ?? null,
    context.calendar?.source ?? null,
  ]);
  const text = JSON.stringify([timeMs, zone, days?.source ?? null, parts]);
  return new Bun.CryptoHasher("sha256").update(text).digest("hex").slice(0, 16);
}
