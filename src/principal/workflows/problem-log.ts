/** What is logged about workflow files: each problem once. */
import type { ConsolaInstance } from "consola";
import { type Diagnostic, mergeRepeated, renderDiagnostics } from "../../workflow/diagnostic.ts";
import { isCalendarFile, isSettingsFile } from "../../workflow/settings-file.ts";
import type { KnownFile } from "./known-files.ts";
import type { LoadedWorkflow } from "./loaded-workflow.ts";

/** Maximum number of names in a message. */
const MOST_NAMES = 5;

/** Names of messages that are not about a file. */
export const ABOUT_DIRECTORY = "";
export const ABOUT_MISSING = ".";

/** Logs problems of files, each once. */
export class ProblemLog {
  readonly #log: ConsolaInstance;
  /** Messages that were already logged, by path. */
  readonly #said = new Map<string, string>();
  #saidRepeated: ReadonlySet<string> = new Set();

  constructor(log: ConsolaInstance) {
    this.#log = log;
  }

  /** Logs a message about a path, unless it was the last one about it. */
  say(path: string, text: string): void {
    if (this.#said.get(path) === text) return;
    this.#said.set(path, text);
    this.#log.warn(text);
  }

  /** The next message about a path is logged in any case. @returns whether there was one */
  forget(path: string): boolean {
    return this.#said.delete(path);
  }

  /**
   * Logs the problems of all files.
   * @param waiting the workflows that wait for invalid settings, by the path of those
   * @param workflows those that are in use
   * @param alerts the alert files that are in use, by path
   */
  tell(
    invalid: ReadonlyMap<string, string>,
    waiting: ReadonlyMap<string, readonly string[]>,
    files: ReadonlyMap<string, KnownFile>,
    workflows: ReadonlyMap<string, LoadedWorkflow>,
    alerts: ReadonlyMap<string, unknown>,
  ): void {
    for (const [path, error] of invalid) {
      const id = files.get(path)?.id ?? "";
      const isKept = workflows.get(id)?.path === path;
      const effect = isSettingsFile(path)
        ? effectOfSettings(waiting.get(path) ?? [])
        : isCalendarFile(path)
          ? "The days that were read of it last stay in use; a calendar of which none were read fires nothing."
          : alerts.has(path)
            ? "Its last valid version stays in use."
            : isKept
              ? `The last valid version of ${id} stays in use.`
              : "The file is not loaded.";
      this.say(path, `${error}\n${effect}`);
    }
    const repeated: Diagnostic[] = [];
    for (const [path, file] of files) {
      if (invalid.has(path)) continue;
      const own = file.read?.facts.warnings ?? [];
      const problems = workflows.get(file.id ?? "")?.triggerProblems ?? [];
      const chain = problems.filter((problem) => !own.includes(problem));
      repeated.push(...own.filter(({ code }) => code === "W002"));
      const warnings = [...own.filter(({ code }) => code !== "W002"), ...chain];
      if (warnings.length > 0) this.say(path, renderDiagnostics(warnings));
      else if (file.read !== null && this.forget(path)) this.#log.success(`${path} is valid again`);
    }
    this.#tellRepeated(repeated);
    for (const path of this.#said.keys())
      if (path !== ABOUT_DIRECTORY && path !== ABOUT_MISSING && !files.has(path) && !invalid.has(path))
        this.forget(path);
  }

  /** Logs the warnings that many files may have, as one each; again when another file has one. */
  #tellRepeated(warnings: readonly Diagnostic[]): void {
    const isNew = warnings.some((warning) => !this.#saidRepeated.has(keyOf(warning)));
    this.#saidRepeated = new Set(warnings.map(keyOf));
    if (isNew) this.#log.warn(renderDiagnostics(mergeRepeated(warnings)));
  }
}

function effectOfSettings(waiting: readonly string[]): string {
  if (waiting.length === 0) return "The last valid settings of the directory stay in use.";
  const wait = waiting.length === 1 ? "waits for it and is" : "wait for it and are";
  return `${counted(waiting.length, "workflow")} below it ${wait} not loaded: ${namesOf(waiting)}.`;
}

export function counted(count: number, what: string): string {
  return `${count} ${what}${count === 1 ? "" : "s"}`;
}

/** Some of these names, and the number of the others. */
export function namesOf(ids: readonly string[]): string {
  const more = ids.length - MOST_NAMES;
  return ids.slice(0, MOST_NAMES).join(", ") + (more > 0 ? ` and ${more} more` : "");
}

function keyOf({ path, message }: Diagnostic): string {
  return `${path} ${message}`;
}
