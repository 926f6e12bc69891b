/** What differs between two runs of a workflow, for people and programs. */
import type { LogLine } from "../../contract/log-line.ts";
import type { RunDetails, TaskRunSummary } from "../../contract/messages.ts";
import { tookMs } from "../../contract/took.ts";
import { plainText } from "../../terminal/foreign-text.ts";
import type { RunStatus } from "../../workflow/status.ts";
import { formatDuration, formatRelative, formatStatus, plural } from "./format.ts";
import type { Style } from "./style.ts";

/** A value that differs: of the other run, then of the run; null where there is none. */
interface Change {
  /** Where it is: the name of a parameter, or of a field of the file, such as `tasks.load.env.DAY`. */
  readonly name: string;
  readonly other: string | null;
  readonly run: string | null;
}

/** The first line that two task runs have not in common. */
export interface LineDifference {
  /** Number of the line among those of its stream, from 1. */
  readonly line: number;
  readonly stream: "stderr" | "stdout";
  /** What the other run printed there; null if it printed no more. */
  readonly other: string | null;
  readonly run: string | null;
}

/** What differs in a task. */
interface TaskDiff {
  readonly task_id: string;
  readonly status: Pair<RunStatus | null>;
  readonly exit_code: Pair<number | null>;
  readonly agent_id: Pair<string | null>;
  readonly duration_ms: Pair<number | null>;
  readonly error: string | null;
  /** Null if they printed the same, or if one of them did not run. */
  readonly first_difference: LineDifference | null;
}

interface Pair<T> {
  readonly other: T;
  readonly run: T;
}

/** What differs between two runs. */
export interface RunDiff {
  readonly workflow_id: string;
  readonly run: RunFacts;
  readonly other: RunFacts;
  /** Fields of the file; null if the definition of one of them is not known any more. */
  readonly definition: readonly Change[] | null;
  readonly params: readonly Change[];
  /** Tasks that differ: in status, exit status, agent, or in what they printed, or that took half as long again, or half as long. */
  readonly tasks: readonly TaskDiff[];
  /** Number of tasks that ran in both, and of which it was not compared what they printed: fan-outs, and the last of very many. */
  readonly tasks_not_read: number;
}

type RunFacts = Pick<
  RunDetails,
  "workflow_instance_id" | "status" | "trigger" | "created_at_ms" | "agent_id" | "error"
> & { readonly duration_ms: number | null };

/** Reads what a task run printed, oldest first: not necessarily all of it. */
export type ReadLines = (run: RunDetails, task: TaskRunSummary) => Promise<readonly LogLine[]>;

/** A task that took this many times as long is told, if it took this much longer, ms. */
const SLOWER = 1.5;
const SLOWER_MS = 1000;
/** Tasks whose lines are compared. */
const COMPARED_TASKS = 50;

/**
 * Compares a run with another one of its workflow.
 * @param isExact whether numbers in what the tasks printed count: times, counts and process ids differ in each run
 */
export async function compareRuns(
  run: RunDetails,
  other: RunDetails,
  read: ReadLines,
  { isExact, now }: { readonly isExact: boolean; readonly now: number },
): Promise<RunDiff> {
  const before = new Map(other.tasks.map((task) => [task.task_id, task]));
  const ids = new Set([...run.tasks.map(({ task_id }) => task_id), ...before.keys()]);
  const after = new Map(run.tasks.map((task) => [task.task_id, task]));
  const tasks: TaskDiff[] = [];
  let [compared, notRead] = [0, 0];
  for (const task_id of ids) {
    const [then, present] = [before.get(task_id), after.get(task_id)];
    const pair = <T>(of: (task: TaskRunSummary) => T): Pair<T | null> => ({
      other: then === undefined ? null : of(then),
      run: present === undefined ? null : of(present),
    });
    const diff = {
      task_id,
      status: pair(({ status }) => status),
      exit_code: pair(({ exit_code }) => exit_code),
      agent_id: pair(({ agent_id }) => agent_id),
      duration_ms: pair((task) => tookMs(task, now)),
      error: present?.error ?? null,
    };
    const bothRan = then?.started_at_ms != null && present?.started_at_ms != null;
    const isRead = bothRan && then.items === undefined && compared++ < COMPARED_TASKS;
    if (bothRan && !isRead) notRead++;
    const first_difference = isRead
      ? firstDifference(await read(other, then), await read(run, present), isExact)
      : null;
    const differs = [diff.status, diff.exit_code, diff.agent_id].some((of) => of.other !== of.run);
    if (differs || first_difference !== null || isSlower(diff.duration_ms))
      tasks.push({ ...diff, first_difference });
  }
  return {
    workflow_id: run.workflow_id,
    run: factsOf(run, now),
    other: factsOf(other, now),
    definition:
      run.definition === null || other.definition === null
        ? null
        : changes(leaves(other.definition), leaves(run.definition)),
    params: changes(new Map(Object.entries(other.params)), new Map(Object.entries(run.params))),
    tasks,
    tasks_not_read: notRead,
  };
}

function factsOf(run: RunDetails, now: number): RunFacts {
  const { workflow_instance_id, status, trigger, created_at_ms, agent_id, error } = run;
  const duration_ms = tookMs(run, now);
  return { workflow_instance_id, status, trigger, created_at_ms, agent_id, error, duration_ms };
}

/** Whether one took much longer than the other. */
function isSlower({ other, run }: Pair<number | null>): boolean {
  if (other === null || run === null) return false;
  const [short, long] = other < run ? [other, run] : [run, other];
  return long - short >= SLOWER_MS && long >= short * SLOWER;
}

/** The values of an object by their paths; lists of things with an id by that. */
function leaves(value: unknown, path = "", into = new Map<string, string>()): Map<string, string> {
  if (typeof value !== "object" || value === null) {
    if (value !== undefined) into.set(path, typeof value === "string" ? value : JSON.stringify(value));
    return into;
  }
  if (Array.isArray(value) && value.every((entry) => typeof entry !== "object")) {
    into.set(path, JSON.stringify(value));
    return into;
  }
  for (const [key, child] of Object.entries(value)) {
    const name = Array.isArray(value) && typeof child?.id === "string" ? child.id : key;
    leaves(child, path === "" ? name : `${path}.${name}`, into);
  }
  return into;
}

function changes(other: ReadonlyMap<string, string>, run: ReadonlyMap<string, string>): Change[] {
  return [...new Set([...other.keys(), ...run.keys()])]
    .filter((name) => other.get(name) !== run.get(name))
    .map((name) => ({ name, other: other.get(name) ?? null, run: run.get(name) ?? null }));
}

/**
 * The first line that differs, first of what went to stderr. The two streams are compared apart, because the order in which their lines
 * arrive is another one each time.
 */
export function firstDifference(
  other: readonly LogLine[],
  run: readonly LogLine[],
  isExact: boolean,
): LineDifference | null {
  for (const stream of ["stderr", "stdout"] as const) {
    const of = (lines: readonly LogLine[]) =>
      lines.filter((line) => (line.level === "ERROR") === (stream === "stderr"));
    const [then, present] = [of(other), of(run)];
    const key = (line: LogLine | undefined) =>
      line && (isExact ? line.payload : withoutNumbers(line.payload));
    const most = Math.max(then.length, present.length);
    for (let index = 0; index < most; index++) {
      const [a, b] = [then[index], present[index]];
      if (key(a) !== key(b))
        return { line: index + 1, stream, other: a?.payload ?? null, run: b?.payload ?? null };
    }
  }
  return null;
}

/** A line with its numbers and hexadecimal ids taken out. */
function withoutNumbers(line: string): string {
  return line.replace(/\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b|\d+(?:[.,:]\d+)*/gi, "#");
}

/** Longest part of a value that is shown, characters. */
const SHOWN = 160;

/** What differs, as lines of text. @param now ms since the epoch */
export function diffLines(diff: RunDiff, now: number, style: Style): string[] {
  const head = (
    label: string,
    { workflow_instance_id, status, trigger, created_at_ms, duration_ms }: RunFacts,
  ) =>
    `${style.dim(label)} ${formatStatus(status, style)} ${workflow_instance_id} ${style.dim(
      [
        plainText(trigger),
        formatRelative(created_at_ms, now),
        ...(duration_ms === null ? [] : [formatDuration(duration_ms)]),
      ].join(", "),
    )}`;
  const lines = [head("run ", diff.run), head("than", diff.other)];
  const section = (title: string, of: readonly string[]) => {
    if (of.length > 0) lines.push("", style.bold(title), ...of);
  };
  const changed = ({ name, other, run }: Change) => [
    `  ${plainText(name)}`,
    ...(other === null ? [] : [style.red(`    - ${shown(other)}`)]),
    ...(run === null ? [] : [style.green(`    + ${shown(run)}`)]),
  ];
  section("PARAMETERS", diff.params.flatMap(changed));
  section(
    "FILE",
    diff.definition === null
      ? ["  The definition of one of them is not known any more."]
      : diff.definition.flatMap(changed),
  );
  section(
    "TASKS",
    diff.tasks.flatMap((task) => taskLines(task, style)),
  );
  const notRead = diff.tasks_not_read;
  const printed = `what ${plural(notRead, "task")} printed was not compared`;
  if (lines.length > 2) return notRead === 0 ? lines : [...lines, "", style.dim(`(${printed})`)];
  const same = "They do not differ: same file, same parameters, same agents";
  return [...lines, "", notRead === 0 ? `${same}, same output.` : `${same}; ${printed}.`];
}

function taskLines(
  { task_id, status, exit_code, agent_id, duration_ms, first_difference }: TaskDiff,
  style: Style,
): string[] {
  const differs = <T>({ other, run }: Pair<T | null>, word: (value: T) => string): string[] =>
    other === run ? [] : [`${other === null ? "-" : word(other)} → ${run === null ? "-" : word(run)}`];
  const facts = [
    ...differs(status, (value) => formatStatus(value, style)),
    ...differs(exit_code, (value) => `exit status ${value}`),
    ...differs(agent_id, (value) => `agent ${plainText(value)}`),
    ...(isSlower(duration_ms) ? differs(duration_ms, formatDuration) : []),
  ];
  const lines = [`  ${plainText(task_id)}${facts.length === 0 ? "" : `: ${facts.join(", ")}`}`];
  if (first_difference === null) return lines;
  const { line, stream, other, run } = first_difference;
  return [
    ...lines,
    `    ${style.dim(`first differing line of ${stream}, line ${line}:`)}`,
    style.red(`    - ${other === null ? "(no more lines)" : shown(other)}`),
    style.green(`    + ${run === null ? "(no more lines)" : shown(run)}`),
  ];
}

function shown(text: string): string {
  const rows = text.split("\n");
  const first = rows.find((row) => row.trim() !== "") ?? "";
  const more =
    rows.length > 1 && rows.some((row, index) => index > 0 && row !== "")
      ? ` (${plural(rows.length, "line")})`
      : "";
  return plainText(first.length > SHOWN ? `${first.slice(0, SHOWN)}…` : first) + more;
}
