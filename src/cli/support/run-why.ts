/** Why a run waits, or why it failed, for people and programs. */
import { itemsWord } from "../../contract/item-counts.ts";
import type {
  ApprovalSummary,
  ChildRun,
  ItemCounts,
  RunAttempt,
  RunDetails,
  RunHold,
  SliceWait,
  TaskRunSummary,
} from "../../contract/messages.ts";
import { answerCommands, formLines, nameOfApproval } from "../../contract/run-approvals.ts";
import { waitGroups, waitsOf } from "../../contract/run-waits.ts";
import { plainText } from "../../terminal/foreign-text.ts";
import { acceptedBy } from "../../workflow/conditions.ts";
import { factsOf } from "../../workflow/kinds/index.ts";
import type { TaskDefinition } from "../../workflow/model.ts";
import { RUN_TRANSITIONS } from "../../workflow/run-state.ts";
import { isTerminal, type RunStatus } from "../../workflow/status.ts";
import { TASK_TRANSITIONS } from "../../workflow/task-state.ts";
import { formatDuration, formatInstant, formatRelative, formatStatus, plural } from "./format.ts";
import { shortList, statusLine } from "./run-report.ts";
import type { Style } from "./style.ts";

/** A task that failed, with the end of what it printed. */
type FailedTask = Pick<
  TaskRunSummary,
  | "task_id"
  | "status"
  | "agent_id"
  | "task_attempt"
  | "exit_code"
  | "signal"
  | "error"
  | "finished_at_ms"
  | "hook"
  | "child"
> & {
  /** The last lines that it wrote to stderr, or to stdout if there are none. */
  readonly last_lines: readonly string[];
};

/** What explains the present state of a run. */
export interface RunExplanation {
  readonly workflow_id: string;
  readonly workflow_instance_id: string;
  readonly status: RunStatus;
  readonly attempt: number;
  readonly error: string | null;
  /** When it starts, if it waits for that time. */
  readonly start_at_ms: number | null;
  /** What keeps it out of the queue. */
  readonly holds: readonly RunHold[];
  /** The agent that was offered the run and has not confirmed it yet. */
  readonly offered_to: string | null;
  /** What waits for an agent: at most 100 slices, at least one for each reason. */
  readonly waits: readonly SliceWait[];
  /** Number of slices that wait, named or not. */
  readonly waiting_slices: number;
  /** The same of what waits for slots of pools. */
  readonly pool_waits: NonNullable<RunDetails["pool_waits"]>;
  readonly pool_waiting_slices: number;
  /** Tasks between two of their attempts. */
  readonly retries: readonly {
    readonly task_id: string;
    readonly task_attempt: number;
    readonly max_attempts: number | null;
    readonly next_attempt_ms: number | null;
    readonly error: string | null;
  }[];
  /** Tasks that wait for the end of a run that they have started; without one, it is about to be created. */
  readonly children: readonly { readonly task_id: string; readonly child: ChildRun | null }[];
  /** Tasks that wait for a time, without an agent. */
  readonly pausing: readonly { readonly task_id: string; readonly until_ms: number | null }[];
  /** Tasks, and items of fan-outs, that wait for a person: at most 100. */
  readonly approvals: readonly ApprovalSummary[];
  readonly running: readonly Pick<TaskRunSummary, "task_id" | "agent_id" | "started_at_ms">[];
  /** Fan-outs of which no item runs just now, and which are not over. */
  readonly resting: readonly { readonly task_id: string; readonly items: ItemCounts }[];
  /** Tasks that wait for others, which are not over. */
  readonly blocked: readonly { readonly task_id: string; readonly waits_for: readonly string[] }[];
  /** Attempts that agents were given, and of which they have not reported a task yet. */
  readonly silent: readonly Pick<RunAttempt, "slice" | "attempt" | "agent_id" | "started_at_ms">[];
  /** Tasks that an agent has and could start, if it had a place for them; unknown, and empty, while attempts are silent. */
  readonly ready: readonly string[];
  /** Attempts that agents did not end. */
  readonly crashed: readonly Pick<RunAttempt, "slice" | "attempt" | "agent_id" | "error">[];
  readonly failed: readonly FailedTask[];
  /** Tasks that FAILED and were allowed to. */
  readonly allowed: readonly { readonly task_id: string; readonly error: string | null }[];
  readonly skipped: readonly { readonly task_id: string; readonly reason: string | null }[];
}

/** Reads the end of what a task run printed. */
export type ReadEnd = (task: TaskRunSummary) => Promise<readonly string[]>;

/** Failed tasks whose end is read. */
const EXPLAINED = 5;

/** Explains a run. */
export async function explain(run: RunDetails, readEnd: ReadEnd): Promise<RunExplanation> {
  const isOver = isTerminal(RUN_TRANSITIONS, run.status);
  const { waits = [], pool_waits = [], holds = [] } = run;
  const of = new Map(run.tasks.map((task) => [task.task_id, task]));
  const isDone = (id: string) => {
    const task = of.get(id);
    return task !== undefined && isTerminal(TASK_TRANSITIONS, task.status);
  };
  const inState = (...statuses: RunStatus[]) => run.tasks.filter((task) => statuses.includes(task.status));
  const definitions = run.definition?.tasks ?? [];
  const waiting = inState("WAITING");
  const waits_for = new Map(definitions.map(({ id, config }) => [id, factsOf(config).waitsFor]));
  const isFor = (what: "time" | "run") => (task: TaskRunSummary) => waits_for.get(task.task_id) === what;
  const queued = new Set(waitsOf(run).flatMap(({ tasks }) => tasks));
  const toCome = (isOver || run.start_at_ms !== undefined || holds.length > 0 ? [] : definitions)
    .filter(({ id }) => !queued.has(id) && (of.get(id)?.status ?? "PENDING") === "PENDING")
    .map((task) => ({
      task_id: task.id,
      task,
      waits_for: task.depends.filter((other) => !isDone(other)),
    }));
  const isReady = ({ task }: { task: TaskDefinition }) =>
    task.depends.every((other) => {
      const accepted = acceptedBy(task, other);
      const { status = "PENDING", is_allowed = false } = of.get(other) ?? {};
      return accepted.has(status) || (is_allowed && accepted.has("COMPLETED"));
    });
  const unheard =
    run.status === "RUNNING" || run.status === "WAITING"
      ? run.attempts.filter((attempt) => isSilent(attempt, run))
      : [];
  // Items of a fan-out that several agents share are not among the tasks: such an attempt may be of those, and reported.
  const hasSharedItems = run.tasks.some(
    ({ slice, items, task_id }) => slice === 0 && items !== undefined && !isDone(task_id),
  );
  const silent = hasSharedItems ? [] : unheard;
  const failed: FailedTask[] = [];
  const isAllowed = (task: TaskRunSummary) => task.is_allowed === true;
  for (const task of inState("FAILED", "CRASHED").filter((task) => !isAllowed(task))) {
    failed.push({ ...part(task), last_lines: failed.length < EXPLAINED ? await readEnd(task) : [] });
  }
  return {
    workflow_id: run.workflow_id,
    workflow_instance_id: run.workflow_instance_id,
    status: run.status,
    attempt: run.attempt,
    error: run.error,
    start_at_ms: run.start_at_ms ?? null,
    holds,
    offered_to: run.status === "PENDING" && waitsOf(run).length === 0 ? run.agent_id : null,
    waits,
    waiting_slices: run.waiting_slices ?? waits.length,
    pool_waits,
    pool_waiting_slices: run.pool_waiting_slices ?? pool_waits.length,
    retries: waiting
      .filter(({ task_id }) => waits_for.get(task_id) === undefined)
      .map((task) => ({
        task_id: task.task_id,
        task_attempt: task.task_attempt,
        max_attempts: triesOf(definitions.find(({ id }) => id === task.task_id)),
        next_attempt_ms: task.next_attempt_ms ?? null,
        error: task.error,
      })),
    children: waiting.filter(isFor("run")).map(({ task_id, child = null }) => ({ task_id, child })),
    pausing: waiting
      .filter(isFor("time"))
      .map(({ task_id, next_attempt_ms = null }) => ({ task_id, until_ms: next_attempt_ms })),
    approvals: run.approvals ?? [],
    running: inState("RUNNING")
      .filter((task) => !isResting(task))
      .map(({ task_id, agent_id, started_at_ms }) => ({ task_id, agent_id, started_at_ms })),
    resting: inState("RUNNING")
      .filter(isResting)
      .map(({ task_id, items }) => ({ task_id, items })),
    blocked: toCome
      .filter(({ waits_for }) => waits_for.length > 0)
      .map(({ task_id, waits_for }) => ({ task_id, waits_for })),
    silent: silent.map(({ slice, attempt, agent_id, started_at_ms }) => ({
      slice,
      attempt,
      agent_id,
      started_at_ms,
    })),
    ready:
      (run.status === "RUNNING" || run.status === "WAITING") && unheard.length === 0
        ? toCome.filter(isReady).map(({ task_id }) => task_id)
        : [],
    crashed: run.attempts
      .filter(({ status }) => status === "CRASHED")
      .map(({ slice, attempt, agent_id, error }) => ({ slice, attempt, agent_id, error })),
    failed,
    allowed: inState("FAILED")
      .filter(isAllowed)
      .map(({ task_id, error }) => ({ task_id, error })),
    // That a hook is not for this end need not be explained.
    skipped: inState("SKIPPED").flatMap(({ task_id, error, hook }) =>
      hook === true ? [] : [{ task_id, reason: error }],
    ),
  };
}

/** Whether it is a fan-out that has begun, and of which no item runs. */
function isResting(task: TaskRunSummary): task is TaskRunSummary & { readonly items: ItemCounts } {
  return task.items !== undefined && (task.items.by_status.RUNNING ?? 0) === 0;
}

/** The most tries of a task; null if it polls without a limit, or is not known. */
function triesOf(task: TaskDefinition | undefined): number | null {
  return (task?.repeat === undefined ? task?.retry.max_attempts : task.repeat.max_attempts) ?? null;
}

/** Whether an agent has this attempt, as far as is known, and has reported no task of it. */
function isSilent({ slice, attempt, agent_id, status }: RunAttempt, { tasks }: RunDetails): boolean {
  const isOpen = agent_id !== null && (status === "PENDING" || status === "RUNNING");
  return isOpen && !tasks.some((task) => task.slice === slice && task.attempt === attempt);
}

function part(task: TaskRunSummary): Omit<FailedTask, "last_lines"> {
  const { task_id, status, agent_id, task_attempt, exit_code, signal, error, finished_at_ms } = task;
  const { hook, child } = task;
  return {
    ...{ task_id, status, agent_id, task_attempt, exit_code, signal, error, finished_at_ms },
    ...(hook === true ? { hook } : {}),
    ...(child === undefined ? {} : { child }),
  };
}

/** Tasks that are named before the number of the others. */
const NAMED = 8;

/** The explanation as lines. @param now by the principal's clock, ms since the epoch */
export function explanationLines(run: RunDetails, why: RunExplanation, now: number, style: Style): string[] {
  const lines = [statusLine(run, now, style)];
  const add = (text: string, ...details: (string | null | undefined)[]) => {
    lines.push("", text);
    for (const detail of details) if (detail != null && detail !== "") lines.push(`  ${detail}`);
  };
  const since = (ms: number) => formatDuration(Math.max(0, now - ms));
  for (const { subject, isPlural, waitsFor, reason, hint, since_ms } of waitGroups(run)) {
    const has = isPlural ? "have" : "has";
    add(plainText(`${subject} ${has} waited for ${waitsFor} for ${since(since_ms)}: ${reason}.`), hint);
  }
  for (const { reason, hint, since_ms } of why.holds)
    add(
      plainText(`It has waited for ${since(since_ms)}: ${reason}.`),
      hint === null ? null : plainText(hint),
    );
  if (why.start_at_ms !== null) {
    add(
      `It starts at ${formatInstant(why.start_at_ms)} (${formatRelative(why.start_at_ms, now)}).`,
      `Until then it can be cancelled: cdktr runs cancel ${why.workflow_instance_id}`,
    );
  }
  if (why.offered_to !== null)
    add(`Agent ${plainText(why.offered_to)} has just been given it, and has not confirmed it yet.`);
  for (const { task_id, task_attempt, max_attempts, next_attempt_ms, error } of why.retries) {
    const when =
      next_attempt_ms === null
        ? ""
        : next_attempt_ms <= now
          ? " now"
          : ` in ${formatDuration(next_attempt_ms - now)}`;
    const of = max_attempts === null ? "" : ` of ${max_attempts}`;
    add(
      `Task ${plainText(task_id)} begins attempt ${task_attempt + 1}${of}${when}.`,
      error === null ? null : `Attempt ${task_attempt}: ${plainText(error)}`,
    );
  }
  for (const { task_id, child } of why.children) {
    if (child === null) {
      add(`Task ${plainText(task_id)} is about to start a run.`);
      continue;
    }
    const { workflow_id, workflow_instance_id: id, status, tasks_done, tasks_total } = child;
    add(
      `Task ${plainText(task_id)} waits for run ${id} of ${plainText(workflow_id)}, which is ${formatStatus(status, style)}: ${tasks_done} of ${tasks_total} tasks are over.`,
      `What that waits for: cdktr runs why ${id.slice(0, 13)}`,
    );
  }
  for (const { task_id, until_ms } of why.pausing) {
    const until =
      until_ms === null
        ? "for a time"
        : `until ${formatInstant(until_ms)} (${formatRelative(until_ms, now)})`;
    add(`Task ${plainText(task_id)} waits ${until}; no agent is held.`);
  }
  for (const approval of why.approvals) {
    const { since_ms, due_ms, on_timeout, message, form, roles, four_eyes, triggered_by } = approval;
    const fields = formLines(form);
    const { approve, reject } = answerCommands(approval);
    const end = on_timeout === "approve" ? "approved" : "rejected";
    add(
      `Task ${plainText(nameOfApproval(approval))} has waited for a person for ${since(since_ms)}: ${plainText(message)}`,
      ...(fields.length === 0 ? [] : ["To be filled in:", ...fields.map((field) => `  ${plainText(field)}`)]),
      due_ms === null ? null : `If nobody answers, it is ${end} ${formatRelative(due_ms, now)}.`,
      roles === undefined ? null : `It is answered with a key that has the role ${roles.join(" or ")}.`,
      four_eyes && triggered_by !== null ? `Not by ${plainText(triggered_by)}, who triggered the run.` : null,
      plainText(approve),
      plainText(reject),
    );
  }
  if (why.running.length > 0) {
    add(
      `${plural(why.running.length, "task is", "tasks are")} running:`,
      ...shortened(why.running, ({ task_id, agent_id, started_at_ms }) =>
        [
          plainText(task_id),
          agent_id === null ? "" : ` on ${plainText(agent_id)}`,
          started_at_ms === null ? "" : ` for ${since(started_at_ms)}`,
        ].join(""),
      ),
    );
  }
  if (why.resting.length > 0) {
    add(
      `${plural(why.resting.length, "fan-out")} of which no item runs just now:`,
      ...shortened(why.resting, ({ task_id, items }) => `${plainText(task_id)}: ${itemsWord(items)}`),
    );
  }
  if (why.blocked.length > 0) {
    add(
      `${plural(why.blocked.length, "task waits", "tasks wait")} for others:`,
      ...shortened(
        why.blocked,
        ({ task_id, waits_for }) => `${plainText(task_id)} waits for ${names(waits_for)}`,
      ),
    );
  }
  const silences = shortened(why.silent, ({ slice, agent_id, started_at_ms }) =>
    [
      `Agent ${plainText(agent_id ?? "")} was given ${slice === 0 ? "it" : `slice ${slice}`}`,
      started_at_ms === null ? "" : ` ${since(started_at_ms)} ago`,
      ", and has not reported any task of it yet.",
    ].join(""),
  );
  for (const [index, silence] of silences.entries()) {
    const hint =
      "It may be executing as many tasks as it may (CDKTR_AGENT_MAX_TASKS), or not answer: cdktr agents list";
    add(silence, index === silences.length - 1 ? hint : null);
  }
  if (why.ready.length > 0) {
    const wait = why.ready.length === 1 ? "task waits" : "tasks wait";
    add(
      `${why.ready.length} ${wait} for a free place on the agent: ${names(why.ready)}`,
      "CDKTR_AGENT_MAX_TASKS limits how many tasks an agent executes at once.",
    );
  }
  if (why.crashed.length > 0) {
    add(
      `${plural(why.crashed.length, "attempt", "attempts")} CRASHED:`,
      ...shortened(why.crashed, ({ slice, attempt, agent_id, error }) =>
        [
          slice === 0 ? `attempt ${attempt}` : `slice ${slice}, attempt ${attempt}`,
          agent_id === null ? "" : ` on ${plainText(agent_id)}`,
          error === null ? "" : `: ${plainText(error)}`,
        ].join(""),
      ),
    );
  }
  for (const task of why.failed.slice(0, EXPLAINED)) {
    const on = task.agent_id === null ? "" : ` on ${plainText(task.agent_id)}`;
    const tries = task.task_attempt > 1 ? ` after ${task.task_attempt} attempts` : "";
    add(
      `${task.hook === true ? "Hook" : "Task"} ${plainText(task.task_id)} ${formatStatus(task.status, style)}${on}${tries}: ${plainText(task.error ?? endOf(task))}`,
      ...task.last_lines.map((line) => `${style.dim("│")} ${plainText(line)}`),
      task.hook === true ? "The status of the run does not depend on its hooks." : null,
      task.child === undefined ? null : `Why: cdktr runs why ${task.child.workflow_instance_id.slice(0, 13)}`,
    );
  }
  const others = why.failed.slice(EXPLAINED).map(({ task_id }) => task_id);
  if (others.length > 0) add(`${plural(others.length, "more task", "more tasks")} failed: ${names(others)}`);
  if (why.allowed.length > 0) {
    add(
      `${plural(why.allowed.length, "task", "tasks")} failed and may, as allow_failure says:`,
      ...shortened(why.allowed, ({ task_id, error }) => `${plainText(task_id)}: ${plainText(error ?? "")}`),
    );
  }
  if (why.skipped.length > 0) {
    add(
      `${plural(why.skipped.length, "task was", "tasks were")} skipped:`,
      ...shortened(why.skipped, ({ task_id, reason }) => `${plainText(task_id)}: ${plainText(reason ?? "")}`),
    );
  }
  if (why.failed.length > 0) {
    const id = why.workflow_instance_id;
    add(
      `Its log: cdktr logs query --run ${id}`,
      isTerminal(RUN_TRANSITIONS, why.status) && why.status !== "COMPLETED"
        ? `Again from the failed tasks: cdktr runs retry ${id}`
        : null,
    );
    // One block of advice.
    lines[lines.length - 1] = (lines.at(-1) ?? "").trimStart();
  }
  if (lines.length === 1 && why.status === "PENDING") add("The principal is too old to say why runs wait.");
  return lines;
}

function endOf({ signal, exit_code }: FailedTask): string {
  return signal !== null
    ? `ended by ${signal}`
    : exit_code === null
      ? "no reason is known"
      : `exit status ${exit_code}`;
}

function shortened<T>(items: readonly T[], text: (item: T) => string): string[] {
  const shown = items.slice(0, NAMED).map(text);
  return items.length > NAMED ? [...shown, `… and ${items.length - NAMED} more`] : shown;
}

function names(ids: readonly string[]): string {
  return shortList(ids.map(plainText));
}
