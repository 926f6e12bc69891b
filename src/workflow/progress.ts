/**
 * The machine that decides what runs next. Events in, decisions out: no I/O, no clock, no randomness, the same decisions for the same
 * events. The principal runs it for a run that several agents share; an agent runs it for the tasks that it was given. The caller
 * carries out the decisions, in order. An event costs time in proportion to the dependents of the tasks that it ends; nothing recurses.
 *
 * Phases of a task:
 *
 *   phase     event                                              next      decision
 *   ───────── ────────────────────────────────────────────────── ───────── ──────────────────────────────────────────────
 *   waiting   all needs are over and accepted (begin, ended)     started   start
 *             … it is a fan-out                                  started   expand
 *             … it waits for a time, a person, a child run       asleep    wait
 *             … its condition `when` does not hold               over      skip: SKIPPED, the condition is the reason
 *             … its condition cannot be computed                 over      skip: FAILED, says why
 *             a need is over and not accepted                    over      skip: SKIPPED, names the task that is to blame
 *             an open slice elsewhere has it (assigned)          assigned  none: whoever has the slice decides about it
 *             its items are known (expanded)                     expanded  start of the items, up to max_parallel at once
 *             it is known to be over (ended)                     over      those of its dependents
 *             it is known to wait (waits)                        asleep    none
 *             stop, also begin or released after it              over      skip: CANCELLED if cancelled, SKIPPED if timed out
 *   started   ended                                              over      those of its dependents
 *             an open slice elsewhere has it (assigned)          assigned  none
 *             it waits for its next try (waits)                  asleep    none
 *             its items are known (expanded)                     expanded  start of the items, up to max_parallel at once
 *             released, or one of its needs is undecided again   waiting   as from waiting
 *   assigned  ended                                              over      those of its dependents
 *             it waits for its next try (waits)                  asleep    none
 *             its items are known (expanded)                     expanded  start of the items, up to max_parallel at once
 *             released                                           waiting   as from waiting
 *             requeued                                           assigned  none: whoever gets the slice next decides about it
 *   asleep    ended                                              over      those of its dependents
 *             its time has come (due)                            started   start
 *             an open slice elsewhere has it (assigned)          assigned  none: it tries again
 *             its items are known (expanded)                     expanded  start of the items, up to max_parallel at once
 *             released                                           waiting   as from waiting
 *             stop                                               over      skip: CANCELLED if cancelled, FAILED if timed out
 *             stop, while it waits for a child run               asleep    cancel: it is over when the child run is
 *   expanded  an item is over                                    expanded  start of the next; with fail_fast, if it failed:
 *                                                                          skip and cancel of the others
 *             the last item is over                              over      end: the worst status of the items, their outputs
 *   over      released, unless COMPLETED or stopped              waiting   as from waiting
 *             requeued, unless COMPLETED or stopped              waiting   none: assigned at once; an item as from waiting
 *             requeued, COMPLETED because of what runs again     waiting   none: assigned at once
 *             SKIPPED, or FAILED without having started, and
 *             what it needs is released, unless another need
 *             is not accepted                                    waiting   as from waiting
 *             a fan-out of which an item is undecided again      expanded  as from expanded
 *
 * An item is a task without needs that waits for its turn. A hook waits until all other tasks are over, then it starts if it is for that
 * end, and is skipped if not; stop leaves hooks alone. Once hooks run, stopHooks skips those that wait as CANCELLED, and decides to
 * cancel those that have been started here; the end of the run stays what it is. Events that a phase does not list change nothing: a
 * repeated or late one is harmless.
 *
 * Decision about the run, when everything in scope is over (hooks too), and again if a release took it back:
 *
 *   finish CANCELLED   it was stopped as cancelled
 *   finish FAILED      it was stopped as timed out (the text is the caller's)
 *   finish CRASHED     a task CRASHED
 *   finish FAILED      a task FAILED and was not allowed to, or was CANCELLED although the run was not
 *   conclude           otherwise, if only the caller knows whether the outputs of the workflow can be computed: hooks wait for that
 *   finish FAILED      they cannot
 *   finish COMPLETED   otherwise; SKIPPED tasks do not matter
 */
import { InvalidInputError } from "../errors.ts";
import {
  type Decision,
  type Ended,
  type Item,
  type Outcome,
  type RunFinish,
  STOPPED,
  type Stop,
  type TaskEnd,
} from "./decisions.ts";
import { blameOf, endOfItems, isAccepted, isCause, outcomeOf, type RunStop } from "./ends.ts";
import type { HookOn } from "./hooks.ts";
import { nodeId } from "./item-id.ts";
import type { Plan, PlanNode, Result, Verdict } from "./plan.ts";
import type { RunFacts } from "./run-facts.ts";
import { canTransition, type RunStatus, type Transitions } from "./status.ts";
import type { Ending } from "./task-state.ts";

type Phase = "waiting" | "started" | "assigned" | "asleep" | "expanded" | "over";

/** The legal changes of phase: those in the table above. A phase may also stay. */
export const PHASE_TRANSITIONS: Transitions<Phase> = {
  waiting: ["started", "asleep", "assigned", "expanded", "over"],
  started: ["over", "assigned", "asleep", "expanded", "waiting"],
  assigned: ["over", "asleep", "expanded", "waiting"],
  asleep: ["over", "started", "assigned", "expanded", "waiting"],
  expanded: ["over"],
  over: ["waiting", "expanded"],
};

/** The items of a task. */
interface Items {
  readonly all: readonly State[];
  /** Number of items that are not over, and how many of those are under way. */
  open: number;
  running: number;
  /** The items before this one are not waiting for their turn. */
  next: number;
  /** Number of items whose failure cancels the others with fail_fast, and whether that is done. */
  causes: number;
  isCut: boolean;
}

/** A task or an item. */
interface State {
  readonly node: PlanNode;
  readonly isScoped: boolean;
  /** The fan-out that it is an item of. */
  readonly parent: State | null;
  phase: Phase;
  end: Ended | null;
  /** Number of needs that are not over, and of those that are over and not accepted. */
  open: number;
  refused: number;
  /** The task that is to blame if a need is not accepted, and how it ended. */
  blame: string | null;
  items: Items | null;
}

const HOOKS_STOPPED = "the hooks of the run were stopped";

const HOOKS_AFTER: Readonly<Record<RunFinish["status"], HookOn>> = {
  COMPLETED: "on_success",
  FAILED: "on_failure",
  CRASHED: "on_failure",
  CANCELLED: "on_cancel",
};

/** What {@link Progress} starts from. */
export interface ProgressOptions {
  /**
   * What the run knows of itself; called when the first condition is asked. Without it no condition is asked: the tasks run, as far as
   * their needs allow.
   */
  readonly facts?: () => RunFacts;
  /** The tasks that it decides about; all by default. */
  readonly tasks?: Iterable<string>;
  /** Whether tasks that all COMPLETED may still make a run that FAILED: {@link Progress.concluded} says so. */
  readonly concludes?: boolean;
  /** What is over already, also items. Ids that are not in the plan are ignored. */
  readonly over?: Iterable<readonly [id: string, end: TaskEnd]>;
}

/** How far a run, or a part of it, has got. */
export class Progress {
  readonly #plan: Plan;
  readonly #factsOf: (() => RunFacts) | undefined;
  #facts: RunFacts | undefined;
  readonly #states = new Map<string, State>();
  readonly #overBefore: ReadonlyMap<string, TaskEnd>;
  readonly #ready = new Set<State>();
  /** Number of tasks in scope that are not over, without items; hooks apart. */
  #open = 0;
  #openHooks = 0;
  #stop: RunStop | null = null;
  #hasBegun = false;
  /** Whether hooks have been decided about: the end of the other tasks is final. */
  #hasHooked = false;
  #areHooksStopped = false;
  readonly #concludes: boolean;
  /** Why a run has FAILED although all tasks COMPLETED, null for no reason; undefined while that is not known. */
  #conclusion: string | null | undefined;
  /** Why outputs are not kept; undefined while they are. */
  #leftOut: string | undefined;
  #finish: RunFinish | null = null;
  /** What an event has touched and must be looked at again. */
  #touched: State[] = [];
  #decided: { readonly at: number; readonly decision: Decision }[] = [];

  /** @throws InvalidInputError when a task in scope needs one that is neither in scope nor over */
  constructor(plan: Plan, options: ProgressOptions = {}) {
    this.#plan = plan;
    this.#factsOf = options.facts;
    this.#concludes = options.concludes === true;
    this.#overBefore = new Map(options.over);
    const scope = options.tasks === undefined ? null : new Set(options.tasks);
    for (const node of plan.nodes) this.#add(node, scope?.has(node.id) ?? true, null);
    for (const id of plan.order) {
      const end = this.#overBefore.get(id);
      const state = this.#states.get(id);
      if (end !== undefined && state !== undefined) this.#close(state, end);
    }
    this.#touched = [];
    if (scope === null) return;
    for (const { node, isScoped, phase } of this.#states.values()) {
      if (!isScoped || phase === "over") continue;
      for (const { task } of node.needs) {
        const needed = this.#states.get(task);
        if (needed?.isScoped === true || needed?.phase === "over") continue;
        throw new InvalidInputError(
          `task "${node.id}" needs "${task}", which is neither over nor among the tasks that were given with it`,
        );
      }
    }
  }

  /**
   * The tasks and items that were decided to start and are neither assigned nor over, in the order of the file. Without fan-outs whose
   * items go to agents without them.
   */
  get ready(): readonly PlanNode[] {
    return [...this.#ready].map(({ node }) => node).sort((a, b) => a.index - b.index);
  }

  /** A task, or an item of a fan-out that was expanded here. */
  node(id: string): PlanNode | undefined {
    return this.#states.get(id)?.node;
  }

  /** Whether the items of a fan-out that are not over are cancelled, because another one failed. */
  isCut(task: string): boolean {
    return this.#states.get(task)?.items?.isCut === true;
  }

  /** How it ended, once everything in scope is over. */
  get finish(): RunFinish | null {
    return this.#finish;
  }

  /** How the tasks ended, hooks apart, once all of them are over: what hooks are told. */
  get outcome(): Outcome | null {
    return this.#hasBegun && this.#open === 0 ? this.#outcome() : null;
  }

  /** Number of tasks and items, as a measure of the memory that this takes. */
  get size(): number {
    return this.#states.size;
  }

  /** Decides for the first time. Called again, it decides nothing. */
  begin(): Decision[] {
    if (this.#hasBegun) return [];
    this.#hasBegun = true;
    this.#touched = [...this.#states.values()];
    return this.#settle();
  }

  /** All tasks COMPLETED. @param error why the run FAILED nevertheless; null if it did not */
  concluded(error: string | null): Decision[] {
    if (!this.#concludes || this.#conclusion !== undefined || this.#open > 0) return [];
    this.#conclusion = error;
    return this.#settle();
  }

  /** A task is over. */
  ended(task: string, end: TaskEnd): Decision[] {
    const state = this.#states.get(task);
    if (state === undefined || state.phase === "over" || state.phase === "expanded") return [];
    this.#close(state, end);
    return this.#settle();
  }

  /** An open slice elsewhere has these tasks: nothing is decided about them here until they are over or released. */
  assigned(tasks: Iterable<string>): void {
    for (const task of tasks) {
      const state = this.#states.get(task);
      if (state?.phase === "waiting" || state?.phase === "started" || state?.phase === "asleep")
        this.#move(state, "assigned");
    }
  }

  /**
   * The slice with these tasks was lost or withdrawn: they are undecided again, except those that COMPLETED. So is what was skipped
   * because of them, unless another need is not accepted. After a stop, what is over stays over; so do all but hooks once those have
   * been decided about.
   */
  released(tasks: Iterable<string>): Decision[] {
    this.#release(tasks);
    return this.#settle();
  }

  /**
   * As {@link released}, but the slice waits for another agent, which decides about its tasks again.
   * @param disturbed those that are undecided again even if they COMPLETED, also of other slices; the items of fan-outs among them have
   *   never been
   */
  requeued(tasks: readonly string[], disturbed: ReadonlySet<string> = new Set()): Decision[] {
    this.#release(new Set([...tasks, ...disturbed]), disturbed);
    // An item is first decided about here: it may be cancelled with others by now.
    this.assigned(tasks.filter((task) => this.#states.get(task)?.parent === null));
    const decisions = this.#settle();
    this.assigned(tasks);
    return decisions;
  }

  /** A started task waits for its next try. Also for one that is known to wait from before, then before {@link begin}. */
  waits(task: string): void {
    const state = this.#states.get(task);
    if (state?.phase === "waiting" || state?.phase === "started" || state?.phase === "assigned")
      this.#move(state, "asleep");
  }

  /** The next try of a task that waits is due. */
  due(task: string): Decision[] {
    const state = this.#states.get(task);
    if (state?.phase !== "asleep") return [];
    this.#start(state);
    return this.#settle();
  }

  /**
   * The items of a fan-out are known. Also for one whose items are known from before, then before {@link begin}: one that is not given as
   * over ends with its items, by a decision as ever.
   * @throws InvalidInputError when two items have the same key
   */
  expanded(task: string, items: readonly Item[]): Decision[] {
    const state = this.#states.get(task);
    if (state?.node.fanOut === undefined || state.phase === "over" || state.items !== null) return [];
    const ids = new Set<string>();
    for (const { key } of items) {
      const id = nodeId(task, key);
      if (ids.has(id) || this.#states.has(id)) throw new InvalidInputError(`there is more than one "${id}"`);
      ids.add(id);
    }
    const { needs: _, fanOut: __, when: ___, ...rest } = state.node;
    this.#move(state, "expanded");
    const all = items.map(({ key, placement = rest.placement }, index) => {
      const item = { task, key, index };
      return this.#add({ ...rest, id: nodeId(task, key), needs: [], placement, item }, state.isScoped, state);
    });
    state.items = { all, open: all.length, running: 0, next: 0, causes: 0, isCut: false };
    for (const [index, item] of all.entries()) {
      const end = items[index]?.end ?? this.#overBefore.get(item.node.id);
      if (end !== undefined) this.#close(item, end);
    }
    this.#touched = this.#stop === null ? [state] : [...all, state];
    return this.#settle();
  }

  /**
   * Nothing more is started, except hooks. The first stop counts, and none does when all tasks are over.
   * @param error the text of a run that timed out
   */
  stop(kind: Stop, error: string | null = null): Decision[] {
    if (this.#stop !== null || (this.#hasBegun && this.#open === 0)) return [];
    this.#stop = { kind, error };
    this.#hasBegun = true;
    this.#touched = [...this.#states.values()];
    return this.#settle();
  }

  /**
   * Hooks that run are stopped, and those that wait do not start any more; the end of the run stays what it is. Changes nothing while
   * tasks are not over. Before {@link begin}: known from before.
   */
  stopHooks(): Decision[] {
    if (this.#areHooksStopped || (this.#hasBegun && (this.#open > 0 || this.#openHooks === 0))) return [];
    this.#areHooksStopped = true;
    if (!this.#hasBegun) return [];
    for (const state of this.#states.values()) {
      const { node, isScoped, phase } = state;
      if (node.hook === undefined || !isScoped) continue;
      if (phase === "started" || (phase === "asleep" && node.waits === "run"))
        this.#say(state, { kind: "cancel", task: node.id, reason: HOOKS_STOPPED });
      else if (phase === "asleep") this.#skip(state, "CANCELLED", HOOKS_STOPPED);
    }
    return this.#settle();
  }

  /**
   * The status of a task that is over; `assigned` while an open slice elsewhere has it.
   * @throws InvalidInputError when there is no such task
   */
  status(task: string): Ending | "undecided" | "assigned" {
    const { end, phase } = this.#state(task);
    return end?.status ?? (phase === "assigned" ? "assigned" : "undecided");
  }

  /** Number of its needs that are not over, while the task waits for them; null once it does not. */
  openNeeds(task: string): number | null {
    const { phase, open } = this.#state(task);
    return phase === "waiting" ? open : null;
  }

  /** Whether each need of a task is over and accepted, or is among these tasks. Also of an id that does not exist. */
  isMet(task: string, among: ReadonlySet<string>): boolean {
    const needs = this.#states.get(task)?.node.needs ?? [];
    return needs.every(({ task: needed, accepts }) => {
      if (among.has(needed)) return true;
      const state = this.#states.get(needed);
      return state !== undefined && isAccepted(accepts, state);
    });
  }

  /** What is known of those of these tasks that are over. */
  results(ids: Iterable<string>): Record<string, Result> {
    const known = [...ids].flatMap((id): [string, Result][] => {
      const result = this.#result(id);
      return result === undefined ? [] : [[id, result]];
    });
    return Object.fromEntries(known);
  }

  /** What has been published is not kept, and neither is what will be: whoever reads it is told this reason. */
  leaveOutOutputs(reason: string): void {
    this.#leftOut = reason;
    for (const state of this.#states.values()) if (state.end !== null) state.end = this.#kept(state.end);
  }

  #kept(end: Ended): Ended {
    if (this.#leftOut === undefined || end.outputs === null) return end;
    return { ...end, outputs: null, leftOut: this.#leftOut };
  }

  /** Nobody will ask for the outputs of this task again. */
  dropOutputs(task: string): void {
    const state = this.#state(task);
    if (state.end !== null) state.end = { ...state.end, outputs: null };
  }

  #release(tasks: Iterable<string>, disturbed: ReadonlySet<string> = new Set()): void {
    for (const task of tasks) {
      const state = this.#states.get(task);
      if (state === undefined || !state.isScoped || state.phase === "waiting" || state.phase === "expanded")
        continue;
      if (state.phase === "over" && this.#staysOver(state, disturbed.has(task))) continue;
      if (disturbed.has(task)) this.#forgetItems(state);
      this.#reopen(state);
    }
  }

  #forgetItems(state: State): void {
    for (const { node } of state.items?.all ?? []) this.#states.delete(node.id);
    state.items = null;
  }

  #staysOver({ node, end }: State, isDisturbed: boolean): boolean {
    const isKept = end?.status === "COMPLETED" && !isDisturbed;
    return isKept || this.#stop !== null || (this.#hasHooked && node.hook === undefined);
  }

  #result(id: string): Result | undefined {
    const end = this.#states.get(id)?.end;
    if (end == null) return undefined;
    const { status, error, outputs, isAllowed, leftOut } = end;
    return { status, error, outputs, isAllowed, ...(leftOut === undefined ? {} : { leftOut }) };
  }

  #state(task: string): State {
    const state = this.#states.get(task);
    if (state === undefined) throw new InvalidInputError(`there is no task "${task}"`);
    return state;
  }

  #add(node: PlanNode, isScoped: boolean, parent: State | null): State {
    const state: State = {
      node,
      isScoped,
      parent,
      phase: "waiting",
      end: null,
      open: node.needs.length,
      refused: 0,
      blame: null,
      items: null,
    };
    this.#states.set(node.id, state);
    this.#count(state, 1);
    return state;
  }

  /** Counts a task that is not over. */
  #count({ isScoped, parent, node }: State, by: 1 | -1): void {
    if (!isScoped || parent !== null) return;
    if (node.hook === undefined) this.#open += by;
    else this.#openHooks += by;
  }

  /** Decides about everything that was touched, and about what follows from that. */
  #settle(): Decision[] {
    if (this.#hasBegun) {
      // The list grows while it is read.
      for (const state of this.#touched) this.#decide(state);
      this.#touched = [];
      if (this.#open === 0) this.#decideEnd();
    }
    this.#touched = [];
    const decided = this.#decided;
    this.#decided = [];
    if (decided.length > 1) decided.sort((a, b) => a.at - b.at);
    return decided.map(({ decision }) => decision);
  }

  #decide(state: State): void {
    const { node, isScoped, phase } = state;
    if (!isScoped || node.hook !== undefined) return;
    if (phase === "expanded") {
      this.#decideItems(state);
    } else if (this.#stop !== null && (phase === "waiting" || phase === "asleep")) {
      const { [phase]: status, reason } = STOPPED[this.#stop.kind];
      if (phase === "asleep" && node.waits === "run")
        this.#say(state, { kind: "cancel", task: node.id, reason });
      else this.#skip(state, status, reason);
    } else if (phase === "waiting") {
      this.#decideWaiting(state);
    }
  }

  #decideWaiting(state: State): void {
    const { node } = state;
    if (state.parent !== null) {
      this.#touched.push(state.parent);
    } else if (state.refused > 0) {
      this.#skip(state, "SKIPPED", state.blame ?? "a task on which it depends did not complete");
    } else if (state.open === 0) {
      const verdict = node.when === undefined ? null : this.#ask(node.when);
      if (verdict === null) this.#begin(state);
      else if ("skip" in verdict) this.#skip(state, "SKIPPED", verdict.skip);
      else this.#skip(state, "FAILED", verdict.fail);
    }
  }

  #ask(when: NonNullable<PlanNode["when"]>): Verdict {
    this.#facts ??= this.#factsOf?.();
    return this.#facts === undefined ? null : when((id) => this.#result(id), this.#facts);
  }

  #begin(state: State): void {
    // Not a fan-out, but each of its items waits.
    if (state.node.waits === undefined || state.node.fanOut !== undefined) {
      this.#start(state);
      return;
    }
    this.#move(state, "asleep");
    this.#say(state, { kind: "wait", task: state.node.id });
  }

  #start(state: State): void {
    this.#move(state, "started");
    this.#say(state, { kind: state.node.fanOut === undefined ? "start" : "expand", task: state.node.id });
  }

  /** Starts items as far as allowed, or ends the fan-out. */
  #decideItems(state: State): void {
    const { items, node } = state;
    if (items === null || node.fanOut === undefined) return;
    if (items.open === 0) {
      const end = endOfItems(items.all);
      this.#close(state, end);
      this.#say(state, { kind: "end", task: node.id, ...end });
      return;
    }
    if (this.#stop !== null) return;
    const { maxParallel, failFast } = node.fanOut;
    if (failFast && items.causes > 0) {
      if (!items.isCut) this.#cut(items);
      return;
    }
    while (items.next < items.all.length && items.running < (maxParallel ?? Number.POSITIVE_INFINITY)) {
      const item = items.all[items.next++];
      if (item?.phase === "waiting") this.#begin(item);
    }
  }

  /** Cancels the items that are not over. */
  #cut(items: Items): void {
    items.isCut = true;
    const cause = items.all.find(isCause);
    const reason = `"${cause?.node.id}" ${cause?.end?.status} (fail_fast)`;
    for (const item of items.all) {
      if (item.phase === "waiting") this.#skip(item, "CANCELLED", reason);
      else if (item.phase !== "over") this.#say(item, { kind: "cancel", task: item.node.id, reason });
    }
  }

  /** All tasks but hooks are over. */
  #decideEnd(): void {
    const { failed: _, ...finish } = this.#outcome();
    if (this.#concludes && this.#conclusion === undefined && finish.status === "COMPLETED") {
      this.#decided.push({ at: Number.POSITIVE_INFINITY, decision: { kind: "conclude" } });
      return;
    }
    this.#hasHooked ||= this.#openHooks > 0;
    for (const { node, isScoped, phase } of this.#openHooks > 0 ? [...this.#states.values()] : []) {
      if (node.hook === undefined || !isScoped || phase !== "waiting") continue;
      const state = this.#state(node.id);
      if (this.#areHooksStopped) this.#skip(state, "CANCELLED", HOOKS_STOPPED);
      else if (node.hook === "on_exit" || node.hook === HOOKS_AFTER[finish.status]) this.#begin(state);
      else
        this.#skip(
          state,
          "SKIPPED",
          `the run ${finish.status === "CANCELLED" ? "was cancelled" : finish.status}`,
        );
    }
    if (this.#openHooks > 0 || this.#finish !== null) return;
    this.#finish = finish;
    this.#decided.push({ at: Number.POSITIVE_INFINITY, decision: { kind: "finish", ...finish } });
  }

  #outcome(): Outcome {
    const tasks = [...this.#states.values()].filter(
      ({ isScoped, parent, node }) => isScoped && parent === null && node.hook === undefined,
    );
    const outcome = outcomeOf(tasks, this.#stop);
    const error = this.#conclusion ?? null;
    return error === null || outcome.status !== "COMPLETED"
      ? outcome
      : { ...outcome, status: "FAILED", error };
  }

  #skip(state: State, status: "SKIPPED" | "CANCELLED" | "FAILED", reason: string): void {
    const isAllowed = status === "FAILED" && this.#stop === null && state.node.allowsFailure === true;
    this.#close(state, { status, error: reason, isAllowed, isUnstarted: status === "FAILED" });
    this.#say(state, { kind: "skip", task: state.node.id, status, reason, isAllowed });
  }

  #say(state: State, decision: Decision): void {
    this.#decided.push({ at: state.node.index, decision });
  }

  /** Changes the phase; keeps what is counted by phase. */
  #move(state: State, phase: Phase): void {
    if (phase !== state.phase && !canTransition(PHASE_TRANSITIONS, state.phase, phase))
      throw new Error(`Internal error: a task that is ${state.phase} cannot become ${phase}.`);
    const items = state.parent?.items;
    if (items != null) {
      items.running += Number(isUnderWay(phase)) - Number(isUnderWay(state.phase));
      items.open += Number(phase !== "over") - Number(state.phase !== "over");
    }
    if (phase === "over" && state.phase !== "over") this.#count(state, -1);
    if (phase !== "over" && state.phase === "over") this.#count(state, 1);
    if (phase === "started" && isForAgents(state.node)) this.#ready.add(state);
    else this.#ready.delete(state);
    state.phase = phase;
  }

  /** A task is over; its dependents, or its fan-out, are to be looked at. */
  #close(state: State, end: TaskEnd): void {
    const { status, error = null, outputs = null, isAllowed = false, isUnstarted = false, leftOut } = end;
    this.#move(state, "over");
    const kept = { status, error, outputs, isAllowed, isUnstarted };
    state.end = this.#kept(leftOut === undefined ? kept : { ...kept, leftOut });
    const { parent } = state;
    if (parent?.items != null && isCause(state)) parent.items.causes++;
    if (parent !== null) this.#touched.push(parent);
    for (const { dependent, accepts } of this.#dependents(state)) {
      dependent.open--;
      if (!isAccepted(accepts, state)) {
        dependent.refused++;
        dependent.blame ??= blameOf(state, accepts);
      }
      this.#touched.push(dependent);
    }
  }

  /** A task is undecided again, and with it what was skipped only because of it. */
  #reopen(first: State): void {
    const reopened = [first];
    for (let state = reopened.pop(); state !== undefined; state = reopened.pop()) {
      if (state.phase === "over") {
        for (const { dependent, accepts } of this.#dependents(state)) {
          dependent.open++;
          if (dependent.phase === "started") this.#move(dependent, "waiting");
          if (!isAccepted(accepts, state)) dependent.refused--;
          if (dependent.refused > 0) continue;
          dependent.blame = null;
          const { end } = dependent;
          if (dependent.isScoped && (end?.status === "SKIPPED" || end?.isUnstarted === true))
            reopened.push(dependent);
        }
        this.#finish = null;
        if (!this.#hasHooked) this.#conclusion = undefined;
      }
      const wasCause = isCause(state);
      this.#move(state, state.items === null ? "waiting" : "expanded");
      state.end = null;
      this.#touched.push(state);
      const { parent } = state;
      if (parent?.items == null) continue;
      const { items } = parent;
      if (wasCause) items.causes--;
      items.next = Math.min(items.next, state.node.item?.index ?? 0);
      items.isCut = false;
      // What was cancelled because of it is undecided again, too.
      if (wasCause && items.causes === 0 && parent.node.fanOut?.failFast === true)
        reopened.push(...items.all.filter(({ end }) => end?.status === "CANCELLED"));
      if (parent.phase === "over") reopened.push(parent);
      else this.#touched.push(parent);
    }
  }

  *#dependents({ node, parent }: State): Iterable<{ dependent: State; accepts: ReadonlySet<RunStatus> }> {
    if (parent !== null) return;
    for (const { task, accepts } of this.#plan.dependents(node.id)) {
      const dependent = this.#states.get(task);
      if (dependent !== undefined) yield { dependent, accepts };
    }
  }
}

function isUnderWay(phase: Phase): boolean {
  return phase === "started" || phase === "assigned" || phase === "asleep";
}

/** Whether agents execute it, or a slice with it: not if only its items are executed, or something is waited for. */
function isForAgents({ fanOut, waits }: PlanNode): boolean {
  return waits === undefined && fanOut?.isShared !== true;
}
