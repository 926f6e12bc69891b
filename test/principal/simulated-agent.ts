/**
 * An agent without processes: it has the outbox, the leases and the machine of a real one, and decides by chance how its tasks end.
 * Whoever has it carries its messages.
 */
import type { AgentReport, AgentReports, RunAssignment, StopOrder } from "../../src/contract/messages.ts";
import { type AttemptName, nameOf } from "../../src/principal/runs/attempt-name.ts";
import type { Decision, Item, TaskEnd } from "../../src/workflow/decisions.ts";
import { nodeId } from "../../src/workflow/item-id.ts";
import type { TaskDefinition } from "../../src/workflow/model.ts";
import { planOf } from "../../src/workflow/plan.ts";
import { Progress } from "../../src/workflow/progress.ts";
import { factsOf } from "../../src/workflow/run-facts.ts";
import type { RunStatus } from "../../src/workflow/status.ts";

/** What agents have really done, whatever the principal heard of it. */
export interface Deeds {
  /** By `RUN SLICE ATTEMPT TASK`: how often it was started. */
  readonly starts: Map<string, number>;
  /** By task instance: how it ended. The agent that has the next try of a poll may have ended it otherwise than one that was cut off. */
  readonly ends: Map<string, RunStatus[]>;
}

/** A slice on the agent, or a run as a whole. */
class HeldSlice {
  readonly assignment: RunAssignment;
  readonly progress: Progress;
  /** Task runs under way, by node. */
  readonly running = new Map<string, string>();
  /** Task runs of fan-outs that the agent itself has expanded. */
  readonly fanOuts = new Map<string, string>();
  /** What is to be carried out. */
  decisions: Decision[] = [];
  isConfirmed = false;
  isStopped = false;

  constructor(assignment: RunAssignment) {
    this.assignment = assignment;
    const { workflow, tasks, completed_tasks, results = {} } = assignment;
    const over = new Map(completed_tasks.map((id): [string, TaskEnd] => [id, { status: "COMPLETED" }]));
    for (const [id, { status, is_allowed: isAllowed = false }] of Object.entries(results))
      over.set(id, { status, isAllowed });
    const facts = () => factsOf(assignment, workflow);
    const { items = {} } = assignment;
    this.progress = new Progress(planOf(workflow), {
      over,
      facts,
      ...(tasks === undefined ? {} : { tasks }),
    });
    for (const [task, given] of Object.entries(items)) this.progress.expanded(task, this.#items(task, given));
  }

  /** The items of a fan-out, which is a literal one. */
  expand(task: string): Decision[] {
    const { foreach = [] } = this.assignment.workflow.tasks.find(({ id }) => id === task) ?? {};
    const items = [...foreach].map((_, index) => ({ key: String(index), index }));
    return this.progress.expanded(task, this.#items(task, items));
  }

  #items(task: string, items: readonly { readonly key: string }[]): Item[] {
    const before = new Set(this.assignment.item_results?.[task]?.map(({ key }) => key));
    return items.map(({ key }) => ({ key, ...(before.has(key) ? { end: { status: "COMPLETED" } } : {}) }));
  }

  definition(node: string): TaskDefinition | undefined {
    return this.assignment.workflow.tasks.find(({ id }) => id === this.named(node).task_id);
  }

  /** Whether it may wait for another try, without an agent. */
  mayRest(node: string): boolean {
    return !this.isStopped && this.definition(node)?.repeat !== undefined;
  }

  /** The task of a node, and the item if it is one of a fan-out. */
  named(node: string): { task_id: string; item?: { key: string; index: number } } {
    const item = this.progress.node(node)?.item;
    return item === undefined
      ? { task_id: node }
      : // Not its place in the slice. Its key is its place in the list.
        { task_id: item.task, item: { key: item.key, index: Number(item.key) } };
  }
}

/** One agent. Its outbox survives its process. */
export class SimulatedAgent {
  readonly id: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly protocol: number;
  readonly capacity: number;
  readonly slices = new Map<string, HeldSlice>();
  readonly outbox: AgentReport[] = [];
  readonly #deeds: Deeds;
  #seq = 0;
  #instances = 0;
  #processes = 0;
  isUp = false;
  /** Whether the principal knows its process. */
  isRegistered = false;

  constructor(options: Pick<SimulatedAgent, "id" | "labels" | "protocol" | "capacity">, deeds: Deeds) {
    this.id = options.id;
    this.labels = options.labels;
    this.protocol = options.protocol;
    this.capacity = options.capacity;
    this.#deeds = deeds;
  }

  get session(): string {
    return `${this.id}-${this.#processes}`;
  }

  get names(): AttemptName[] {
    return [...this.slices.values()].map(({ assignment }) => assignment);
  }

  /** What the agent could finish now. */
  get busy(): { slice: HeldSlice; task: string }[] {
    return [...this.slices.values()].flatMap((slice) =>
      [...slice.running.keys()].map((task) => ({ slice, task })),
    );
  }

  start(): void {
    this.#processes++;
    this.isUp = true;
  }

  /** Its process is killed; what it has written into the outbox stays. */
  kill(): void {
    this.isUp = false;
    this.isRegistered = false;
    this.slices.clear();
  }

  /** It gets a run, or a slice. Returns what may begin at once; otherwise the principal must confirm it first. */
  take(assignment: RunAssignment): HeldSlice | null {
    const name = nameOf(assignment);
    if (this.slices.has(name)) return null;
    const slice = new HeldSlice(assignment);
    this.slices.set(name, slice);
    if (assignment.is_confirmed === true) slice.isConfirmed = true;
    else this.#reportRun(assignment, "RUNNING", null);
    return slice.isConfirmed ? slice : null;
  }

  /** The reports that the principal does not have for sure. */
  batch(): AgentReports | null {
    const reports = this.outbox.slice(0, 200);
    if (reports.length === 0) return null;
    return { agent_id: this.id, session_id: this.session, stream_id: `stream-${this.id}`, reports };
  }

  /** The principal has the reports up to this one. Returns the slices that may start now. */
  confirmed(seq: number, fenced: readonly AttemptName[]): HeldSlice[] {
    const heard = new Set<string>();
    while (this.outbox[0] !== undefined && this.outbox[0].seq <= seq) {
      const report = this.outbox.shift();
      if (report?.kind === "run" && report.status === "RUNNING") heard.add(nameOf(report));
    }
    for (const name of fenced) this.slices.delete(nameOf(name));
    const fresh = [...this.slices].flatMap(([name, slice]) =>
      heard.has(name) && !slice.isConfirmed ? [slice] : [],
    );
    for (const slice of fresh) slice.isConfirmed = true;
    return fresh;
  }

  /** Begins a slice that was confirmed. */
  begin(slice: HeldSlice): void {
    if (!slice.isStopped) this.#carryOut(slice, slice.progress.begin());
  }

  /** A task that is under way ends. */
  finish(slice: HeldSlice, task: string, status: "COMPLETED" | "FAILED" | "CANCELLED"): void {
    const instance = slice.running.get(task);
    if (instance === undefined) return;
    slice.running.delete(task);
    this.#deeds.ends.set(instance, [...(this.#deeds.ends.get(instance) ?? []), status]);
    const { allow_failure } = slice.definition(task) ?? {};
    const isAllowed = status === "FAILED" && allow_failure === true && !slice.isStopped;
    this.#reportTask(slice, task, instance, status, null, isAllowed);
    this.#carryOut(slice, slice.progress.ended(task, { status, isAllowed }));
  }

  /** A try of a task that polls ends, and its condition does not hold: no agent has it until the next one. */
  rest(slice: HeldSlice, task: string): void {
    const instance = slice.running.get(task);
    if (instance === undefined) return;
    slice.running.delete(task);
    this.slices.delete(nameOf(slice.assignment));
    this.#reportTask(slice, task, instance, "WAITING", null);
    this.#reportRun(slice.assignment, "WAITING", null);
  }

  /** It gives a slice up: its process ends in an orderly way. */
  handOver(slice: HeldSlice): void {
    this.slices.delete(nameOf(slice.assignment));
    this.#reportRun(slice.assignment, "CRASHED", "handed over");
  }

  obey(order: StopOrder): void {
    const slice = this.slices.get(nameOf(order));
    if (slice === undefined) return;
    if (order.items !== undefined) {
      for (const { task_id, key } of slice.isConfirmed ? order.items : []) {
        const node = nodeId(task_id, key);
        if (slice.running.has(node)) this.finish(slice, node, "CANCELLED");
      }
      return;
    }
    if (order.reason === "superseded") {
      this.slices.delete(nameOf(order));
      return;
    }
    if (slice.isStopped) return;
    slice.isStopped = true;
    this.#carryOut(slice, slice.progress.stop(order.reason, "the run timed out"));
    const left = order.reason === "cancelled" ? "CANCELLED" : "FAILED";
    for (const task of [...slice.running.keys()]) this.finish(slice, task, left);
  }

  #carryOut(slice: HeldSlice, decisions: readonly Decision[]): void {
    const isFirst = slice.decisions.length === 0;
    slice.decisions.push(...decisions);
    if (!isFirst) return;
    // The list grows while it is read.
    for (const decision of slice.decisions) {
      if (decision.kind === "start") this.#startTask(slice, decision.task);
      else if (decision.kind === "skip") {
        this.#reportTask(
          slice,
          decision.task,
          this.#instance(slice, decision.task),
          decision.status,
          decision.reason,
          decision.isAllowed,
        );
      } else if (decision.kind === "expand") {
        const { task } = decision;
        const instance = this.#instance(slice, task);
        slice.fanOuts.set(task, instance);
        this.#reportTask(slice, task, instance, "RUNNING", null);
        slice.decisions.push(...slice.expand(task));
      } else if (decision.kind === "end") {
        const instance = slice.fanOuts.get(decision.task);
        if (instance !== undefined)
          this.#reportTask(
            slice,
            decision.task,
            instance,
            decision.status,
            decision.error,
            decision.isAllowed,
          );
      } else if (decision.kind === "cancel") {
        if (slice.running.has(decision.task)) this.finish(slice, decision.task, "CANCELLED");
      } else if (decision.kind === "finish") {
        this.slices.delete(nameOf(slice.assignment));
        this.#reportRun(slice.assignment, decision.status, decision.error);
      } else throw new Error(`no agent does ${decision.kind}`);
    }
    slice.decisions = [];
  }

  #startTask(slice: HeldSlice, task: string): void {
    const key = `${nameOf(slice.assignment)} ${task}`;
    this.#deeds.starts.set(key, (this.#deeds.starts.get(key) ?? 0) + 1);
    const instance = this.#instance(slice, task);
    slice.running.set(task, instance);
    this.#reportTask(slice, task, instance, "RUNNING", null);
  }

  #instance({ assignment }: HeldSlice, task: string): string {
    const going = assignment.continues?.[task];
    if (going !== undefined) return going.task_instance_id;
    return `${nameOf(assignment)} ${task} ${this.session} ${++this.#instances}`;
  }

  #reportRun(of: RunAssignment, status: RunStatus, error: string | null): void {
    const { workflow_id, workflow_instance_id, slice, attempt } = of;
    this.outbox.push({
      kind: "run",
      seq: ++this.#seq,
      workflow_id,
      workflow_instance_id,
      slice,
      attempt,
      status,
      timestamp_ms: 1,
      error,
      log_seq: 0,
    });
  }

  #reportTask(
    slice: HeldSlice,
    task: string,
    instance: string,
    status: RunStatus,
    error: string | null,
    isAllowed = false,
  ): void {
    const { assignment } = slice;
    const { foreach } = assignment.workflow.tasks.find(({ id }) => id === task) ?? {};
    const { workflow_id, workflow_instance_id, attempt } = assignment;
    this.outbox.push({
      kind: "task",
      seq: ++this.#seq,
      workflow_id,
      workflow_instance_id,
      slice: assignment.slice,
      attempt,
      ...slice.named(task),
      ...(foreach !== undefined && status === "RUNNING" ? { items_total: foreach.length } : {}),
      ...(isAllowed ? { is_allowed: true } : {}),
      task_instance_id: instance,
      task_attempt: status === "SKIPPED" ? 0 : 1 + (assignment.continues?.[task]?.task_attempt ?? 0),
      ...(status === "WAITING" ? { next_try_ms: 1 } : {}),
      status,
      timestamp_ms: 1,
      exit_code: null,
      signal: null,
      error,
      cpu_ms: null,
      max_rss_kb: null,
      outputs:
        status === "COMPLETED" && foreach === undefined ? { of: `${workflow_instance_id} ${task}` } : null,
    });
  }
}
