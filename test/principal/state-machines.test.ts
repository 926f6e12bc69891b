/**
 * Random, repeated and reordered events against the state machines of runs, leases, tasks and agents. The invariants are
 * checked on the rows written to the history and on the state on disk, independently of the code that creates them.
 */
import { describe, expect, test } from "bun:test";
import { type Clock, systemClock } from "../../src/clock.ts";
import type { RunStatusRow, TaskStatusRow } from "../../src/contract/history-rows.ts";
import { EventHub } from "../../src/event-hub.ts";
import type { PrincipalEvents } from "../../src/principal/principal-events.ts";
import { Definitions } from "../../src/principal/runs/definitions.ts";
import type { RunWord, TaskWord } from "../../src/principal/runs/hearing.ts";
import { ProgressOfRuns } from "../../src/principal/runs/progress-of-runs.ts";
import { RunChanges } from "../../src/principal/runs/run-changes.ts";
import { AGENT_TRANSITIONS } from "../../src/storage/operational/agent-state.ts";
import { LEASE_TRANSITIONS, type LeaseState } from "../../src/storage/operational/lease-state.ts";
import type { SqliteOperationalStore } from "../../src/storage/operational/sqlite/store.ts";
import type { AttemptRecord, OperationalTx, RunRecord } from "../../src/storage/operational/store.ts";
import { parseWorkflow } from "../../src/workflow/parse.ts";
import { MAX_RUN_ATTEMPTS, RUN_TRANSITIONS } from "../../src/workflow/run-state.ts";
import {
  canTransition,
  isTerminal,
  RUN_STATUSES,
  type RunStatus,
  type Transitions,
} from "../../src/workflow/status.ts";
import { TASK_TRANSITIONS } from "../../src/workflow/task-state.ts";
import { agentRecord, TestStores } from "../storage/operational-support.ts";
import { LONG } from "../support/long.ts";
import { NO_WORKFLOWS } from "./no-workflows.ts";
import { workflowText } from "./support.ts";

const AGENTS = ["a1", "a2", "a3"];
const TASKS = ["t1", "t2", "t3"];
const RUNS = 40;
const STEPS = 2500;

/** Numbers from a seed (mulberry32). */
function dice(seed: number): { below(n: number): number; of<T>(items: readonly T[]): T } {
  let state = seed;
  const next = () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  };
  const below = (n: number) => Math.floor(next() * n);
  return { below, of: (items) => items[below(items.length)] as (typeof items)[number] };
}

/** Applies random events to a store, and keeps the rows that come out. */
class Chaos {
  readonly #random;
  readonly #store: SqliteOperationalStore;
  readonly #changes: RunChanges;
  readonly #clock: Clock;
  readonly #said: (RunWord | TaskWord)[] = [];
  readonly runIds: string[] = [];
  readonly ended = new Map<string, number>();
  readonly failover = new Map<string, string>();
  #now = 1_000_000;

  constructor(store: SqliteOperationalStore, seed: number) {
    this.#store = store;
    this.#random = dice(seed);
    const events: PrincipalEvents = new EventHub();
    events.on("run ended", ({ workflow_instance_id: id }) => {
      this.ended.set(id, (this.ended.get(id) ?? 0) + 1);
    });
    // A wall clock that jumps about: nothing may depend on it.
    this.#clock = {
      ...systemClock,
      now: () => this.#now + this.#random.below(5000) - 2500,
      monotonic: () => 0,
    };
    const definitions = new Definitions();
    this.#changes = new RunChanges({
      workflows: NO_WORKFLOWS,
      clock: this.#clock,
      events,
      definitions,
      progress: new ProgressOfRuns(definitions),
      queue: { queued: () => {} },
      followUps: { ending: async () => {} },
    });
  }

  async step(): Promise<void> {
    this.#now += this.#random.below(100);
    await this.#store.transact((tx) => this.#event(tx));
  }

  async #event(tx: OperationalTx): Promise<void> {
    const kind = this.#random.below(100);
    if (this.runIds.length < RUNS && (kind < 5 || this.runIds.length === 0)) return this.#create(tx);
    if (kind < 20) return this.#assign(tx);
    if (kind < 24) return this.#cancel(tx);
    if (kind === 24) {
      const schedule = { id: "w", catchup: this.#random.of(["none", "latest", "all"] as const) };
      await this.#changes.dropWaitingFirings(tx, schedule, this.#now - this.#random.below(2000));
      return;
    }
    if (kind < 32) return this.#crash(tx);
    const old =
      this.#said.length > 0 && this.#random.below(4) === 0 ? this.#random.of(this.#said) : undefined;
    // Half of what is new comes from an agent that has a lease.
    const leases = this.#random.below(2) === 0 ? await tx.openAttempts() : [];
    await this.#hear(tx, old ?? this.#word(leases.length === 0 ? undefined : this.#random.of(leases)));
  }

  async #create(tx: OperationalTx): Promise<void> {
    const failover = this.#random.below(4) === 0 ? "never" : "rerun";
    const result = parseWorkflow(workflowText({ tasks: TASKS, top: `failover: ${failover}` }), {
      path: "w.yml",
      id: "w",
    });
    if (!result.ok) throw new Error("the workflow is invalid");
    const id = `run-${this.runIds.length}`;
    await this.#changes.create(tx, {
      workflow_instance_id: id,
      workflow_id: "w",
      workflow_name: "W",
      definition_hash: failover,
      definition: JSON.stringify(result.definition),
      params: {},
      trigger: this.#random.of(["api", "cron"]),
      scheduled_time_ms: this.#now,
      retry_of: null,
      trigger_depth: 0,
      tasks_total: TASKS.length,
      carried: [],
    });
    this.runIds.push(id);
    this.failover.set(id, failover);
  }

  async #assign(tx: OperationalTx): Promise<void> {
    const agent = this.#random.of(AGENTS);
    if ((await tx.getAgent(agent)) === null) await tx.registerAgent(agentRecord(agent), null, 1000);
    const fetch_id = this.#random.below(2) === 0 ? null : crypto.randomUUID();
    const to = { agent_id: agent, session_id: "s", fetch_id, offer_ms: 1000 };
    const [head] = await tx.queueHeads();
    const isHeld = head !== undefined && (await this.#changes.startsAtOnce(tx, head, to));
    const claim = await tx.claim({ ...to, isHeld, assigned_at_ms: this.#clock.now() });
    expect(claim).not.toBe("unfit");
    if (typeof claim === "string") return;
    expect(claim.run.workflow_instance_id).toBe(head?.workflow_instance_id as string);
    const { lease } = (await this.#changes.given(tx, claim)).attempt;
    const mustConfirm = fetch_id === null || this.failover.get(claim.run.workflow_instance_id) === "never";
    expect(lease).toBe(mustConfirm ? "OFFERED" : "HELD");
  }

  async #cancel(tx: OperationalTx): Promise<void> {
    const run = await tx.getRun(this.#random.of(this.runIds));
    if (run !== null && !isTerminal(RUN_TRANSITIONS, run.status)) await this.#changes.cancel(tx, run);
  }

  async #crash(tx: OperationalTx): Promise<void> {
    const open = await tx.openAttempts(this.#random.of(AGENTS));
    if (open.length === 0) return;
    const attempt = this.#random.of(open);
    const run = await tx.getRun(attempt.workflow_instance_id);
    if (run === null) throw new Error("an attempt without a run");
    const unconfirmed = attempt.lease === "OFFERED" && this.#random.below(2) === 0;
    await this.#changes.crash(tx, run, attempt, "chaos", unconfirmed ? "EXPIRED" : "REVOKED");
  }

  #word(lease?: AttemptRecord): RunWord | TaskWord {
    const common = {
      agent_id: lease?.agent_id ?? this.#random.of(AGENTS),
      workflow_instance_id: lease?.workflow_instance_id ?? this.#random.of(this.runIds),
      slice: 0,
      attempt: lease?.attempt ?? 1 + this.#random.below(4),
      timestamp_ms: this.#now + this.#random.below(20_000) - 10_000,
      error: null,
    };
    if (this.#random.below(3) === 0) {
      const status = this.#random.below(4) === 0 ? this.#random.of(RUN_STATUSES) : "RUNNING";
      return { ...common, stream_id: "stream", status, log_seq: 0 };
    }
    const task_id = this.#random.of(TASKS);
    return {
      ...common,
      task_id,
      task_instance_id: `${common.workflow_instance_id}-${common.attempt}-${task_id}`,
      task_attempt: 1 + this.#random.below(3),
      status: this.#random.of(RUN_STATUSES),
      exit_code: null,
      signal: null,
      cpu_ms: null,
      max_rss_kb: null,
      outputs: null,
    };
  }

  async #hear(tx: OperationalTx, word: RunWord | TaskWord): Promise<void> {
    this.#said.push(word);
    const attempt = await tx.getAttempt(word);
    const mine = attempt?.agent_id === word.agent_id;
    const open = mine && (attempt.lease === "OFFERED" || attempt.lease === "HELD");
    const before = await snapshot(tx, word.workflow_instance_id);
    const outcome =
      "task_id" in word ? await this.#changes.hearTask(tx, word) : await this.#changes.hearRun(tx, word);
    if (!open) expect(["over", "fenced"]).toContain(outcome);
    if (outcome !== "applied") expect(await snapshot(tx, word.workflow_instance_id)).toEqual(before);
  }

  read<T>(work: (tx: OperationalTx) => Promise<T>): Promise<T> {
    return this.#store.read(work);
  }
}

/** Everything that is stored of a run. */
async function snapshot(tx: OperationalTx, runId: string): Promise<unknown> {
  return [await tx.getRun(runId), await tx.listAttempts(runId), await tx.listTaskRuns(runId)];
}

/** Rows by what they are about, in the order in which they were written. */
function grouped<T>(rows: readonly T[], key: (row: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>();
  for (const row of rows) groups.set(key(row), [...(groups.get(key(row)) ?? []), row]);
  return groups;
}

function expectLegal<S extends string>(
  table: Transitions<S>,
  first: readonly S[],
  statuses: readonly S[],
): void {
  expect(first).toContain(statuses[0] as S);
  for (let i = 1; i < statuses.length; i++) {
    const [from, to] = [statuses[i - 1] as S, statuses[i] as S];
    expect(`${from} → ${to}: ${canTransition(table, from, to)}`).toBe(`${from} → ${to}: true`);
  }
}

function checkRun(
  run: RunRecord,
  attempts: readonly AttemptRecord[],
  rows: readonly RunStatusRow[],
  failover: string,
): void {
  // Attempt by attempt, in order, each a legal pass through the machine.
  const byAttempt = grouped(rows, (row) => String(row.attempt));
  expect([...byAttempt.keys()].map(Number)).toEqual(Array.from({ length: run.attempt }, (_, i) => i + 1));
  for (const [number, passes] of byAttempt) {
    expectLegal(
      RUN_TRANSITIONS,
      ["PENDING"],
      passes.map((row) => row.status),
    );
    if (Number(number) < run.attempt) expect(passes.at(-1)?.status).toBe("CRASHED");
  }
  expect(rows.map((row) => row.timestamp_ms)).toEqual(
    rows.map((row) => row.timestamp_ms).toSorted((a, b) => a - b),
  );
  expect(rows.at(-1)?.status).toBe(run.status);
  const over = isTerminal(RUN_TRANSITIONS, run.status);
  expect(run.finished_at_ms !== null).toBe(over);

  const open = attempts.filter((attempt) => attempt.lease === "OFFERED" || attempt.lease === "HELD");
  expect(open.length).toBeLessThanOrEqual(1);
  expect(run.queued).toBe(!over && open.length === 0);
  for (const attempt of open) expect(attempt.attempt).toBe(run.attempt);
  const leases: Record<LeaseState, RunStatus[]> = {
    OFFERED: ["PENDING"],
    HELD: ["RUNNING"],
    RELEASED: ["COMPLETED", "FAILED", "CANCELLED"],
    REVOKED: ["CRASHED", "CANCELLED"],
    EXPIRED: ["CRASHED", "CANCELLED"],
  };
  for (const attempt of attempts) expect(leases[attempt.lease]).toContain(attempt.status);
  const confirmedCrashes = attempts.filter(
    (attempt) => attempt.status === "CRASHED" && attempt.started_at_ms !== null,
  );
  const allowed = failover === "never" ? 1 : MAX_RUN_ATTEMPTS;
  expect(confirmedCrashes.length).toBeLessThanOrEqual(allowed);
  expect(run.crashed_attempts).toBe(confirmedCrashes.length);
  if (run.status === "CRASHED") expect(confirmedCrashes.length).toBe(allowed);
}

function checkTasks(run: RunRecord, rows: readonly TaskStatusRow[]): void {
  for (const passes of grouped(rows, (row) => row.task_instance_id).values()) {
    const statuses = passes.map((row) => row.status);
    // A task run begins in PENDING, which need not be said.
    expectLegal(
      TASK_TRANSITIONS,
      ["PENDING"],
      statuses[0] === "PENDING" ? statuses : ["PENDING", ...statuses],
    );
    const last = passes.at(-1);
    const current = last?.attempt === run.attempt && run.status === "RUNNING";
    if (!current)
      expect(
        `${last?.task_instance_id} over: ${isTerminal(TASK_TRANSITIONS, last?.status ?? "PENDING")}`,
      ).toEndWith("true");
  }
}

describe("whatever happens, in whatever order and however often", () => {
  const seeds = process.env.CDKTR_TEST_SEED
    ? [Number(process.env.CDKTR_TEST_SEED)]
    : [1, 2, ...Array.from({ length: LONG ? 100 : 1 }, (_, n) => (Date.now() + n) % 2 ** 31)];
  for (const seed of seeds) {
    test(`runs, leases and tasks obey their tables (CDKTR_TEST_SEED=${seed})`, async () => {
      await using stores = new TestStores();
      const store = await stores.open();
      const chaos = new Chaos(store, seed);
      const steps: Promise<void>[] = [];
      for (let i = 0; i < STEPS; i++) steps.push(chaos.step());
      await Promise.all(steps);
      const rows = await store.takeStatuses(0, 1_000_000);
      for (const id of chaos.runIds) {
        const { run, attempts } = await chaos.read(async (tx) => ({
          run: await tx.getRun(id),
          attempts: await tx.listAttempts(id),
        }));
        if (run === null) throw new Error(`${id} is gone`);
        const runRows = rows.flatMap(({ table, row }) =>
          table === "workflow_run_status" && row.workflow_instance_id === id ? [row] : [],
        );
        const taskRows = rows.flatMap(({ table, row }) =>
          table === "task_run_status" && row.workflow_instance_id === id ? [row] : [],
        );
        checkRun(run, attempts, runRows, chaos.failover.get(id) ?? "");
        checkTasks(run, taskRows);
        expect(chaos.ended.get(id) ?? 0).toBe(run.finished_at_ms === null ? 0 : 1);
      }
      expect(chaos.runIds).toHaveLength(RUNS);
      expect(chaos.ended.size).toBeGreaterThan(0);
    });
  }
});

describe("the tables", () => {
  for (const [name, table, first] of [
    ["run", RUN_TRANSITIONS, "PENDING"],
    ["task run", TASK_TRANSITIONS, "PENDING"],
    ["lease", LEASE_TRANSITIONS, "OFFERED"],
    ["agent", AGENT_TRANSITIONS, "UP"],
  ] as const) {
    test(`of a ${name}: from every state that can be reached an end can be reached`, () => {
      const reach = (from: string): Set<string> => {
        const seen = new Set([from]);
        for (const state of seen)
          for (const next of (table as Transitions<string>)[state] ?? []) seen.add(next);
        return seen;
      };
      for (const state of reach(first)) {
        expect([...reach(state)].some((end) => isTerminal(table as Transitions<string>, end))).toBe(true);
      }
    });
  }
});
