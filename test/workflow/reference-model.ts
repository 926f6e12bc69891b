/**
 * What the machine of progress.ts must decide, computed from scratch each time: the facts (what ended how, what somebody executes, what was
 * stopped) and a fixpoint over the rules of the language. Slow and simple; shares no code with the machine.
 */

/** A task as the model sees it. */
export interface ModelTask {
  readonly id: string;
  readonly needs: readonly { readonly task: string; readonly accepts: ReadonlySet<string> }[];
  /** What its condition says when its needs are met: that it does not run, or nothing, because it cannot be computed. */
  readonly verdict?: "skip" | "fail" | null;
  /** Whether any failure of it is allowed. */
  readonly allowsFailure?: boolean;
  /** It waits for a time, a person, or a child run. */
  readonly waits?: string;
  readonly fanOut?: { readonly maxParallel: number | null; readonly failFast: boolean };
  readonly hook?: string;
}

/** How a task ended. */
export interface ModelEnd {
  readonly status: string;
  readonly isAllowed?: boolean;
  /** It FAILED before it had started, because of what it depends on. */
  readonly isUnstarted?: boolean;
}

/** How the tasks of a run ended, hooks apart. */
export interface ModelOutcome {
  readonly status: string;
  /** Those that FAILED or CRASHED, and were not allowed to, in the order of the file. */
  readonly failed: readonly string[];
  /** Number of those that FAILED and were allowed to. */
  readonly allowed: number;
}

/** What must be done with a task that is neither over nor executed. */
type Todo = "start" | "expand" | "wait";

type Ends = ReadonlyMap<string, ModelEnd>;

/** What follows from the facts: all that is over, what is to be done, and the status of the run; null while something is open. */
export interface ModelState {
  readonly over: Ends;
  readonly todo: ReadonlyMap<string, Todo>;
  /** Null while a task other than a hook is open. */
  readonly outcome: ModelOutcome | null;
  readonly finish: string | null;
}

const WORST_FIRST = ["CRASHED", "FAILED", "CANCELLED", "SKIPPED", "COMPLETED"];

/** The hooks after a failure, a crash or a timeout are those of `on_failure`. */
const HOOKS = new Map([["COMPLETED", "on_success"]]).set("CANCELLED", "on_cancel");

const isFailure = ({ status, isAllowed = false }: ModelEnd): boolean =>
  !isAllowed && (status === "FAILED" || status === "CRASHED" || status === "CANCELLED");

/** The facts about a run, and what follows from them. */
export class ReferenceModel {
  /** Reports, and what a stop has closed. */
  readonly ended: Map<string, ModelEnd>;
  /** What somebody executes or waits for. */
  readonly held = new Set<string>();
  readonly asleep = new Set<string>();
  /** The items of fan-outs that were expanded. */
  readonly items = new Map<string, readonly string[]>();
  stopped: "cancelled" | "timed out" | null = null;
  /** The hooks were stopped, too. */
  areHooksStopped = false;
  /** Whether anything has been decided. */
  hasBegun = false;
  readonly #tasks: readonly ModelTask[];
  readonly #scope: ReadonlySet<string>;
  readonly #byId: ReadonlyMap<string, ModelTask>;
  readonly #parents = new Map<string, string>();

  constructor(tasks: readonly ModelTask[], over: Ends = new Map(), scope?: Iterable<string>) {
    this.#tasks = tasks;
    this.#byId = new Map(tasks.map((task) => [task.id, task]));
    this.#scope = new Set(scope ?? this.#byId.keys());
    this.ended = new Map(over);
  }

  /** @param items with how they ended, if they are over from before */
  expand(
    task: string,
    items: readonly { readonly key: string; readonly end?: ModelEnd | undefined }[],
  ): void {
    this.held.delete(task);
    const ids = items.map(({ key }) => `${task}[${key}]`);
    this.items.set(task, ids);
    for (const [index, id] of ids.entries()) {
      this.#parents.set(id, task);
      const end = items[index]?.end;
      if (end !== undefined) this.ended.set(id, end);
    }
  }

  /** A slice is lost. */
  release(tasks: Iterable<string>): void {
    const before = this.state().over;
    const isFinal = this.stopped !== null || (this.#scoped(true).length > 0 && this.#areOver(false, before));
    for (const id of tasks) {
      this.held.delete(id);
      this.asleep.delete(id);
      if (isFinal && (this.stopped !== null || this.#taskOf(id).hook === undefined)) continue;
      if (this.ended.get(id)?.status !== "COMPLETED") this.ended.delete(id);
    }
    if (isFinal) return;
    // What was cancelled for an item that failed is judged again with it.
    for (const [task, items] of this.items) {
      if (this.#taskOf(task).fanOut?.failFast !== true) continue;
      if (!hasCause(items, before) || hasCause(items, this.ended)) continue;
      for (const id of items) if (this.ended.get(id)?.status === "CANCELLED") this.ended.delete(id);
    }
    // What did not run because of others is judged again if one of its needs is open again, and no other one is the reason.
    for (let changed = true; changed; ) {
      changed = false;
      const { over } = this.state();
      for (const [id, { status, isUnstarted = false }] of this.ended) {
        const needs = this.#needsOf(id);
        const isOpen = needs.some(({ task }) => before.has(task) && !over.has(task));
        const isRefused = needs.some((need) => over.has(need.task) && !isMet(need, over));
        if ((status === "SKIPPED" || isUnstarted) && isOpen && !isRefused) changed = this.ended.delete(id);
      }
    }
  }

  stop(kind: "cancelled" | "timed out"): void {
    if (this.hasBegun) for (const [id, end] of this.state().over) this.ended.set(id, end);
    this.stopped = kind;
    for (const id of this.asleep) {
      // A child run has to be stopped first.
      if (this.#taskOf(id).waits === "run" || this.#taskOf(id).hook !== undefined) continue;
      if (!this.held.delete(id)) continue;
      this.ended.set(id, { status: kind === "cancelled" ? "CANCELLED" : "FAILED" });
    }
    for (const [id, end] of this.state().over) this.ended.set(id, end);
  }

  /** The second stop, while hooks run: those that wait do not run. */
  stopHooks(): void {
    if (this.#scoped(true).length === 0 || !this.#areOver(false, this.state().over)) return;
    this.areHooksStopped = true;
    for (const id of this.asleep) {
      const { hook, waits } = this.#taskOf(id);
      if (hook === undefined || waits === "run" || !this.held.delete(id)) continue;
      this.ended.set(id, { status: "CANCELLED" });
    }
  }

  state(): ModelState {
    const over = new Map(this.ended);
    const todo = new Map<string, Todo>();
    for (let changed = true; changed; ) {
      changed = false;
      for (const id of this.#ids()) {
        if (over.has(id) || todo.has(id) || this.held.has(id)) continue;
        const verdict = this.#verdict(id, { over, todo });
        if (verdict === null) continue;
        if (typeof verdict === "string") todo.set(id, verdict);
        else over.set(id, verdict);
        changed = true;
      }
    }
    const outcome = this.#areOver(false, over) ? this.#outcome(over) : null;
    const finish = this.#areOver(true, over) ? (outcome?.status ?? null) : null;
    return { over, todo, outcome, finish };
  }

  #ids(): string[] {
    const tasks = [...this.#scoped(false), ...this.#scoped(true)];
    return tasks.flatMap(({ id }) => [id, ...(this.items.get(id) ?? [])]);
  }

  #scoped(hooks: boolean): ModelTask[] {
    return this.#tasks.filter(({ id, hook }) => this.#scope.has(id) && (hook !== undefined) === hooks);
  }

  #taskOf(id: string): ModelTask {
    return this.#byId.get(this.#parents.get(id) ?? id) ?? { id, needs: [] };
  }

  #needsOf(id: string): ModelTask["needs"] {
    return this.#parents.has(id) ? [] : this.#taskOf(id).needs;
  }

  #areOver(hooks: boolean, over: Ends): boolean {
    return this.#scoped(hooks).every(({ id }) => over.has(id));
  }

  #verdict(id: string, { over, todo }: Pick<ModelState, "over" | "todo">): ModelEnd | Todo | null {
    const task = this.#taskOf(id);
    const begin = task.waits === undefined ? "start" : "wait";
    if (task.hook !== undefined) {
      if (!this.#areOver(false, over)) return null;
      const { status } = this.#outcome(over);
      const isFor = task.hook === "on_exit" || task.hook === (HOOKS.get(status) ?? "on_failure");
      if (!isFor) return { status: "SKIPPED" };
      return this.areHooksStopped ? { status: "CANCELLED" } : begin;
    }
    const items = this.items.get(id);
    if (items !== undefined) return endOfItems(items.map((item) => over.get(item)));
    if (this.stopped !== null) return { status: this.stopped === "cancelled" ? "CANCELLED" : "SKIPPED" };
    const siblings = this.items.get(this.#parents.get(id) ?? "");
    if (siblings !== undefined) {
      if (task.fanOut?.failFast === true && hasCause(siblings, over)) return { status: "CANCELLED" };
      const active = siblings.filter((item) => !over.has(item) && (todo.has(item) || this.held.has(item)));
      return active.length < (task.fanOut?.maxParallel ?? siblings.length) ? begin : null;
    }
    const isRefused = task.needs.some((need) => over.has(need.task) && !isMet(need, over));
    if (!isRefused && task.needs.some((need) => !over.has(need.task))) return null;
    if (isRefused || task.verdict === "skip") return { status: "SKIPPED" };
    if (task.verdict === "fail")
      return { status: "FAILED", isAllowed: task.allowsFailure === true, isUnstarted: true };
    return task.fanOut === undefined ? begin : "expand";
  }

  #outcome(over: Ends): ModelOutcome {
    const ends = this.#scoped(false).map(({ id }) => ({ id, ...(over.get(id) ?? { status: "none" }) }));
    const failed = ends.filter(
      (end) => (end.status === "FAILED" || end.status === "CRASHED") && isFailure(end),
    );
    const allowed = ends.filter((end) => end.status === "FAILED" && end.isAllowed === true).length;
    const status =
      this.stopped !== null
        ? this.stopped === "cancelled"
          ? "CANCELLED"
          : "FAILED"
        : ends.some((end) => end.status === "CRASHED")
          ? "CRASHED"
          : ends.some(isFailure)
            ? "FAILED"
            : "COMPLETED";
    return { status, failed: failed.map(({ id }) => id), allowed };
  }
}

function isMet({ task, accepts }: ModelTask["needs"][number], over: Ends): boolean {
  const { status = "", isAllowed = false } = over.get(task) ?? {};
  return accepts.has(status) || (isAllowed && accepts.has("COMPLETED"));
}

/** Whether an item failed, for which those of its siblings that are not over are cancelled. */
function hasCause(items: readonly string[], over: Ends): boolean {
  const ends = items.flatMap((id) => over.get(id) ?? []);
  return ends.some((end) => end.status !== "CANCELLED" && isFailure(end));
}

function endOfItems(ends: readonly (ModelEnd | undefined)[]): ModelEnd | null {
  const known = ends.filter((end) => end !== undefined);
  if (known.length < ends.length) return null;
  const failures = known.filter(isFailure);
  const deciding = failures.length > 0 ? failures : known;
  const status = WORST_FIRST.find((worse) => deciding.some((end) => end.status === worse)) ?? "COMPLETED";
  return { status, isAllowed: status === "FAILED" && failures.length === 0 };
}
