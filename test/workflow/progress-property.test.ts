/** The machine against the reference model: random graphs, random events, also such as come twice, late or never. */
import { expect, test } from "bun:test";
import type { Decision, Item, TaskEnd } from "../../src/workflow/decisions.ts";
import { readPlacement } from "../../src/workflow/placement.ts";
import { type Plan, type PlanNode, planFrom } from "../../src/workflow/plan.ts";
import { Progress } from "../../src/workflow/progress.ts";
import type { RunFacts } from "../../src/workflow/run-facts.ts";
import { nextSlices } from "../../src/workflow/slices.ts";
import type { RunStatus } from "../../src/workflow/status.ts";
import { LONG } from "../support/long.ts";
import { type ModelTask, ReferenceModel } from "./reference-model.ts";
import { randomDag, randomNumbers } from "./support.ts";

const CASES = LONG ? 50_000 : 2000;
const ENDS = ["COMPLETED", "FAILED", "CRASHED", "CANCELLED", "SKIPPED"] as const;
const PLACES = ["{}", '{"runs_on":{"zone":"eu"}}', '{"spread":true}'];
const HOOKS = ["on_success", "on_failure", "on_cancel", "on_exit"] as const;
const WAITS = ["time", "person", "run"] as const;
const FACTS: RunFacts = {
  params: {},
  run: {
    id: "run",
    workflow_id: "flow",
    attempt: 1,
    trigger: "api",
    scheduled_time_ms: null,
    created_at_ms: 0,
  },
  event: {},
  env: {},
};
const VERDICTS = { skip: { skip: "its condition" }, fail: { fail: "its condition cannot be computed" } };

type Task = PlanNode & ModelTask;

class Case {
  readonly #random: () => number;
  readonly #plan: Plan;
  #progress: Progress;
  readonly #model: ReferenceModel;
  /** What the machine has said to be over, or was told. */
  #told: Set<string>;
  #isFinished = false;
  #slices: string[][] = [];
  readonly #toExpand = new Set<string>();
  /** The items of fan-outs, as the machine was told. */
  readonly #items = new Map<string, readonly Item[]>();
  readonly #scope: ReadonlySet<string>;
  /** Whether several agents share it. */
  readonly #isShared: boolean;
  readonly #room: number;
  readonly #trace: string[] = [];

  constructor(seed: number) {
    this.#random = randomNumbers(seed);
    this.#isShared = this.#chance(0.6);
    this.#room = 1 + Math.floor(this.#random() * 4);
    const tasks = this.#tasks();
    const over = this.#over(tasks);
    const scope = this.#isShared || this.#chance(0.5) ? undefined : this.#part(tasks, over);
    this.#plan = planFrom(tasks);
    this.#progress = this.#machine(over, scope);
    this.#model = new ReferenceModel(tasks, over, scope);
    this.#told = new Set(over.keys());
    this.#scope = new Set(scope ?? tasks.map(({ id }) => id));
  }

  #machine(over: ReadonlyMap<string, TaskEnd>, scope?: Iterable<string>): Progress {
    return new Progress(this.#plan, {
      over,
      facts: () => FACTS,
      ...(scope === undefined ? {} : { tasks: scope }),
    });
  }

  get trace(): string {
    return this.#trace.join("\n");
  }

  play(): void {
    if (this.#chance(0.05)) this.#stop();
    this.#model.hasBegun = true;
    this.#apply("begin", this.#progress.begin());
    expect(this.#progress.begin()).toEqual([]);
    for (let steps = 0; steps < 300 && !this.#isFinished; steps++) this.#step();
    // From now on everything goes well.
    for (let steps = 0; !this.#isFinished; steps++) {
      if (steps > 5000) throw new Error("the run does not finish");
      const [id] = this.#model.held;
      if (id === undefined) throw new Error("the run has not finished, and nobody has anything to do");
      if (this.#toExpand.has(id)) this.#expand(id);
      else this.#end(id, { status: "COMPLETED" });
    }
    expect(this.#progress.ended(this.#plan.nodes[0]?.id ?? "", { status: "FAILED" })).toEqual([]);
  }

  #step(): void {
    const held = [...this.#model.held];
    const dice = this.#random();
    const id = this.#one(held);
    if (id === undefined || dice < 0.04) {
      const known = this.#one([...this.#told]);
      if (known !== undefined)
        this.#apply(`again ${known}`, this.#progress.ended(known, { status: this.#one(ENDS) ?? "FAILED" }));
    } else if (dice < 0.06) {
      this.#stop();
    } else if (dice < 0.08) {
      this.#stopHooks();
    } else if (dice < 0.1) {
      this.#restart();
    } else if (dice < 0.16 && this.#slices.length > 0) {
      const slice = this.#slices.splice(Math.floor(this.#random() * this.#slices.length), 1).flat();
      this.#model.release(slice);
      for (const task of slice) {
        this.#toExpand.delete(task);
        if (!this.#model.state().over.has(task)) this.#told.delete(task);
      }
      this.#takeBack();
      this.#isFinished = false;
      this.#apply(`released ${slice}`, this.#progress.released(slice));
    } else if (this.#toExpand.has(id) && this.#chance(0.8)) {
      this.#expand(id);
    } else if (dice < 0.22 && this.#mayPoll(id)) {
      if (this.#model.asleep.delete(id)) {
        expect(this.#progress.due(id)).toEqual([{ kind: "start", task: id }]);
      } else {
        this.#model.asleep.add(id);
        this.#progress.waits(id);
        // It leaves its slice.
        for (const slice of this.#slices) if (slice.includes(id)) slice.splice(slice.indexOf(id), 1);
      }
      this.#apply(`slept ${id}`, []);
    } else {
      const status = this.#chance(0.75) ? "COMPLETED" : (this.#one(ENDS) ?? "FAILED");
      const isFailed = status === "FAILED";
      this.#end(id, {
        status,
        isAllowed: isFailed && this.#chance(0.2),
        isUnstarted: isFailed && this.#chance(0.2),
      });
    }
  }

  /** What a release has opened again is in no slice; what was ready waits again if one of its needs is open again. */
  #takeBack(): void {
    const { over } = this.#model.state();
    for (const slice of this.#slices)
      slice.splice(0, slice.length, ...slice.filter((id) => over.has(id) || this.#model.held.has(id)));
    const assigned = new Set(this.#slices.flat());
    for (const id of this.#model.held) {
      if (assigned.has(id) || this.#model.asleep.has(id)) continue;
      if (this.#plan.node(id)?.needs.every(({ task }) => over.has(task)) !== false) continue;
      this.#model.held.delete(id);
      this.#toExpand.delete(id);
    }
  }

  /** Whether it could wait for its next try now, or does. */
  #mayPoll(id: string): boolean {
    const node = this.#plan.node(id);
    if (node === undefined || node.waits !== undefined || node.fanOut !== undefined) return false;
    // After a stop nothing begins to wait, but what waited for a child run may go on.
    if (this.#model.stopped !== null || node.hook !== undefined) return false;
    return node.needs.every(({ task, accepts }) => accepts.has(this.#progress.status(task) as RunStatus));
  }

  #end(id: string, end: TaskEnd): void {
    this.#model.held.delete(id);
    this.#model.asleep.delete(id);
    this.#toExpand.delete(id);
    this.#model.ended.set(id, { ...end });
    this.#told.add(id);
    this.#apply(`${id} ${end.status}`, this.#progress.ended(id, end));
    if (this.#chance(0.1)) expect(this.#progress.ended(id, { status: "FAILED" })).toEqual([]);
  }

  #expand(id: string): void {
    const isShared = this.#plan.node(id)?.fanOut?.isShared === true;
    const items = Array.from({ length: Math.floor(this.#random() ** 2 * 12) }, (_, n): Item => {
      const placement =
        isShared && this.#chance(0.3) ? { placement: readPlacement(this.#one(PLACES) ?? "{}") } : {};
      const end = this.#chance(0.1) ? { end: { status: "COMPLETED" as const } } : {};
      return { key: `k${n}`, ...placement, ...end };
    });
    if (items[0] !== undefined)
      expect(() => this.#progress.expanded(id, [...items, items[0] as Item])).toThrow();
    this.#toExpand.delete(id);
    this.#model.asleep.delete(id);
    this.#model.expand(id, items);
    this.#items.set(id, items);
    for (const { key, end } of items) if (end !== undefined) this.#told.add(`${id}[${key}]`);
    this.#apply(`expanded ${id} ${items.map(({ key }) => key)}`, this.#progress.expanded(id, items));
  }

  /** Whoever runs the machine is another process: it is built again from what is known. */
  #restart(): void {
    const { over } = this.#model.state();
    const assigned = new Set(this.#slices.flat().filter((id) => this.#model.held.has(id)));
    const known = new Map<string, TaskEnd>();
    // The end of a fan-out follows from its items.
    for (const [id, end] of over) if (!this.#model.items.has(id)) known.set(id, end as TaskEnd);
    this.#progress = this.#machine(known, this.#scope);
    for (const [id, items] of this.#items)
      if (this.#model.items.has(id)) expect(this.#progress.expanded(id, items)).toEqual([]);
    if (this.#isShared) this.#progress.assigned(assigned);
    for (const id of [...this.#model.held]) {
      if (this.#model.asleep.has(id)) this.#progress.waits(id);
      else if (!this.#isShared || !assigned.has(id)) {
        this.#model.held.delete(id);
        this.#toExpand.delete(id);
      }
    }
    for (const id of assigned) this.#toExpand.delete(id);
    this.#told = new Set(known.keys());
    this.#isFinished = false;
    const { stopped, areHooksStopped } = this.#model;
    // As the principal does it: what is known is told before the first decision.
    if (areHooksStopped) expect(this.#progress.stopHooks()).toEqual([]);
    this.#apply(
      "restarted",
      stopped === null ? this.#progress.begin() : this.#progress.stop(stopped, "late"),
    );
  }

  #stopHooks(): void {
    this.#model.stopHooks();
    this.#apply("hooks stopped", this.#progress.stopHooks());
  }

  #stop(): void {
    const kind = this.#chance(0.5) ? "cancelled" : "timed out";
    // Only hooks are left: nothing to stop.
    const isLate =
      this.#model.hasBegun &&
      this.#plan.nodes.every(
        ({ id, hook }) => hook !== undefined || !this.#scope.has(id) || this.#told.has(id),
      );
    if (this.#model.stopped === null && !isLate) this.#model.stop(kind);
    this.#apply(kind, this.#progress.stop(kind, "late"));
  }

  /** Compares the decisions with those of the model, and carries them out. */
  #apply(event: string, decisions: readonly Decision[]): void {
    this.#trace.push(
      `${event}: ${decisions.map((each) => `${each.kind} ${"task" in each ? each.task : ""}`).join(", ")}`,
    );
    const { over, todo, outcome, finish } = this.#model.state();
    const said = new Map<string, string>();
    for (const decision of decisions) {
      if (decision.kind === "finish") {
        expect(decision).toBe(decisions.at(-1) as typeof decision);
        expect(decision.status).toBe(finish as typeof decision.status);
        expect(decision.allowed).toBe(outcome?.allowed as number);
      } else if (decision.kind === "conclude") {
        throw new Error("nobody has asked for it");
      } else if (decision.kind === "cancel") {
        expect(this.#model.held).toContain(decision.task);
      } else {
        expect(said.has(decision.task)).toBe(false);
        if (decision.kind === "skip" || decision.kind === "end")
          expect(decision.isAllowed).toBe(over.get(decision.task)?.isAllowed ?? false);
        said.set(
          decision.task,
          decision.kind === "skip" || decision.kind === "end" ? decision.status : decision.kind,
        );
      }
    }
    const expected = new Map<string, string>(todo);
    for (const [id, { status }] of over) if (!this.#told.has(id)) expected.set(id, status);
    // A release may find another reason to skip a task again, or to begin with one that was ready.
    for (const [id, what] of event.startsWith("released") ? said : []) {
      const isReady = this.#model.held.has(id) && !this.#model.asleep.has(id);
      if (this.#told.has(id) ? over.get(id)?.status === what : isReady) said.delete(id);
    }
    expect(sorted(said)).toEqual(sorted(expected));
    expect(decisions.some(({ kind }) => kind === "finish")).toBe(finish !== null && !this.#isFinished);
    expect(this.#progress.finish?.status ?? null).toBe(finish as never);
    const { status, failed, allowed } = this.#progress.outcome ?? {};
    expect(status === undefined ? null : { status, failed, allowed }).toEqual(outcome as never);
    this.#isFinished = finish !== null;
    this.#told = new Set(over.keys());
    for (const [id, what] of todo) {
      this.#model.held.add(id);
      if (what === "wait") this.#model.asleep.add(id);
      if (what === "expand") this.#toExpand.add(id);
    }
    for (const [id, { status }] of over) {
      if (this.#isKnown(id)) expect(`${id} ${this.#progress.status(id)}`).toBe(`${id} ${status}`);
    }
    if (this.#isShared) this.#share();
  }

  /** Gives slices to agents. */
  #share(): void {
    const slices = nextSlices(this.#plan, this.#progress, this.#room);
    const assigned = new Set(this.#slices.flat());
    const ready = new Set(this.#progress.ready.map(({ id }) => id));
    const free = (id: string): boolean =>
      this.#isKnown(id) &&
      this.#progress.status(id) === "undecided" &&
      !assigned.has(id) &&
      !this.#model.asleep.has(id);
    const expected = this.#expectedSlices(free, ready);
    expect(slices.map(({ tasks }) => tasks.toSorted().join()).sort()).toEqual(
      expected.map((tasks) => tasks.toSorted().join()).sort(),
    );
    for (const { tasks } of slices) {
      // An agent that has a fan-out expands it by itself.
      if (tasks.some((id) => this.#toExpand.has(id)) && this.#chance(0.7)) continue;
      this.#trace.push(`slice ${tasks}`);
      this.#progress.assigned(tasks);
      this.#slices.push(tasks);
      for (const id of tasks) {
        this.#model.held.add(id);
        this.#toExpand.delete(id);
      }
    }
  }

  /** By greatest fixpoint: from all free tasks of a placement, those are taken away whose needs are not met. */
  #expectedSlices(isFree: (id: string) => boolean, ready: ReadonlySet<string>): string[][] {
    const { over } = this.#model.state();
    const isMet = (node: PlanNode, among: ReadonlySet<string>): boolean =>
      node.needs.every(({ task, accepts }) => {
        const end = over.get(task);
        if (end === undefined) return among.has(task);
        return accepts.has(end.status as RunStatus) || (end.isAllowed === true && accepts.has("COMPLETED"));
      });
    const free = this.#plan.nodes
      .filter(({ id, waits, fanOut, hook }) => {
        if (waits !== undefined || fanOut?.isShared === true) return false;
        return (hook === undefined || ready.has(id)) && !this.#model.items.has(id);
      })
      .filter(({ id }) => isFree(id));
    const isAlone = ({ polls, placement }: PlanNode): boolean => polls === true || placement.spread;
    const alone = free.filter((node) => isAlone(node) && ready.has(node.id)).map(({ id }) => [id]);
    const others = free.filter((node) => !isAlone(node));
    const together = [...Map.groupBy(others, ({ placement }) => placement.key).values()].flatMap((nodes) => {
      const among = new Set(nodes.map(({ id }) => id));
      for (let size = -1; size !== among.size; ) {
        size = among.size;
        for (const node of nodes) if (!isMet(node, among)) among.delete(node.id);
      }
      return among.size === 0 ? [] : [[...among]];
    });
    return [...alone, ...together, ...this.#expectedItems(isFree)];
  }

  /** The items of a fan-out that are ready, a few of one placement together. */
  #expectedItems(isFree: (id: string) => boolean): string[][] {
    return [...this.#items].flatMap(([task, items]) => {
      const node = this.#plan.node(task);
      if (node === undefined || node.waits !== undefined || !this.#model.items.has(task)) return [];
      const free = items.filter(
        ({ key }) => isFree(`${task}[${key}]`) && this.#model.held.has(`${task}[${key}]`),
      );
      const keyOf = ({ placement = node.placement }: Item): string => placement.key;
      return [...Map.groupBy(free, keyOf).values()].flatMap((group) => {
        const size = node.polls === true ? 1 : Math.min(100, Math.ceil(group.length / (4 * this.#room)));
        return Array.from({ length: Math.ceil(group.length / size) }, (_, n) =>
          group.slice(n * size, (n + 1) * size).map(({ key }) => `${task}[${key}]`),
        );
      });
    });
  }

  #isKnown(id: string): boolean {
    try {
      this.#progress.status(id);
      return true;
    } catch {
      return false;
    }
  }

  #tasks(): Task[] {
    const isPlain = this.#chance(0.4);
    const count = 1 + Math.floor(this.#random() ** 3 * 60);
    const placesUsed = this.#chance(0.5) ? 1 : 3;
    const tasks = randomDag(this.#random, count, 4).map(({ id, depends }, index): Task => {
      const needs = depends.map((task) => ({ task, accepts: this.#accepts(isPlain) }));
      const placement = readPlacement(PLACES[Math.floor(this.#random() * placesUsed)] ?? "{}");
      const base = { id, name: id, index, needs, placement };
      if (isPlain) return base;
      const verdict = this.#chance(0.1) ? (this.#one(["skip", "fail"] as const) ?? null) : null;
      const fanOut = this.#chance(0.1)
        ? {
            maxParallel: this.#chance(0.5) ? null : 2,
            failFast: this.#chance(0.5),
            ...(placement.spread || this.#chance(0.3) ? { isShared: true } : {}),
          }
        : undefined;
      const waits = this.#chance(0.1) ? this.#one(WAITS) : undefined;
      return {
        ...base,
        verdict,
        when: () => (verdict === null ? null : VERDICTS[verdict]),
        ...(this.#chance(0.3) ? { allowsFailure: true } : {}),
        ...(fanOut === undefined ? {} : { fanOut }),
        ...(waits === undefined ? (this.#chance(0.1) ? { polls: true } : {}) : { waits }),
      };
    });
    if (isPlain) return tasks;
    const hooks = HOOKS.filter(() => this.#chance(0.15)).map((hook, n): Task => {
      const index = tasks.length + n;
      const waits = this.#chance(0.2) ? this.#one(WAITS) : undefined;
      const base = { id: hook, name: hook, index, needs: [], placement: readPlacement("{}"), hook };
      return waits === undefined ? base : { ...base, waits };
    });
    return [...tasks, ...hooks];
  }

  #accepts(isPlain: boolean): ReadonlySet<RunStatus> {
    if (isPlain || this.#chance(0.7)) return new Set<RunStatus>(["COMPLETED"]);
    return new Set<RunStatus>(ENDS.filter(() => this.#chance(0.5)));
  }

  /** What an earlier attempt has left. */
  #over(tasks: readonly Task[]): Map<string, TaskEnd> {
    if (this.#chance(0.7)) return new Map();
    return new Map(
      tasks
        .filter(
          ({ hook, waits, fanOut }) => hook === undefined && waits === undefined && fanOut === undefined,
        )
        .filter(() => this.#chance(0.2))
        .map(({ id }) => [id, { status: "COMPLETED" }]),
    );
  }

  /** Some tasks whose needs are among them, or over. */
  #part(tasks: readonly Task[], over: ReadonlyMap<string, TaskEnd>): string[] {
    const scope = new Set<string>();
    for (const { id, needs } of tasks) {
      const isClosed = needs.every(({ task }) => scope.has(task) || over.has(task));
      if (isClosed && this.#chance(0.7)) scope.add(id);
    }
    return [...scope];
  }

  #chance(of: number): boolean {
    return this.#random() < of;
  }

  #one<T>(list: readonly T[]): T | undefined {
    return list[Math.floor(this.#random() * list.length)];
  }
}

const sorted = (map: ReadonlyMap<string, string>): string[] =>
  [...map].map(([id, what]) => `${id} ${what}`).sort();

test(`${CASES} random runs: the machine decides what the model computes`, () => {
  for (let seed = 1; seed <= CASES; seed++) {
    const each = new Case(seed);
    try {
      each.play();
    } catch (error) {
      throw new Error(`seed ${seed}:\n${each.trace}\n${String(error)}`, { cause: error });
    }
  }
});
