/**
 * Simulates what schedules will do: firings come, runs enter their groups, wait for agents and pools, and end after the median of their
 * last runs. Who may run is decided by the functions that decide it in production (`limits/`), so a forecast knows no rules of its own.
 */
import type { Forecast, ForecastFiring } from "../../contract/messages.ts";
import { PriorityQueue } from "../../events/priority-queue.ts";
import { type GroupOfRun, groupText } from "../../workflow/group.ts";
import { firingsToRun } from "../../workflow/missed.ts";
import { decideConflict, hasRoom, nextAdmissions } from "../limits/decide.ts";
import { AGEING_MS } from "../limits/order.ts";
import { Beats, type Cursor } from "./beats.ts";
import { dstOf } from "./dst.ts";
import { type Buckets, Gauge, type Peak } from "./gauge.ts";
import { SimulatedQueue } from "./queue.ts";
import { type Draft, type Holding, SimulatedRun, type SimulatedWorkflow } from "./simulated-run.ts";
import type { ExpectedEntry, ForecastInput, PresentRun } from "./simulation-input.ts";

/** What happens at the same time happens in this order. */
const TURNS = { end: 0, ready: 1, resume: 2, later: 3, fire: 4 } as const;

interface Event {
  readonly turn: number;
  readonly order: number;
  readonly act: (nowMs: number) => void;
}

/** The runs of a group. */
interface Group {
  /** Those that have a place, oldest first. */
  readonly holders: Set<SimulatedRun>;
  /** Those that wait, in order. */
  readonly held: SimulatedRun[];
}

/** Number of buckets of a forecast, and the length of the shortest, ms. */
const BUCKETS = 96;
const SHORTEST_MS = 60_000;
const MOST_WORKFLOWS = 1000;
const MOST_OVERLAPS = 5;
/** A firing that the scheduler makes so much later was not missed, ms. */
const GRACE_MS = 60_000;
/** The simulation pauses after so many events. */
const EVENTS_A_TURN = 8;

/** The forecast in short steps, between which something else can be done. */
export function* forecastInSteps(input: ForecastInput): Generator<void, Forecast> {
  return yield* new Simulation(input).run();
}

class Simulation {
  readonly #input: ForecastInput;
  readonly #buckets: Buckets;
  readonly #agenda = new PriorityQueue<Event>();
  readonly #queue: SimulatedQueue;
  readonly #beats: Beats;
  readonly #workflows = new Map<string, SimulatedWorkflow>();
  readonly #groups = new Map<string, Group>();
  /** Groups that may have a place for somebody who waits. */
  readonly #freed = new Set<string>();
  readonly #drafts: Draft[] = [];
  readonly #underWay = new Set<SimulatedRun>();
  readonly #changed = new Set<SimulatedWorkflow>();
  readonly #runs: Gauge;
  readonly #places: Gauge;
  readonly #pools: ReadonlyMap<string, Gauge>;
  #seq = 0;
  #simulated = 0;
  #told = 0;
  #truncatedAtMs: number | null = null;

  constructor(input: ForecastInput) {
    this.#input = input;
    const { now_ms, from_ms, to_ms, agents, pools } = input;
    this.#buckets = bucketsOf(from_ms, to_ms);
    this.#queue = new SimulatedQueue(agents, pools, input.givesSecrets);
    this.#beats = new Beats(now_ms, input.calendars);
    this.#runs = new Gauge(this.#buckets);
    this.#places = new Gauge(this.#buckets);
    this.#pools = new Map([...pools.keys()].map((name) => [name, new Gauge(this.#buckets)]));
  }

  *run(): Generator<void, Forecast> {
    const { now_ms, runs } = this.#input;
    yield* this.#declare();
    for (const run of runs) this.#present(run);
    this.#admitAll(now_ms);
    this.#settle(now_ms);
    for (let next = this.#agenda.peek(), n = 0; next !== undefined; next = this.#agenda.peek()) {
      const now = next.priority;
      const events: Event[] = [];
      for (; next !== undefined && next.priority === now; next = this.#agenda.peek()) {
        events.push(next.item);
        this.#agenda.pop();
      }
      events.sort((a, b) => a.turn - b.turn || a.order - b.order);
      for (const { act } of events) {
        act(now);
        this.#admitAll(now);
        if (++n % EVENTS_A_TURN === 0) yield;
      }
      this.#settle(now);
    }
    return yield* this.#result();
  }

  *#declare(): Generator<void, void> {
    const { workflows, told } = this.#input;
    const sorted = [...workflows].sort((a, b) => (a.id < b.id ? -1 : 1));
    let shown = 0;
    for (const [index, input] of sorted.entries()) {
      yield;
      const isTold = (told?.has(input.id) ?? true) && shown < MOST_WORKFLOWS;
      if (isTold) shown++;
      const workflow: SimulatedWorkflow = {
        input,
        index,
        running: new Set(),
        waiting: new Map(),
        missed: new Map(),
        parts: undefined,
        told: isTold
          ? { gauge: new Gauge(this.#buckets), starts: new Array<number>(this.#buckets.count).fill(0) }
          : undefined,
        firings: 0,
      };
      this.#workflows.set(input.id, workflow);
      for (const [number, entry] of input.entries.entries())
        this.#nextFiring(
          workflow,
          number,
          entry,
          this.#beats.cursor(entry.entry, entry.zone, entry.offset_ms),
        );
      const { paused_until_ms: until } = input;
      if (typeof until === "number" && until <= this.#input.to_ms)
        this.#at(until, TURNS.resume, index, (now) => this.#resume(workflow, now));
    }
  }

  /** A run that is there already. */
  #present(present: PresentRun): void {
    const { now_ms, to_ms } = this.#input;
    const workflow = this.#workflows.get(present.workflow_id) ?? this.#unknown(present.workflow_id);
    const run = new SimulatedRun({
      ...present,
      seq: this.#seq++,
      workflow,
      draft: null,
      entry: -1,
    });
    switch (present.state) {
      case "running": {
        const ends = Math.max(now_ms, present.ends_ms ?? now_ms);
        if (run.group !== null) this.#groupOf(run.group.key).holders.add(run);
        for (const { agent_id, slots } of present.leases ?? []) {
          const agent = this.#input.agents.findIndex((other) => other.agent_id === agent_id);
          const holding = { agent, slots };
          this.#queue.take(holding);
          run.holdings.add(holding);
        }
        this.#begin(run, present.at_ms);
        this.#at(ends, TURNS.end, run.seq, (now) => {
          if (!run.isOver) this.#over(run, now);
        });
        return;
      }
      case "queued":
        if (run.group !== null) this.#groupOf(run.group.key).holders.add(run);
        this.#enqueue(run, now_ms);
        return;
      case "group":
        if (run.group === null) this.#enqueue(run, now_ms);
        else {
          this.#hold(run, this.#groupOf(run.group.key));
          this.#freed.add(run.group.key);
        }
        return;
      case "later": {
        const start = present.start_ms ?? now_ms;
        if (start <= to_ms)
          this.#at(Math.max(start, now_ms), TURNS.later, run.seq, (now) => this.#enter(run, now));
        return;
      }
      case "paused": {
        const until = workflow.input.paused_until_ms;
        if (typeof until === "number" && until <= to_ms)
          this.#at(Math.max(until, now_ms), TURNS.later, run.seq, (now) => this.#enter(run, now));
        return;
      }
    }
  }

  /** A workflow whose file is gone. */
  #unknown(id: string): SimulatedWorkflow {
    const expected = { p50_ms: null, p90_ms: null, runs: 0 };
    return {
      input: { id, entries: [], expected, priority: 5, parts: () => [], groupOf: () => null },
      index: -1,
      running: new Set(),
      waiting: new Map(),
      missed: new Map(),
      parts: undefined,
      told: undefined,
      firings: 0,
    };
  }

  #nextFiring(workflow: SimulatedWorkflow, number: number, schedule: ExpectedEntry, cursor: Cursor): void {
    const next = cursor.next();
    if (next === null || next.at_ms >= this.#input.to_ms) return;
    this.#at(next.fires_ms, TURNS.fire, workflow.index, (now) => {
      if (this.#truncatedAtMs !== null) return;
      if (this.#simulated === this.#input.most) {
        this.#truncatedAtMs = now;
        return;
      }
      this.#simulated++;
      this.#fire(workflow, number, schedule, next.at_ms, now);
      this.#nextFiring(workflow, number, schedule, cursor);
    });
  }

  #fire(
    workflow: SimulatedWorkflow,
    number: number,
    schedule: ExpectedEntry,
    atMs: number,
    nowMs: number,
  ): void {
    const { told, from_ms, limit } = this.#input;
    const draft: Draft = {
      workflow,
      schedule,
      at_ms: atMs,
      waits: nowMs > atMs ? [{ kind: "jitter", name: null, for_ms: nowMs - atMs }] : [],
      outcome: "runs",
      note: null,
      run: null,
    };
    if (nowMs >= from_ms && (told?.has(workflow.input.id) ?? true)) {
      this.#told++;
      workflow.firings++;
      if (this.#drafts.length < limit) this.#drafts.push(draft);
    }
    const until = workflow.input.paused_until_ms;
    if (until !== undefined && (until === null || nowMs < until)) {
      draft.outcome = "paused";
      const missed = workflow.missed.get(number) ?? [];
      workflow.missed.set(number, missed);
      if (until !== null) missed.push(draft);
      return;
    }
    this.#dropWaiting(workflow, number, nowMs);
    this.#make(draft, number, nowMs);
  }

  /** A firing becomes a run. */
  #make(draft: Draft, number: number, nowMs: number): void {
    const { workflow, schedule } = draft;
    const group = workflow.input.groupOf(schedule.entry, draft.at_ms);
    if (group !== null && "fail" in group) {
      draft.outcome = "refused";
      draft.note = group.fail;
      return;
    }
    workflow.parts ??= workflow.input.parts();
    const run = new SimulatedRun({
      seq: this.#seq++,
      workflow,
      parts: workflow.parts,
      priority: workflow.input.priority,
      group,
      draft,
      id: null,
      at_ms: draft.at_ms,
      since_ms: nowMs,
      entry: number,
    });
    draft.run = run;
    // Those are never dropped.
    if (schedule.entry.catchup !== "all") {
      const waiting = workflow.waiting.get(number);
      if (waiting === undefined) workflow.waiting.set(number, [run]);
      else waiting.push(run);
    }
    this.#enter(run, nowMs);
  }

  /** The next firing of a schedule is due: those that nobody has taken are dropped, as `catchup` says. */
  #dropWaiting(workflow: SimulatedWorkflow, number: number, nowMs: number): void {
    const waiting = workflow.waiting.get(number) ?? [];
    workflow.waiting.delete(number);
    for (const run of waiting)
      if (!run.isOver && run.startedMs === null) this.#skip(run, "dropped", this.#whyStuck(run), nowMs);
  }

  /** The pause of a workflow ends: what it has missed is caught up. */
  #resume(workflow: SimulatedWorkflow, nowMs: number): void {
    for (const [number, missed] of workflow.missed) {
      const { entry, offset_ms } = missed[0]?.schedule ?? {};
      if (entry === undefined || offset_ms === undefined) continue;
      const due = missed.map(({ at_ms }) => at_ms + offset_ms);
      const { run } = firingsToRun(due, entry.catchup, entry.catchup_window_ms, nowMs, GRACE_MS);
      const caught = new Set(run);
      for (const draft of missed) {
        const fires = draft.at_ms + offset_ms;
        if (!caught.has(fires)) continue;
        draft.outcome = "runs";
        draft.waits.push({ kind: "pause", name: null, for_ms: nowMs - fires });
        this.#make(draft, number, nowMs);
      }
    }
    workflow.missed.clear();
  }

  #enter(run: SimulatedRun, nowMs: number): void {
    const group = run.group === null ? null : this.#groupOf(run.group.key);
    const state = { running: group?.holders.size ?? 0, isAwaited: (group?.held.length ?? 0) > 0 };
    if (run.group === null || group === null || hasRoom(state, run.group.max)) {
      group?.holders.add(run);
      this.#enqueue(run, nowMs);
    } else this.#conflict(run, run.group, group, nowMs);
  }

  /** There is no place for a run in its group. */
  #conflict(run: SimulatedRun, own: GroupOfRun, group: Group, nowMs: number): void {
    // To others it does not matter who is there, and that may be tens of thousands.
    const isChanging = own.on_conflict === "queue_latest" || own.on_conflict === "cancel_running";
    const [holders, waiting] = isChanging ? [[...group.holders], group.held] : [[], []];
    const byId = new Map([...holders, ...waiting].map((other) => [String(other.seq), other]));
    const decided = decideConflict(
      {
        holders: holders.map(({ seq }) => ({ id: String(seq), isEnding: false })),
        held: waiting.map(({ seq, group: theirs }) => ({ id: String(seq), ...limitsOf(theirs) })),
      },
      own,
    );
    if (decided.outcome === "skipped") {
      this.#skip(run, "skipped", `on_conflict: ${own.on_conflict}`, nowMs);
      return;
    }
    for (const id of decided.skip) {
      const other = byId.get(id);
      if (other !== undefined) this.#skip(other, "skipped", `on_conflict: ${own.on_conflict}`, nowMs);
    }
    this.#hold(run, group);
    for (const id of decided.cancel) {
      const other = byId.get(id);
      if (other === undefined) continue;
      if (run.draft !== null) run.draft.outcome = "cancels";
      if (other.draft !== null) other.draft.outcome = "cancelled";
      this.#over(other, nowMs);
    }
    this.#freed.add(own.key);
  }

  /** Puts a run among those of its group that wait, in their order. */
  #hold(run: SimulatedRun, { held }: Group): void {
    const rank = rankOf(run);
    // Mostly it is the last one.
    const before = held.findLastIndex((other) => rankOf(other) <= rank);
    held.splice(before + 1, 0, run);
  }

  /** Gives the places that have become free, as in the commit in which they do: whoever comes in it has come before. */
  #admitAll(nowMs: number): void {
    for (const key of this.#freed) {
      this.#freed.delete(key);
      this.#admit(key, nowMs);
    }
  }

  /** Gives places to those of a group that wait. */
  #admit(key: string, nowMs: number): void {
    const group = this.#groupOf(key);
    for (let [run] = group.held; run !== undefined; [run] = group.held) {
      if (nextAdmissions(group.holders.size, [limitsOf(run.group)]) === 0) return;
      group.held.shift();
      group.holders.add(run);
      run.waited("group", nameOf(key), nowMs - run.since_ms);
      this.#enqueue(run, nowMs);
    }
  }

  #groupOf(key: string): Group {
    let group = this.#groups.get(key);
    if (group === undefined) {
      group = { holders: new Set(), held: [] };
      this.#groups.set(key, group);
    }
    return group;
  }

  /** A run may begin: its first parts wait for agents. */
  #enqueue(run: SimulatedRun, nowMs: number): void {
    if (run.parts.length === 0) {
      this.#begin(run, nowMs);
      this.#over(run, nowMs);
    }
    for (const [part, { after }] of run.parts.entries())
      if (after.length === 0) this.#ready(run, part, nowMs);
  }

  #ready(run: SimulatedRun, part: number, nowMs: number): void {
    const needs = run.parts[part]?.needs ?? null;
    if (needs === null) this.#startPart(run, part, null, nowMs);
    else this.#queue.add(run, part, needs, nowMs, this.#seq - 1);
  }

  #startPart(run: SimulatedRun, part: number, holding: Holding | null, nowMs: number): void {
    if (run.startedMs === null) this.#begin(run, nowMs);
    if (holding !== null) run.holdings.add(holding);
    for (const [later, { after }] of run.parts.entries()) {
      const waits = after.find((before) => before.part === part);
      if (waits === undefined) continue;
      this.#at(nowMs + waits.ms, TURNS.ready, run.seq, (now) => {
        const missing = (run.missing[later] ?? 1) - 1;
        run.missing[later] = missing;
        if (missing === 0 && !run.isOver) this.#ready(run, later, now);
      });
    }
    this.#at(nowMs + (run.parts[part]?.duration_ms ?? 0), TURNS.end, run.seq, (now) => {
      if (run.isOver) return;
      if (holding !== null && run.holdings.delete(holding)) this.#queue.free(holding);
      if (++run.partsOver === run.parts.length) this.#over(run, now);
    });
  }

  /** The first part of a run starts. */
  #begin(run: SimulatedRun, nowMs: number): void {
    const { workflow } = run;
    run.startedMs = nowMs;
    if (run.draft !== null) run.overlaps = [...workflow.running].slice(-MOST_OVERLAPS);
    workflow.running.add(run);
    this.#underWay.add(run);
    this.#changed.add(workflow);
    const bucket = Math.floor((nowMs - this.#buckets.from_ms) / this.#buckets.size_ms);
    const starts = workflow.told?.starts;
    if (starts !== undefined && bucket >= 0 && bucket < starts.length)
      starts[bucket] = (starts[bucket] ?? 0) + 1;
  }

  /** It ends without having run. */
  #skip(run: SimulatedRun, outcome: "skipped" | "dropped", note: string | null, nowMs: number): void {
    if (run.draft !== null) Object.assign(run.draft, { outcome, note });
    if (run.group !== null) {
      const { held } = this.#groupOf(run.group.key);
      const at = held.indexOf(run);
      if (at !== -1) held.splice(at, 1);
    }
    this.#over(run, nowMs);
  }

  /** A run ends, however. */
  #over(run: SimulatedRun, nowMs: number): void {
    run.endedMs = nowMs;
    for (const holding of run.holdings) this.#queue.free(holding);
    run.holdings.clear();
    run.workflow.running.delete(run);
    this.#underWay.delete(run);
    this.#changed.add(run.workflow);
    if (run.group === null) return;
    if (this.#groupOf(run.group.key).holders.delete(run)) this.#freed.add(run.group.key);
  }

  /** Everything at this time has happened: what can start does, and the load is noted. */
  #settle(nowMs: number): void {
    for (const { run, part, holding } of this.#queue.start(nowMs)) this.#startPart(run, part, holding, nowMs);
    this.#runs.set(nowMs, this.#underWay.size);
    this.#places.set(nowMs, this.#queue.taken);
    for (const [name, gauge] of this.#pools) gauge.set(nowMs, this.#queue.usedOf(name));
    for (const { told, running } of this.#changed) told?.gauge.set(nowMs, running.size);
    this.#changed.clear();
  }

  #at(atMs: number, turn: number, order: number, act: (nowMs: number) => void): void {
    this.#agenda.push(Math.max(atMs, this.#input.now_ms), { turn, order, act });
  }

  *#result(): Generator<void, Forecast> {
    const { now_ms, from_ms, to_ms, agents, pools } = this.#input;
    const { runs, places } = { runs: this.#runs.end(), places: this.#places.end() };
    const peaks: Record<string, Peak> = {};
    const used: Forecast["load"]["pools"] = {};
    for (const [name, gauge] of this.#pools) {
      const peak = gauge.end();
      if (peak !== null) peaks[name] = peak;
      used[name] = { size: pools.get(name) ?? 0, used: gauge.most };
    }
    this.#drafts.sort((a, b) => a.at_ms - b.at_ms || a.workflow.index - b.workflow.index);
    const firings: ForecastFiring[] = [];
    for (const draft of this.#drafts) {
      firings.push(this.#firing(draft));
      if (firings.length % EVENTS_A_TURN === 0) yield;
    }
    return {
      now_ms,
      from_ms,
      to_ms,
      firings,
      left_out: this.#told - firings.length,
      workflows: this.#shown(),
      load: {
        bucket_ms: this.#buckets.size_ms,
        runs: this.#runs.most,
        places: this.#places.most,
        room: agents.reduce((sum, { max_leases }) => sum + max_leases, 0),
        pools: used,
      },
      peaks: { runs, places, pools: peaks },
      truncated_at_ms: this.#truncatedAtMs,
      warning: null,
    };
  }

  #shown(): Forecast["workflows"] {
    const shown: Forecast["workflows"] = [];
    for (const { input, told, firings } of this.#workflows.values()) {
      if (told === undefined) continue;
      const peak = told.gauge.end();
      if (firings === 0 && peak === null) continue;
      shown.push({
        workflow_id: input.id,
        firings,
        expected_ms: input.expected.p50_ms,
        is_paused: input.paused_until_ms !== undefined,
        starts: told.starts,
        running: told.gauge.most,
      });
    }
    return shown;
  }

  #firing({ workflow, schedule, at_ms, waits, outcome, note, run }: Draft): ForecastFiring {
    const { expected, id } = workflow.input;
    const isStuck = run !== null && run.startedMs === null && !run.isOver;
    return {
      at_ms,
      workflow_id: id,
      cron: schedule.entry.cron,
      timezone: schedule.zone,
      outcome: isStuck ? "waits" : outcome,
      starts_ms: run?.startedMs ?? null,
      ends_ms: run?.startedMs == null ? null : run.endedMs,
      expected_ms: expected.p50_ms,
      p90_ms: expected.p90_ms,
      known_runs: expected.runs,
      waits,
      overlaps: (run?.overlaps ?? []).map((other) => ({
        workflow_instance_id: other.id,
        at_ms: other.at_ms,
        until_ms: other.endedMs,
      })),
      dst: dstOf(schedule.entry.cron, schedule.zone, at_ms),
      note: note ?? (isStuck ? this.#whyStuck(run) : null),
    };
  }

  /** Why a run that waits does not start, as part of a sentence. */
  #whyStuck(run: SimulatedRun): string | null {
    if (run.group !== null && this.#groupOf(run.group.key).held.includes(run))
      return `${groupText(run.group.key)} ${nameOf(run.group.key) === null ? "runs already" : "is full"}`;
    const first = run.parts.find(({ after, needs }) => after.length === 0 && needs !== null);
    return first?.needs == null ? null : this.#queue.whyNot(first.needs);
  }
}

function bucketsOf(fromMs: number, toMs: number): Buckets {
  const size_ms = Math.max(SHORTEST_MS, Math.ceil((toMs - fromMs) / BUCKETS));
  return { from_ms: fromMs, size_ms, count: Math.max(1, Math.ceil((toMs - fromMs) / size_ms)) };
}

/** As in the queue of a group: ten minutes of waiting weigh as much as one step of priority. */
function rankOf({ since_ms, priority }: SimulatedRun): number {
  return since_ms - priority * AGEING_MS;
}

function limitsOf(group: GroupOfRun | null): Pick<GroupOfRun, "max" | "on_conflict"> {
  return { max: group?.max ?? Number.POSITIVE_INFINITY, on_conflict: group?.on_conflict ?? "queue" };
}

/** The name of a group; null for that of one workflow. */
function nameOf(key: string): string | null {
  return key.startsWith("g ") ? key.slice(2) : null;
}
