import type { AssignedItem, ItemResult, RunAssignment, StopOrder } from "../contract/messages.ts";
import type { Outputs } from "../contract/outputs.ts";
import { InvalidInputError } from "../errors.ts";
import { Timer } from "../timer.ts";
import {
  type Decision,
  type Item,
  type RunFinish,
  type TaskEnd,
  timeoutText,
} from "../workflow/decisions.ts";
import type { TaskResult } from "../workflow/expressions.ts";
import { aggregate, expandItems } from "../workflow/fan-out.ts";
import { nodeId } from "../workflow/item-id.ts";
import type { TaskDefinition } from "../workflow/model.ts";
import { neededBy, type Plan, planOf } from "../workflow/plan.ts";
import { Progress } from "../workflow/progress.ts";
import { factsOf } from "../workflow/run-facts.ts";
import { isEnding } from "../workflow/task-state.ts";
import { type FanOutEnd, FanOutRun, type ItemOnAgent } from "./fan-out-run.ts";
import { OutputsError } from "./parse-outputs.ts";
import { runReport } from "./reports.ts";
import { isSilentStop, type RunContext, type StopReason } from "./task-context.ts";
import type { Inputs } from "./task-files.ts";
import { type TaskOwner, TaskRun } from "./task-run.ts";
import type { InputFiles } from "./task-try.ts";

const KEPT_OUTPUTS_BYTES = 128 * 1024 * 1024;

const NO_FILES: readonly InputFiles[] = [];

/** How an attempt ended on this agent; null if the principal considers it over already and gets no report. */
export type RunEnd = RunFinish["status"] | "WAITING" | null;

/**
 * Executes one attempt of a run, or of a slice of it: carries out what the machine of progress.ts decides about its tasks. Independent
 * tasks run in parallel. When a task does not complete, the tasks that depend on it, directly or transitively, are skipped; other
 * branches continue. The time limit of a run that is shared with other agents is watched by the principal.
 */
export class SliceRun implements TaskOwner {
  readonly #context: RunContext;
  readonly #progress: Progress;
  /** Task runs by node: those of tasks that are not over, and those of items under way. */
  readonly #tasks = new Map<string, TaskRun>();
  readonly #fanOuts = new Map<string, FanOutRun>();
  /** The items of fan-outs by node, until they are over. */
  readonly #items = new Map<string, ItemOnAgent>();
  /** Items that wait for a slot: withdraws the request. */
  readonly #withoutSlot = new Map<string, () => void>();
  /** What tasks have left as files, by task and item. */
  readonly #files = new Map<string, Map<string | null, InputFiles>>();
  /** What is known of items from before, by fan-out. */
  readonly #itemsBefore: ReadonlyMap<string, readonly ItemResult[]>;
  readonly #plan: Plan;
  /** For each task, the number of those that need its results and are not over: until then its outputs are kept in memory. */
  readonly #readers = new Map<string, number>();
  /** Size of the outputs that are kept, in all and by node, bytes as JSON. */
  #keptBytes = 0;
  readonly #keptOf = new Map<string, number>();
  /** What is to be carried out. */
  #decisions: Decision[] = [];
  #isCarryingOut = false;
  readonly #over = Promise.withResolvers<RunEnd>();
  #started = false;
  #stopped: StopReason | undefined;
  readonly #limit: Timer;
  /** Monotonic. */
  readonly #begunMs: number;

  /** @throws InvalidInputError when the tasks do not form a DAG, or need others whose results are missing */
  constructor(context: RunContext) {
    this.#context = context;
    this.#begunMs = context.clock.monotonic();
    this.#limit = new Timer(() => this.stop("run timed out"), context.clock);
    const { workflow, tasks, items = {}, item_results = {} } = context.assignment;
    this.#itemsBefore = new Map(Object.entries(item_results));
    for (const files of context.assignment.artifacts ?? []) this.#addFiles(files);
    const over = overBefore(context.assignment);
    this.#plan = planOf(workflow);
    this.#progress = new Progress(this.#plan, {
      facts: () => factsOf(context.assignment, workflow),
      over,
      ...(tasks === undefined ? {} : { tasks }),
    });
    const scope = new Set(tasks ?? workflow.tasks.map(({ id }) => id));
    for (const definition of workflow.tasks) {
      const { id } = definition;
      if (!scope.delete(id) || over.has(id)) continue;
      if (this.#plan.node(id)?.fanOut !== undefined) this.#addFanOut(definition, items[id]);
      else this.#tasks.set(id, new TaskRun(definition, context, this));
      for (const read of this.#neededBy(id)) this.#readers.set(read, (this.#readers.get(read) ?? 0) + 1);
    }
    // They are over before: what they have published stays as long as the slice.
    for (const read of new Set(this.#plan.nodes.flatMap(({ through }) => through ?? [])))
      for (const id of read) this.#readers.set(id, (this.#readers.get(id) ?? 0) + 1);
    const [unknown] = scope;
    if (unknown !== undefined) throw new InvalidInputError(`there is no task "${unknown}"`);
  }

  #addFanOut(definition: TaskDefinition, given: readonly AssignedItem[] | undefined): void {
    const { id } = definition;
    this.#fanOuts.set(id, new FanOutRun(definition, this.#context, given));
    if (given === undefined) return;
    this.#setItems(id, given);
    // What follows from it is decided when the slice begins.
    this.#progress.expanded(id, this.#machineItems(id, given));
  }

  #setItems(task: string, items: readonly AssignedItem[]): void {
    const fanOut = this.#fanOuts.get(task);
    if (fanOut === undefined) return;
    for (const item of items) this.#items.set(nodeId(task, item.key), { fanOut, item });
  }

  /** The items of a fan-out for the machine, with those that are over from before. */
  #machineItems(task: string, items: readonly AssignedItem[]): Item[] {
    const ends = new Map(this.#itemsBefore.get(task)?.map((result) => [result.key, result]));
    return items.map(({ key }): Item => {
      const end = ends.get(key);
      if (end === undefined) return { key };
      this.#items.delete(nodeId(task, key));
      return { key, end: { status: end.status, outputs: this.#isNeeded(task) ? end.outputs : null } };
    });
  }

  /** Whether it was told to start, so that tasks may have started. */
  get isStarted(): boolean {
    return this.#started;
  }

  /** Resolves when every task is over and the end of the attempt is in the outbox. */
  get over(): Promise<RunEnd> {
    return this.#over.promise;
  }

  /** Executes the tasks. An attempt that must be confirmed starts when the principal has the confirmation. */
  start(): void {
    if (this.#stopped !== undefined) return;
    this.#started = true;
    const { workflow, tasks, time_left_ms = workflow.timeout_ms } = this.#context.assignment;
    if (time_left_ms !== null && tasks === undefined) this.#limit.in(time_left_ms);
    if (time_left_ms === 0) this.stop("run timed out");
    else this.#carryOut(this.#progress.begin());
  }

  /** Stops the tasks; the attempt is over when its processes are. */
  stop(reason: StopReason): void {
    if (isSilentStop(this.#stopped) || (this.#stopped !== undefined && reason !== "superseded")) return;
    const first = this.#stopped === undefined;
    this.#stopped = reason;
    if (!first) return;
    this.#carryOut(
      reason === "run timed out"
        ? this.#progress.stop("timed out", timeoutText(this.#context.assignment.workflow))
        : this.#progress.stop("cancelled"),
    );
    for (const id of [...this.#withoutSlot.keys()]) this.#stopItem(id, reason);
    for (const task of [...this.#tasks.values()]) task.stop(reason);
  }

  /** Stops some items, because another one has failed elsewhere. */
  stopItems(items: NonNullable<StopOrder["items"]>): void {
    for (const { task_id, key } of items) this.#stopItem(nodeId(task_id, key), "fail fast");
  }

  inputsOf(task: TaskDefinition): Inputs {
    const before = this.#inputTasks(task);
    const results = Object.entries(this.#progress.results(before));
    const items = before.flatMap((id): [string, Published[]][] => {
      const published = this.#publishedItems(id);
      return published.length === 0 ? [] : [[id, published]];
    });
    return {
      tasks: new Map(results.flatMap(([id, { outputs }]) => (outputs === null ? [] : [[id, outputs]]))),
      items: new Map(items),
    };
  }

  inputFilesOf(task: TaskDefinition): readonly InputFiles[] {
    if (this.#files.size === 0) return NO_FILES;
    return this.#inputTasks(task).flatMap((id) => [...(this.#files.get(id)?.values() ?? [])]);
  }

  /** The tasks of which it finds what they have published and left: those on which it depends, directly or through others that no agent executes. */
  #inputTasks({ id, depends }: TaskDefinition): readonly string[] {
    const through = this.#plan.node(id)?.through;
    return through === undefined ? depends : [...through.union(new Set(depends))];
  }

  resultOf(id: string): TaskResult | undefined {
    return this.#progress.results([id])[id];
  }

  #publishedItems(task: string): Published[] {
    const known = this.#fanOuts.get(task)?.items.map(({ key }) => key);
    if (known === undefined) {
      const before = this.#itemsBefore.get(task) ?? [];
      return before.flatMap(({ key, outputs }) => (outputs === null ? [] : [{ key, outputs }]));
    }
    const results = this.#progress.results(known.map((key) => nodeId(task, key)));
    return known.flatMap((key) => {
      const outputs = results[nodeId(task, key)]?.outputs ?? null;
      return outputs === null ? [] : [{ key, outputs }];
    });
  }

  taskOver({ status, outputs, artifacts, definition, item, error, isAllowed }: TaskRun): void {
    if (!isEnding(status)) return;
    if (artifacts !== null)
      this.#addFiles({ ...artifacts, task_id: definition.id, item_key: item?.key ?? null });
    const id = nodeId(definition.id, item?.key ?? null);
    this.#tasks.delete(id);
    this.#items.delete(id);
    if (item === undefined) this.#hasRead(definition);
    const kept = this.#isNeeded(definition.id) ? outputs : null;
    this.#carryOut(this.#progress.ended(id, { status, outputs: kept, error, isAllowed }));
  }

  /** A task has left files. */
  #addFiles({ task_id, item_key, hash, bytes }: InputFiles): void {
    const ofTask = this.#files.get(task_id) ?? new Map<string | null, InputFiles>();
    this.#files.set(task_id, ofTask);
    // Of two attempts at it, the newer one counts.
    ofTask.set(item_key, { task_id, item_key, hash, bytes });
  }

  /** A task is over: the results that it has read are dropped if nobody else reads them. */
  #hasRead(definition: TaskDefinition): void {
    for (const id of this.#neededBy(definition.id)) {
      const left = (this.#readers.get(id) ?? 0) - 1;
      this.#readers.set(id, left);
      if (left > 0) continue;
      this.#drop(id);
      for (const { key } of this.#fanOuts.get(id)?.items ?? []) this.#drop(nodeId(id, key));
    }
  }

  #drop(node: string): void {
    this.#progress.dropOutputs(node);
    this.#keptBytes -= this.#keptOf.get(node) ?? 0;
    this.#keptOf.delete(node);
  }

  taskRests(): void {
    this.#limit.cancel();
    this.#context.runDirectory.release(null);
    this.#context.outbox.addReport(runReport(this.#context, "WAITING"));
    this.#over.resolve("WAITING");
  }

  keepOutputs({ definition, item }: TaskRun, outputs: Outputs): void {
    if (!this.#isNeeded(definition.id)) return;
    const limit = this.#context.keptOutputsBytes ?? KEPT_OUTPUTS_BYTES;
    const bytes = Buffer.byteLength(JSON.stringify(outputs));
    if (this.#keptBytes + bytes > limit) {
      throw new OutputsError(
        `what tasks of this run have published on this agent, and others of them still need, would exceed ${formatMiB(limit)}; pass large data on as files`,
      );
    }
    this.#keptBytes += bytes;
    this.#keptOf.set(nodeId(definition.id, item?.key ?? null), bytes);
  }

  /** Whether a task that is not over needs the results of this one. */
  #isNeeded(id: string): boolean {
    return (this.#readers.get(id) ?? 0) > 0;
  }

  #neededBy(id: string): Iterable<string> {
    const node = this.#plan.node(id);
    return node === undefined ? [] : neededBy(node);
  }

  /** Carries out decisions in order: what follows from one that is carried out comes after those that were made before. */
  #carryOut(decisions: readonly Decision[]): void {
    this.#decisions.push(...decisions);
    if (this.#isCarryingOut) return;
    this.#isCarryingOut = true;
    try {
      // The list grows while it is read.
      for (const decision of this.#decisions) {
        switch (decision.kind) {
          case "start":
            this.#start(decision.task);
            break;
          case "expand":
            this.#decisions.push(...this.#expand(decision.task));
            break;
          case "skip":
            this.#skip(decision);
            break;
          case "cancel":
            this.#stopItem(decision.task, "fail fast", decision.reason);
            break;
          case "end": {
            const fanOut = this.#fanOuts.get(decision.task);
            if (fanOut === undefined) break;
            this.#reportEnd(fanOut, decision);
            break;
          }
          case "finish":
            this.#end(decision);
            break;
          default:
            throw new Error(`no agent carries out the decision "${decision.kind}"`);
        }
      }
    } finally {
      this.#decisions = [];
      this.#isCarryingOut = false;
    }
  }

  #start(id: string): void {
    const known = this.#items.get(id);
    if (known === undefined) {
      this.#tasks.get(id)?.start();
      return;
    }
    const { slots, assignment } = this.#context;
    // There may be very many: what an item needs is made when it has a slot.
    let hasSlot = false;
    const withdraw = slots.request(assignment.workflow_instance_id, () => {
      hasSlot = true;
      this.#withoutSlot.delete(id);
      this.#itemRun(id, known).startInSlot();
    });
    if (!hasSlot) this.#withoutSlot.set(id, withdraw);
  }

  #itemRun(id: string, { fanOut, item }: ItemOnAgent): TaskRun {
    const run = new TaskRun(fanOut.ofItems, this.#context, this, item);
    this.#tasks.set(id, run);
    return run;
  }

  /** Stops an item: its process, its wait for the next try, or its wait for a slot. */
  #stopItem(id: string, reason: StopReason, because?: string): void {
    const known = this.#items.get(id);
    if (known === undefined) return;
    this.#withoutSlot.get(id)?.();
    this.#withoutSlot.delete(id);
    (this.#tasks.get(id) ?? this.#itemRun(id, known)).stop(reason, because);
  }

  #expand(task: string): Decision[] {
    const fanOut = this.#fanOuts.get(task);
    if (fanOut === undefined) return [];
    const results = (id: string) => this.#progress.results([id])[id];
    const { assignment } = this.#context;
    const { workflow } = assignment;
    const expansion = expandItems(workflow, fanOut.definition, results, factsOf(assignment, workflow));
    if ("fail" in expansion) {
      const error = expansion.fail;
      const isAllowed = this.#plan.node(task)?.allowsFailure === true;
      this.#reportEnd(fanOut, { status: "FAILED", error, isAllowed });
      return this.#progress.ended(task, { status: "FAILED", error, isAllowed, isUnstarted: true });
    }
    const items = expansion.items.map((item, index) => ({ ...item, index }));
    fanOut.begin(items);
    this.#setItems(task, items);
    return this.#progress.expanded(task, this.#machineItems(task, items));
  }

  #skip({ task: id, status, reason, isAllowed }: Decision & { readonly kind: "skip" }): void {
    const fanOut = this.#fanOuts.get(id);
    if (fanOut !== undefined) {
      this.#reportEnd(fanOut, { status, error: reason, isAllowed });
      return;
    }
    const known = this.#items.get(id);
    const task = this.#tasks.get(id) ?? (known && this.#itemRun(id, known));
    if (this.#stopped !== undefined) task?.stop(this.#stopped);
    else if (status === "FAILED") task?.fail(reason, isAllowed);
    else if (status === "CANCELLED") task?.stop("fail fast", reason);
    else task?.skip(reason);
  }

  /** A fan-out is over; one of which other agents have items, too, is the principal's. */
  #reportEnd(fanOut: FanOutRun, end: FanOutEnd): void {
    if (fanOut.isWhole && !isSilentStop(this.#stopped)) fanOut.end(end);
    this.#hasRead(fanOut.definition);
  }

  #end({ status, error, allowed }: RunFinish): void {
    this.#limit.cancel();
    this.#context.runDirectory.release(isSilentStop(this.#stopped) ? null : status);
    if (isSilentStop(this.#stopped)) {
      this.#over.resolve(null);
      return;
    }
    const { outbox, clock } = this.#context;
    const duration_ms = Math.round(clock.monotonic() - this.#begunMs);
    const allowed_failures = allowed > 0 ? { allowed_failures: allowed } : {};
    outbox.addReport({ ...runReport(this.#context, status, error), duration_ms, ...allowed_failures });
    this.#over.resolve(status);
  }
}

function formatMiB(bytes: number): string {
  return `${Math.round(bytes / 1024 / 1024)} MiB`;
}

/** An item, and what it has published. */
interface Published {
  readonly key: string;
  readonly outputs: Outputs;
}

/** What was over before this attempt. */
function overBefore({
  completed_tasks,
  results = {},
  item_results = {},
}: RunAssignment): Map<string, TaskEnd> {
  const over = new Map(completed_tasks.map((id): [string, TaskEnd] => [id, { status: "COMPLETED" }]));
  for (const [id, result] of Object.entries(results)) {
    const { status, error = null, is_allowed: isAllowed = false, items_total } = result;
    const outputs =
      items_total === undefined ? result.outputs : aggregate(items_total, item_results[id] ?? []);
    over.set(id, { status, outputs, error, isAllowed });
  }
  return over;
}
