/** Checks the entries of `cron` of a workflow file: each for itself, against each other, and against the parameters. */
import { nearest } from "../terminal/did-you-mean.ts";
import type { Finding } from "./diagnostic.ts";
import { formatDuration } from "./duration.ts";
import { entriesOfFile, type FileSchedules } from "./entry-fields.ts";
import { firingsBetween } from "./firings.ts";
import { type IssuePath, nodeAt, placeOf } from "./issues.ts";
import type { WorkflowDefinition } from "./model.ts";
import { readParam } from "./param-types.ts";
import { isRequired } from "./params.ts";
import { type Entry, entryKey } from "./schedules.ts";
import type { Located } from "./yaml-tree.ts";

type File = FileSchedules & Pick<WorkflowDefinition, "params">;

/** The firings whose distances are compared with a jitter: those of a schedule without a start begin here. */
const SOME_TIME_MS = Date.UTC(2026, 0, 1);
const SOME_FIRINGS = 20;
const FOUR_YEARS_MS = 4 * 366 * 86_400_000;

/** @param file as it was read, before the entries are completed */
export function checkSchedules(file: File, root: Located): Finding[] {
  if (file.schedules === undefined) return [];
  const entries = entriesOfFile(file);
  const isList = Array.isArray(nodeAt(root, ["cron"])?.value);
  const pathOf = (n: number, ...rest: string[]): IssuePath => ["cron", ...(isList ? [n] : []), ...rest];
  const subject = (n: number): string => (isList ? `entry ${n + 1} of "cron"` : '"cron"');
  const findings: Finding[] = [];
  const add = (path: IssuePath, finding: Pick<Finding, "code" | "message" | "help">): void =>
    void findings.push({ ...finding, ...placeOf(root, path) });

  const first = new Map<string, number>();
  for (const [n, entry] of entries.entries()) {
    const key = entryKey(entry);
    const same = first.get(key);
    if (same === undefined) first.set(key, n);
    else {
      const message = `entries ${same + 1} and ${n + 1} of "cron" are the same`;
      add(pathOf(n), { code: "E044", message, help: "remove one, or give one of them other params" });
    }
    if (endsBeforeItStarts(entry)) {
      const message = `"end_time" of ${subject(n)} is not after its start_time`;
      add(pathOf(n, "end_time"), {
        code: "E044",
        message,
        help: "check both times; without one, it has no end",
      });
    }
    if (entry.catchup_window_ms !== undefined && entry.catchup === "none") {
      const message = '"catchup_window" has no effect with catchup: none';
      add(pathOf(n, "catchup_window"), { code: "W002", message, help: "remove it" });
    }
    const jitter = jitterProblem(entry);
    if (jitter !== null) add(pathOf(n, "jitter"), jitter);
    for (const { name, ...problem } of paramProblems(entry, file.params)) {
      const path = pathOf(n, "params", name);
      const value = problem.code === "E071" ? nodeAt(root, path) : null;
      findings.push({ ...problem, ...(value ?? placeOf(root, path)) });
    }
    const missing = missingParams(entry, file.params);
    if (missing.length > 0) {
      const [noun, verb] = missing.length === 1 ? ["parameter", "has"] : ["parameters", "have"];
      const names = missing.map((name) => `"${name}"`).join(", ");
      const message = `${subject(n)} can never run this workflow: ${noun} ${names} ${verb} no default`;
      const help = `give ${missing.length === 1 ? "it" : "them"} with the entry: params: {${missing.map((name) => `${name}: …`).join(", ")}}`;
      add(pathOf(n), { code: "W003", message, help });
    }
  }
  return [...findings, ...overridden(file, root)];
}

function endsBeforeItStarts({ start_time_ms, end_time_ms }: Entry): boolean {
  return start_time_ms !== null && end_time_ms !== undefined && end_time_ms <= start_time_ms;
}

function jitterProblem(entry: Entry): Pick<Finding, "code" | "message" | "help"> | null {
  const { jitter_ms: jitter, timezone, start_time_ms } = entry;
  if (jitter === undefined) return null;
  const from = start_time_ms ?? SOME_TIME_MS;
  const context = { zone: timezone ?? "UTC", calendar: null, offsetMs: 0 };
  const { cron, catchup } = entry;
  const all = { cron, catchup, timezone: null, start_time_ms: null };
  const firings = firingsBetween(all, context, from, from + FOUR_YEARS_MS, SOME_FIRINGS);
  const gaps = firings.slice(1).map((at, n) => at - (firings[n] ?? 0));
  const shortest = Math.min(...gaps);
  if (jitter <= shortest) return null;
  return {
    code: "W020",
    message: `jitter ${formatDuration(jitter)} is longer than the time between two firings (${formatDuration(shortest)})`,
    help: `firings keep their order; consider at most ${formatDuration(shortest / 2)}`,
  };
}

function* paramProblems(
  { params = {} }: Entry,
  declared: File["params"],
): Iterable<Pick<Finding, "code" | "message" | "help"> & { name: string }> {
  const names = Object.keys(declared);
  for (const [name, value] of Object.entries(params)) {
    const param = Object.hasOwn(declared, name) ? declared[name] : undefined;
    if (param === undefined) {
      const near = nearest(name, names);
      const listed = names.length === 0 ? "the workflow has none" : `its parameters are ${names.join(", ")}`;
      const help = near === undefined ? listed : `did you mean "${near}"?`;
      yield { name, code: "E063", message: `there is no parameter "${name}"`, help };
      continue;
    }
    const read = readParam(param, value);
    if (read.ok) continue;
    const { must, help } = read.problem;
    const shown = JSON.stringify(value.length > 60 ? `${value.slice(0, 60).toWellFormed()}…` : value);
    yield { name, code: "E071", message: `parameter "${name}" must ${must}, not ${shown}`, help };
  }
}

function missingParams({ params = {} }: Entry, declared: File["params"]): string[] {
  return Object.entries(declared)
    .filter(([name, param]) => isRequired(param) && !Object.hasOwn(params, name))
    .map(([name]) => name);
}

/** Keys of the workflow that each entry overrides. */
function overridden({ schedules = [] }: File, root: Located): Finding[] {
  return (["timezone", "start_time"] as const).flatMap((key) => {
    const stored = key === "timezone" ? key : "start_time_ms";
    const isWritten = nodeAt(root, [key])?.value != null;
    if (!isWritten || schedules.some((entry) => entry[stored] == null)) return [];
    const message = `"${key}" has no effect: every entry of cron has its own`;
    return [{ code: "W002", message, help: "remove it", ...placeOf(root, [key]) }];
  });
}
