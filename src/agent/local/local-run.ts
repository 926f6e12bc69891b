/**
 * A run without a principal: this process does for one run what the principal does for all. The machine of progress.ts decides, slices of
 * it are executed as an agent executes them, and what no agent executes is waited for here. Nothing is stored.
 *
 * There is one host, so where tasks may run (`runs_on`, `placement`) has no meaning: all that can be together is one slice.
 */

import { endOfCaller } from "../../contract/child-runs.ts";
import type { LogLevel } from "../../contract/log-line.ts";
import type { Blob, ItemResult, RunAssignment, RunDetails } from "../../contract/messages.ts";
import type { Outputs } from "../../contract/outputs.ts";
import { outputsOfWorkflow } from "../../contract/workflow-outputs.ts";
import { errorMessage, InvalidInputError } from "../../errors.ts";
import { Timer } from "../../timer.ts";
import { type Answer, answered, lateAnswer, type Question, questionOf } from "../../workflow/answers.ts";
import { type Decision, type RunFinish, type TaskEnd, timeoutText } from "../../workflow/decisions.ts";
import { formatDuration } from "../../workflow/duration.ts";
import { expressionsOf, type TaskResult } from "../../workflow/expressions.ts";
import { expandItems, type ItemValue, withoutItems } from "../../workflow/fan-out.ts";
import { allTasks } from "../../workflow/hooks.ts";
import { nodeId } from "../../workflow/item-id.ts";
import type { ApprovalConfig } from "../../workflow/kinds/approval.ts";
import { dueOf } from "../../workflow/kinds/wait.ts";
import type { ChildWorkflowConfig } from "../../workflow/kinds/workflow.ts";
import { MAX_RUN_DEPTH } from "../../workflow/limits.ts";
import type { TaskConfig, TaskDefinition, WorkflowDefinition } from "../../workflow/model.ts";
import { resolveParams } from "../../workflow/params.ts";
import { knownOutside, neededByAll, type Plan, type PlanNode, planOf } from "../../workflow/plan.ts";
import { Progress } from "../../workflow/progress.ts";
import { factsOf, type RunFacts } from "../../workflow/run-facts.ts";
import { nextSlices } from "../../workflow/slices.ts";
import { type Ending, isEnding } from "../../workflow/task-state.ts";
import { runVariables } from "../environment.ts";
import type { NewReport } from "../outbox.ts";
import { RunBundle } from "../run-bundle.ts";
import { RunSecrets } from "../secrets/run-secrets.ts";
import { SliceRun } from "../slice-run.ts";
import type { RunContext } from "../task-context.ts";
import { TaskLog } from "../task-log.ts";
import { hereOnly } from "./here-only.ts";
import type { LocalHost } from "./local-host.ts";
import { type RunName, RunRecord } from "./run-record.ts";

/** A part of the run that is being executed. */
interface Slice {
  readonly run: SliceRun;
  readonly tasks: readonly string[];
}

/** Something that is waited for. */
interface Wait {
  /** Does not wait for the time any more. */
  readonly end: () => void;
  /** The run of a task: it has to end before the task can. */
  readonly stop?: (how: Stopped) => void;
}

/** How a task ends whose run is stopped. */
interface Stopped {
  readonly status: "FAILED" | "CANCELLED";
  readonly error: string;
}

/** What {@link LocalRun} needs. */
interface LocalRunOptions extends RunName {
  /** Where its file is. */
  readonly directory: string;
  /** The other workflows that tasks may run, by id. */
  readonly workflows?: ReadonlyMap<string, Pick<LocalRunOptions, "definition" | "directory">>;
  /** Number of runs that it is nested in. */
  readonly depth?: number;
  /** Who is asked for approvals; without one they fail. */
  readonly asker?: Asker;
}

/**
 * Asks a person.
 * @param task its name
 * @param signal the answer is not needed any more
 * @returns an answer that fits the form of the question
 */
export type Asker = (task: string, question: Question, signal: AbortSignal) => Promise<Answer>;

const NOBODY = "nobody can approve here, because there is no terminal; a principal can wait for a person";
const FOUR_EYES =
  "it asks for four eyes, and nobody but you can answer here; a principal can wait for somebody else";

/** A poll between two of its tries. */
interface Resting {
  readonly continues: NonNullable<RunAssignment["continues"]>[string];
  readonly nextMs: number;
}

const WITHOUT_STORE = {
  error: "this run has no principal",
  hint: "Run the workflow on the principal, or declare where the secret is on this host: file, env or command.",
};

/** A run without a principal. */
export class LocalRun {
  readonly #host: LocalHost;
  readonly #name: LocalRunOptions;
  readonly #definition: WorkflowDefinition;
  readonly #tasks: ReadonlyMap<string, TaskDefinition>;
  readonly #plan: Plan;
  readonly #progress: Progress;
  readonly #record: RunRecord;
  readonly #secrets: RunSecrets | undefined;
  /** The files of its workflow. */
  readonly #bundle: Blob | undefined;
  /** The tasks whose results somebody may read. */
  readonly #read: ReadonlySet<string>;
  readonly #slices = new Map<number, Slice>();
  readonly #waits = new Map<string, Wait>();
  readonly #resting = new Map<string, Resting>();
  /** When the first try of a poll began (monotonic, ms). */
  readonly #polledSince = new Map<string, number>();
  readonly #items = new Map<string, readonly ItemValue[]>();
  /** What has been reported and not been looked at. */
  #reports: NewReport[] = [];
  #lastSlice = 0;
  readonly #limit: Timer;
  #begunMs: number | undefined;
  #isOver = false;
  #isTimedOut = false;
  readonly #over = Promise.withResolvers<RunDetails>();

  /** @throws InvalidInputError when its tasks do not form a DAG, or its files cannot be packed */
  constructor(host: LocalHost, name: LocalRunOptions) {
    this.#host = host;
    this.#name = name;
    this.#definition = hereOnly(name.definition);
    this.#tasks = new Map(allTasks(this.#definition).map((task) => [task.id, task]));
    this.#plan = planOf(this.#definition);
    this.#progress = new Progress(this.#plan, { facts: () => this.#facts });
    this.#record = new RunRecord(name);
    this.#limit = new Timer(() => this.#timeOut(), host.context.clock);
    const { nodes, readAtEnd } = this.#plan;
    this.#read = new Set([...neededByAll(nodes), ...readAtEnd]);
    if (this.#definition.secrets !== undefined)
      this.#secrets = new RunSecrets(this.#assignment([], false), host.secretPlaces);
    const { files } = this.#definition;
    if (files !== undefined) this.#bundle = host.blobs.bundle(this.#definition.id, name.directory, files);
    host.add(this.id, this);
  }

  get id(): string {
    return this.#name.workflow_instance_id;
  }

  /** Resolves when everything of it is over. */
  get over(): Promise<RunDetails> {
    return this.#over.promise;
  }

  /** Begins it. */
  start(): void {
    this.#begunMs = this.#host.context.clock.monotonic();
    const { timeout_ms } = this.#definition;
    if (timeout_ms !== null) this.#limit.in(timeout_ms);
    this.#carryOut(this.#progress.begin());
  }

  /** Cancels it: what runs is stopped, and its hooks follow. If only hooks are not over, those are stopped. */
  cancel(): void {
    const decisions =
      this.#progress.outcome === null ? this.#progress.stop("cancelled") : this.#progress.stopHooks();
    for (const { run } of this.#slices.values()) run.stop("cancelled");
    this.#carryOut(decisions);
  }

  /** What its slices report. It is looked at later: whoever reports is not done yet. */
  reported(report: NewReport): void {
    if (this.#reports.push(report) === 1) queueMicrotask(() => this.#look());
  }

  #look(): void {
    const reports = this.#reports;
    this.#reports = [];
    for (const report of reports) this.#hear(report);
  }

  #hear(report: NewReport): void {
    const { slice } = report;
    if (report.kind === "run") {
      if (report.status === "RUNNING") return;
      const ended = this.#slices.get(slice);
      this.#slices.delete(slice);
      if (report.status === "WAITING") this.#rest(ended?.tasks ?? []);
      else this.#close(ended?.tasks ?? [], report.error);
      return;
    }
    const { task_id, status, item, error, is_allowed: isAllowed = false } = report;
    const isRead = this.#read.has(task_id);
    this.#record.reported(report, isRead);
    if (item !== undefined) {
      // The machine knows those that are not expanded by who executes them.
      const outputs = isRead ? report.outputs : null;
      if (isEnding(status)) this.#ended(nodeId(task_id, item.key), { status, error, isAllowed, outputs });
      return;
    }
    const node = this.#plan.node(task_id);
    if (node?.polls === true) this.#polled(report);
    if (!isEnding(status)) return;
    const outputs = node?.fanOut === undefined ? report.outputs : this.#record.outputsOf(task_id);
    this.#ended(task_id, { status, error, isAllowed, outputs: isRead ? outputs : null });
  }

  #polled({
    task_id,
    task_instance_id,
    task_attempt,
    status,
    next_try_ms,
  }: NewReport & { kind: "task" }): void {
    const now = this.#host.context.clock.monotonic();
    const since = this.#polledSince.get(task_id) ?? now;
    this.#polledSince.set(task_id, since);
    if (status !== "WAITING" || next_try_ms === undefined) return;
    const continues = { task_instance_id, task_attempt, elapsed_ms: now - since };
    this.#resting.set(task_id, { continues, nextMs: next_try_ms });
  }

  /** A poll waits for its next try. */
  #rest(tasks: readonly string[]): void {
    for (const task of tasks) {
      const resting = this.#resting.get(task);
      if (resting === undefined) continue;
      this.#progress.waits(task);
      const due = () => {
        this.#waits.delete(task);
        this.#progress.assigned([task]);
        const elapsed_ms = resting.continues.elapsed_ms + resting.nextMs;
        this.#execute([task], false, { [task]: { ...resting.continues, elapsed_ms } });
      };
      this.#waitFor(task, resting.nextMs, due);
    }
    this.#finishIfOver();
  }

  /** A slice is over. What its agent did not tell has crashed with it, which nothing but a fault of this program causes. */
  #close(tasks: readonly string[], error: string | null): void {
    for (const task of tasks) {
      if (this.#progress.status(task) !== "assigned") continue;
      const end = { status: "CRASHED", error } as const;
      this.#record.changed(task, this.#now, end);
      this.#ended(task, end);
    }
    this.#finishIfOver();
  }

  #ended(task: string, end: TaskEnd): void {
    this.#carryOut(this.#progress.ended(task, end));
  }

  #timeOut(): void {
    this.#isTimedOut = true;
    const decisions = this.#progress.stop("timed out", timeoutText(this.#definition));
    for (const { run } of this.#slices.values()) run.stop("run timed out");
    this.#carryOut(decisions);
  }

  #carryOut(decisions: readonly Decision[]): void {
    let hasReady = false;
    const left = [...decisions];
    // The list grows while it is read.
    for (const decision of left) {
      switch (decision.kind) {
        case "start":
          hasReady = true;
          break;
        case "expand":
          // Whoever executes it expands it, unless nobody does.
          if (this.#plan.node(decision.task)?.fanOut?.isShared === true)
            left.push(...this.#expand(decision.task));
          else hasReady = true;
          break;
        case "wait":
          left.push(...this.#wait(decision.task));
          break;
        case "skip":
          this.#endWait(decision.task);
          this.#noteEnd(decision.task, {
            status: decision.status,
            error: decision.reason,
            isAllowed: decision.isAllowed,
          });
          break;
        case "end":
          this.#noteEnd(decision.task, decision);
          break;
        case "cancel":
          left.push(...this.#cancelOne(decision.task, decision.reason));
          break;
        case "finish":
          break;
      }
    }
    if (hasReady) this.#startReady();
    this.#finishIfOver();
  }

  #startReady(): void {
    for (const { tasks } of nextSlices(this.#plan, this.#progress)) {
      this.#progress.assigned(tasks);
      const isHook = tasks.every((task) => this.#plan.node(task)?.hook !== undefined);
      // The time limit of a run is about its tasks.
      if (isHook) this.#limit.cancel();
      this.#execute(tasks, isHook);
    }
  }

  /** Executes tasks as a slice. */
  #execute(tasks: readonly string[], isHook: boolean, continues?: RunAssignment["continues"]): void {
    const slice = ++this.#lastSlice;
    const assignment = { ...this.#assignment(tasks, isHook), slice, ...(continues && { continues }) };
    try {
      const { context } = this.#host;
      const runDirectory = context.directories.of(assignment);
      const run = new SliceRun({
        ...context,
        environment: this.#host.environmentFor(this.#definition),
        assignment,
        variables: runVariables(assignment, this.#host.streamId, runDirectory.path),
        runDirectory,
        secrets: this.#secrets,
        ...(this.#bundle === undefined
          ? {}
          : { bundle: new RunBundle(assignment, this.#bundle, this.#host.blobs, runDirectory) }),
      } satisfies RunContext);
      this.#slices.set(slice, { run, tasks });
      queueMicrotask(() => run.start());
    } catch (error) {
      const because = `the tasks cannot be executed: ${errorMessage(error)}`;
      queueMicrotask(() => this.#close(tasks, because));
    }
  }

  /** What a slice is given: its tasks, and the results of those that they need. */
  #assignment(tasks: readonly string[], isHook: boolean): RunAssignment {
    const { workflow_instance_id, params, created_at_ms, trigger } = this.#name;
    const items: NonNullable<RunAssignment["items"]> = {};
    for (const node of tasks) {
      const item = this.#progress.node(node)?.item;
      if (item === undefined) continue;
      const value = this.#items.get(item.task)?.[item.index]?.value;
      items[item.task] ??= [];
      items[item.task]?.push({ key: item.key, index: item.index, value });
    }
    const own = new Set(tasks.map((node) => this.#progress.node(node)?.item?.task ?? node));
    const nodes = [...own].flatMap((task) => this.#plan.node(task) ?? []);
    const needed = new Set([...neededByAll(nodes)].filter((id) => !own.has(id)));
    const results: NonNullable<RunAssignment["results"]> = {};
    const item_results: Record<string, ItemResult[]> = {};
    for (const [id, end] of Object.entries(this.#progress.results(needed))) {
      const { status, error, outputs, isAllowed } = end;
      results[id] = { status, error, outputs, is_allowed: isAllowed };
      const items = this.#record.resultsOf(id);
      if (items !== null) item_results[id] = [...items];
    }
    const { hooks: _, ...workflow } = this.#definition;
    return {
      workflow_id: workflow.id,
      workflow_instance_id,
      slice: 0,
      attempt: 1,
      trigger,
      scheduled_time_ms: null,
      created_at_ms,
      params: { ...params },
      completed_tasks: [],
      tasks: [...own],
      items,
      results,
      item_results,
      artifacts: this.#record.filesOf(needed),
      workflow: {
        ...workflow,
        tasks: [
          ...knownOutside(this.#plan, needed, (id) => this.#tasks.get(id)),
          ...[...own].flatMap((id) => this.#own(id, items[id] !== undefined)),
        ],
      },
      is_confirmed: true,
      stored_secrets: this.#withoutStore(),
      ...(isHook ? this.#outcome() : {}),
    };
  }

  /** What is said of secrets that only a principal has. */
  #withoutStore(): NonNullable<RunAssignment["stored_secrets"]> {
    const named = Object.values(this.#definition.secrets ?? {}).flatMap(({ store }) => store ?? []);
    return Object.fromEntries(named.map((name) => [name, WITHOUT_STORE]));
  }

  /** A task of a slice. @param hasItems whether the slice is given its items */
  #own(id: string, hasItems: boolean): TaskDefinition[] {
    const task = this.#tasks.get(id);
    if (task === undefined) return [];
    return [hasItems ? { ...withoutItems(task), foreach: [] } : task];
  }

  #outcome(): Pick<RunAssignment, "run"> {
    const { outcome } = this.#progress;
    if (outcome === null) return {};
    const { status, error, failed } = outcome;
    return { run: { status, error, failed_tasks: [...failed] } };
  }

  /** Computes the items of a fan-out that nobody executes: each of them waits. */
  #expand(task: string): Decision[] {
    const definition = this.#tasks.get(task);
    if (definition === undefined) return [];
    const expansion = expandItems(this.#definition, definition, (id) => this.#result(id), this.#facts);
    if ("fail" in expansion) return this.#failed(task, expansion.fail);
    this.#items.set(task, expansion.items);
    this.#record.expanded(task, expansion.items.length);
    this.#record.changed(task, this.#now, { status: "RUNNING", task_attempt: 1 });
    return this.#progress.expanded(
      task,
      expansion.items.map(({ key }) => ({ key })),
    );
  }

  /** A task that nobody executes could not begin. */
  #failed(task: string, error: string): Decision[] {
    const isAllowed = this.#plan.node(task)?.allowsFailure === true;
    const end = { status: "FAILED", error, isAllowed } as const;
    this.#noteEnd(task, end);
    this.#say(task, "ERROR", `Cannot start: ${error}.`);
    return this.#progress.ended(task, { ...end, isUnstarted: true });
  }

  /** A task begins to wait for what no agent has to do with. */
  #wait(id: string): Decision[] {
    const node = this.#progress.node(id);
    const task = this.#tasks.get(node?.item?.task ?? id);
    if (node === undefined || task === undefined) return [];
    let config: TaskConfig;
    try {
      config = this.#configOf(node, task);
    } catch (error) {
      return this.#failed(id, errorMessage(error));
    }
    const now = this.#now;
    if (config.type === "Wait") return this.#waitForTime(id, Math.max(0, dueOf(config, now) - now));
    if (config.type === "Workflow") return this.#call(node, task, config);
    if (config.type === "Approval") return this.#ask(node, config);
    return this.#failed(id, `!${config.type} is not carried out without a principal`);
  }

  #waitForTime(id: string, ms: number): Decision[] {
    this.#note(id, { status: "WAITING" });
    this.#say(id, "INFO", `Waits for ${formatDuration(ms)}.`);
    this.#waitFor(id, ms, () => {
      this.#waits.delete(id);
      const end = { status: "COMPLETED" } as const;
      this.#noteEnd(id, end);
      this.#ended(id, end);
    });
    return [];
  }

  /** A task waits for a person. */
  #ask(node: PlanNode, config: ApprovalConfig): Decision[] {
    const { id } = node;
    const { asker } = this.#name;
    if (asker === undefined) return this.#failed(id, NOBODY);
    if (config.four_eyes === true) return this.#failed(id, FOUR_EYES);
    let question: Question;
    try {
      question = questionOf(config);
    } catch (error) {
      if (!(error instanceof InvalidInputError)) throw error;
      return this.#failed(id, errorMessage(error));
    }
    this.#note(id, { status: "WAITING" });
    const over = new AbortController();
    const answer = (given: Answer) => {
      if (over.signal.aborted) return;
      this.#endWait(id);
      const { status, error, outputs } = answered(id, question, given);
      const isAllowed = status === "FAILED" && node.allowsFailure === true;
      const end = { status, error, isAllowed, outputs: outputs === null ? null : JSON.parse(outputs) };
      this.#noteEnd(id, end);
      this.#ended(id, end);
    };
    const limit = new Timer(() => answer(lateAnswer(question)), this.#host.context.clock);
    if (question.timeout_ms !== undefined) limit.in(question.timeout_ms);
    const end = () => {
      limit.cancel();
      over.abort();
    };
    this.#waits.set(id, { end });
    void asker(id, question, over.signal).then(answer, (error) => {
      if (!over.signal.aborted) answer({ answer: "reject", params: {}, note: errorMessage(error), by: null });
    });
    return [];
  }

  /** A task runs another workflow as a run of its own. */
  #call(node: PlanNode, task: TaskDefinition, config: ChildWorkflowConfig): Decision[] {
    const { id } = node;
    let child: LocalRun;
    try {
      child = this.#child(config);
    } catch (error) {
      if (!(error instanceof InvalidInputError)) throw error;
      return this.#failed(id, errorMessage(error));
    }
    queueMicrotask(() => child.start());
    if (!config.wait) {
      const end = { status: "COMPLETED", outputs: { workflow_instance_id: child.id } } as const;
      this.#noteEnd(id, end);
      return this.#progress.ended(id, end);
    }
    this.#note(id, { status: "WAITING" });
    let stopped: Stopped | undefined;
    const stop = (how: Stopped) => {
      stopped ??= how;
      child.cancel();
    };
    const { timeout_ms, outputs: declared } = task;
    const late = `timed out after ${formatDuration(timeout_ms ?? 0)}`;
    const limit = new Timer(() => stop({ status: "FAILED", error: late }), this.#host.context.clock);
    if (timeout_ms !== null) limit.in(timeout_ms);
    this.#waits.set(id, { end: () => limit.cancel(), stop });
    void child.over.then(({ outputs = null, ...run }) => {
      this.#endWait(id);
      const end = endOfCaller({ ...run, outputs: outputs ?? {} }, declared, stopped);
      const isUnstarted = end.status === "FAILED";
      const isAllowed = isUnstarted && node.allowsFailure === true;
      const told = { ...end, isAllowed, isUnstarted, outputs: end.status === "COMPLETED" ? outputs : null };
      this.#noteEnd(id, told);
      if (end.error !== null) this.#say(id, "ERROR", `${end.error}.`);
      this.#ended(id, told);
    });
    return [];
  }

  /** @throws InvalidInputError when there is no such workflow, or the parameters do not fit it */
  #child({ workflow, params }: ChildWorkflowConfig): LocalRun {
    const { workflows, depth = 0, asker } = this.#name;
    if (depth >= MAX_RUN_DEPTH)
      throw new InvalidInputError(
        `${MAX_RUN_DEPTH} runs are nested already, the most that are allowed: do workflows run each other in a circle?`,
      );
    const found = workflows?.get(workflow);
    if (found === undefined) throw new InvalidInputError(`there is no workflow "${workflow}"`);
    const { definition } = found;
    const run = {
      workflow_instance_id: crypto.randomUUID(),
      created_at_ms: this.#now,
      trigger: "workflow",
    } as const;
    const about = { ...run, workflow_id: definition.id, attempt: 1, scheduled_time_ms: null };
    const resolved = resolveParams(definition, params, about);
    return new LocalRun(this.#host, {
      ...run,
      ...found,
      params: resolved,
      depth: depth + 1,
      ...(workflows === undefined ? {} : { workflows }),
      ...(asker === undefined ? {} : { asker }),
    });
  }

  /** The config of a task with the values of its expressions. @throws ExpressionError */
  #configOf({ item }: PlanNode, task: TaskDefinition): TaskConfig {
    if (this.#definition.language === undefined) return task.config;
    const value = item && this.#items.get(item.task)?.[item.index];
    return expressionsOf(this.#definition).resolveTask(task, {
      facts: this.#facts,
      results: (id) => this.#result(id),
      ...(item === undefined || value === undefined ? {} : { item: { ...value, index: item.index } }),
    }).config;
  }

  #waitFor(id: string, ms: number, due: () => void): void {
    const timer = new Timer(due, this.#host.context.clock);
    timer.in(ms);
    this.#waits.set(id, { end: () => timer.cancel() });
  }

  #endWait(id: string): void {
    this.#waits.get(id)?.end();
    this.#waits.delete(id);
  }

  /** Stops what was started: a hook, or an item. */
  #cancelOne(id: string, error: string): Decision[] {
    const wait = this.#waits.get(id);
    if (wait?.stop !== undefined) {
      wait.stop({ status: this.#isTimedOut ? "FAILED" : "CANCELLED", error });
      return [];
    }
    if (wait !== undefined) {
      this.#endWait(id);
      const end = { status: "CANCELLED", error } as const;
      this.#noteEnd(id, end);
      return this.#progress.ended(id, end);
    }
    const item = this.#progress.node(id)?.item;
    for (const { run, tasks } of this.#slices.values()) {
      if (!tasks.includes(id)) continue;
      if (item === undefined) run.stop("cancelled");
      else run.stopItems([{ task_id: item.task, key: item.key, index: item.index }]);
    }
    return [];
  }

  /** A task or an item that nobody executes is over. */
  #noteEnd(id: string, { status, error = null, isAllowed = false, outputs = null }: TaskEnd): void {
    this.#note(id, { status, error, ...(isAllowed ? { is_allowed: true } : {}) }, outputs);
  }

  #note(
    id: string,
    change: { status: Ending | "WAITING"; error?: string | null; is_allowed?: boolean },
    outputs: Outputs | null = null,
  ): void {
    const item = this.#progress.node(id)?.item;
    if (item === undefined) this.#record.changed(id, this.#now, change);
    else this.#record.item(item.task, item, change.status, this.#read.has(item.task) ? outputs : null);
  }

  /** Tells about a task in the log of the run. */
  #say(id: string, level: LogLevel, text: string): void {
    const { context } = this.#host;
    const { id: workflow_id, name: workflow_name } = this.#definition;
    const { name = id, item } = this.#progress.node(id) ?? {};
    const head = {
      workflow_id,
      workflow_name,
      workflow_instance_id: this.id,
      task_name: item === undefined ? name : nodeId(name, item.key),
      task_instance_id: this.#record.task(item?.task ?? id)?.task_instance_id ?? "",
    };
    new TaskLog(context.outbox, head, context.clock).remark(level, text);
  }

  #result(id: string): TaskResult | undefined {
    return this.#progress.results([id])[id];
  }

  get #facts(): RunFacts {
    const { workflow_instance_id, params, created_at_ms, trigger } = this.#name;
    const run = { workflow_instance_id, workflow_id: this.#definition.id, attempt: 1, trigger, params };
    return factsOf({ ...run, scheduled_time_ms: null, created_at_ms }, this.#definition, [
      this.#host.asAgent,
    ]);
  }

  get #now(): number {
    return this.#host.context.clock.now();
  }

  #finishIfOver(): void {
    const { finish } = this.#progress;
    if (finish === null || this.#slices.size > 0 || this.#isOver) return;
    this.#isOver = true;
    this.#limit.cancel();
    const { context } = this.#host;
    context.directories.runOver(this.id, false);
    this.#host.remove(this.id);
    const tookMs = context.clock.monotonic() - (this.#begunMs ?? context.clock.monotonic());
    this.#over.resolve(this.#record.details(this.#endOf(finish), this.#now, tookMs));
  }

  #endOf({ status, error, allowed }: RunFinish): Parameters<RunRecord["details"]>[0] {
    const told = status === "CANCELLED" ? (error ?? "cancelled") : error;
    if (status !== "COMPLETED" || this.#definition.outputs === undefined)
      return { status, error: told, allowed };
    const computed = outputsOfWorkflow(this.#definition, this.#facts, (id) => this.#result(id));
    return computed.error === undefined
      ? { status, error, allowed, outputs: computed.outputs }
      : { status: "FAILED", error: computed.error, allowed };
  }
}
