/**
 * What the machine of progress.ts must decide, computed from scratch each time: the facts (what ended how, what somebody executes, what was
 * stopped) and a fixpoint over the rules of the language. Slow and simple; shares no code with the machine.
 */

/** A task as the model sees it. */
export interface ModelTask {
  readonly id: string;
  readonly needs: readonly { readonly task: string; readonly accepts: ReadonlySet<string> }[];
  /** Why it is skipped when its needs are met. */
  readonly skipsFor?: string | null;
  /** What it waits for, if no agent executes it. */
  readonly waits?: string;
  readonly fanOut?: { readonly maxParallel: number | null; readonly failFast: boolean };
  readonly hook?: string;
}

/** How a task ended. */
export interface ModelEnd {
  readonly status: string;
  readonly isAllowed?: boolean;
}

/** What must be done with a task that is neither over nor executed. */
type Todo = "start" | "expand" | "wait";

type Ends = ReadonlyMap<string, ModelEnd>;

/** What follows from the facts: all that is over, what is to be done, and the status of the run; null while something is open. */
export interface ModelState {
  readonly over: Ends;
  readonly todo: ReadonlyMap<string, Todo>;
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

  expand(task: string, keys: readonly string[]): void {
    this.held.delete(task);
    const ids = keys.map((key) => `${task}[${key}]`);
    this.items.set(task, ids);
    for (const id of ids) this.#parents.set(id, task);
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
    // What was skipped is judged again if one of its needs is open again, and no other one is the reason.
    for (let changed = true; changed; ) {
      changed = false;
      const { over } = this.state();
      for (const [id, { status }] of this.ended) {
        const needs = this.#needsOf(id);
        const isOpen = needs.some(({ task }) => before.has(task) && !over.has(task));
        const isRefused = needs.some((need) => over.has(need.task) && !isMet(need, over));
        if (status === "SKIPPED" && isOpen && !isRefused) changed = this.ended.delete(id);
      }
    }
  }

  stop(kind: "cancelled" | "timed out"): void {
    if (this.hasBegun) for (const [id, end] of this.state().over) this.ended.set(id, end);
    this.stopped = kind;
    for (const id of this.asleep) {
      if (!this.held.delete(id)) continue;
      this.ended.set(id, { status: kind === "cancelled" ? "CANCELLED" : "FAILED" });
    }
    for (const [id, end] of this.state().over) this.ended.set(id, end);
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
    const isOver = this.#areOver(false, over) && this.#areOver(true, over);
    return { over, todo, finish: isOver ? this.#outcome(over) : null };
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

  #verdict(id: string, { over, todo }: Omit<ModelState, "finish">): ModelEnd | Todo | null {
    const task = this.#taskOf(id);
    if (task.hook !== undefined) {
      if (!this.#areOver(false, over)) return null;
      const isFor = task.hook === "on_exit" || task.hook === (HOOKS.get(this.#outcome(over)) ?? "on_failure");
      return isFor ? "start" : { status: "SKIPPED" };
    }
    const items = this.items.get(id);
    if (items !== undefined) return endOfItems(items.map((item) => over.get(item)));
    if (this.stopped !== null) return { status: this.stopped === "cancelled" ? "CANCELLED" : "SKIPPED" };
    const begin = task.waits !== undefined ? "wait" : "start";
    const siblings = this.items.get(this.#parents.get(id) ?? "");
    if (siblings !== undefined) {
      if (task.fanOut?.failFast === true && hasCause(siblings, over)) return { status: "CANCELLED" };
      const active = siblings.filter((item) => !over.has(item) && (todo.has(item) || this.held.has(item)));
      return active.length < (task.fanOut?.maxParallel ?? siblings.length) ? begin : null;
    }
    const isRefused = task.needs.some((need) => over.has(need.task) && !isMet(need, over));
    if (!isRefused && task.needs.some((need) => !over.has(need.task))) return null;
    if (isRefused || task.skipsFor != null) return { status: "SKIPPED" };
    return task.fanOut === undefined ? begin : "expand";
  }

  #outcome(over: Ends): string {
    if (this.stopped !== null) return this.stopped === "cancelled" ? "CANCELLED" : "FAILED";
    const ends = this.#scoped(false).flatMap(({ id }) => over.get(id) ?? []);
    if (ends.some(({ status }) => status === "CRASHED")) return "CRASHED";
    return ends.some(isFailure) ? "FAILED" : "COMPLETED";
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
  const status = WORST_FIRST.find((worse) => known.some((end) => end.status === worse)) ?? "COMPLETED";
  return { status, isAllowed: status === "FAILED" && !known.some(isFailure) };
}
