/** Checks the fan-outs of a workflow file: keys that exclude each other or have no effect, and literal items. */
import { nearest } from "../terminal/did-you-mean.ts";
import type { Finding } from "./diagnostic.ts";
import { type Compiled, expressionsOf, hasExpressions } from "./expressions.ts";
import { expandItems } from "./fan-out.ts";
import { type IssuePath, placeOf } from "./issues.ts";
import { type Matrix, partsOf } from "./item-values.ts";
import type { TaskDefinition, WorkflowDefinition } from "./model.ts";
import { isItemVariable } from "./own-variables.ts";
import type { RunFacts } from "./run-facts.ts";
import type { Located } from "./yaml-tree.ts";

type File = Pick<WorkflowDefinition, "tasks" | "params" | "env">;

/** Keys that say more about a fan-out. */
const OF_FAN_OUTS = ["key", "max_parallel", "fail_fast"] as const;

/** Checks all tasks; their expressions are checked with all others. */
export function checkFanOuts(file: File, root: Located): Finding[] {
  return file.tasks.flatMap((task) => new Check(file, task, root).findings());
}

class Check {
  readonly #file: File;
  readonly #task: TaskDefinition;
  readonly #root: Located;
  readonly #found: Finding[] = [];

  constructor(file: File, task: TaskDefinition, root: Located) {
    this.#file = file;
    this.#task = task;
    this.#root = root;
  }

  findings(): Finding[] {
    const { id, foreach, matrix, key } = this.#task;
    if (foreach === undefined && matrix === undefined) {
      for (const name of OF_FAN_OUTS)
        if (this.#task[name] !== undefined)
          this.#add(
            "W002",
            [name],
            `"${name}" has no effect without foreach or matrix`,
            "add foreach, or remove it",
          );
      return this.#found;
    }
    if (foreach !== undefined && matrix !== undefined) {
      this.#add("E014", ["matrix"], `task "${id}" has both "foreach" and "matrix"`, "keep one");
      return this.#found;
    }
    if (matrix !== undefined) this.#matrix(matrix);
    if (key !== undefined) this.#key(key);
    this.#variables();
    if (this.#found.length === 0) this.#literals();
    return this.#found;
  }

  #add(code: Finding["code"], path: IssuePath, message: string, help?: string): void {
    this.#found.push({ code, message, help, ...placeOf(this.#root, ["tasks", this.#task.id, ...path]) });
  }

  /** What tasks set that cdktr sets for items. Elsewhere these variables belong to the user. */
  #variables(): void {
    const places: [IssuePath, Readonly<Record<string, string>>][] = [
      [["env"], this.#file.env],
      [["tasks", this.#task.id, "env"], this.#task.env],
    ];
    for (const [path, env] of places) {
      for (const name of Object.keys(env).filter(isItemVariable)) {
        const message = `${name} is set by cdktr itself for the items of task "${this.#task.id}"`;
        const place = placeOf(this.#root, [...path, name]);
        this.#found.push({ code: "E053", message, help: "choose another name", ...place });
      }
    }
  }

  #matrix(matrix: Matrix): void {
    const { id } = this.#task;
    const { axes, include, exclude } = partsOf(matrix);
    const names = axes.map(([axis]) => axis);
    if (names.length === 0 && include.length === 0) {
      const help = "such as {os: [debian, ubuntu], python: ['3.11', '3.12']}";
      this.#add("E014", ["matrix"], `the matrix of task "${id}" is empty`, help);
    }
    for (const [axis, source] of axes) {
      if (typeof source !== "string" && source.length === 0)
        this.#add(
          "E014",
          ["matrix", axis],
          `"${axis}" in matrix of task "${id}" has no values`,
          "add one, or remove it",
        );
    }
    for (const [index, one] of exclude.entries()) {
      for (const name of Object.keys(one)) {
        if (names.includes(name)) continue;
        const near = nearest(name, names);
        const help = near === undefined ? `its names are ${names.join(", ")}` : `did you mean "${near}"?`;
        this.#add(
          "E014",
          ["matrix", "exclude", index, name],
          `exclude of task "${id}" names "${name}", which is not in the matrix`,
          help,
        );
      }
    }
  }

  #key(key: string): void {
    if (hasExpressions(key)) return;
    const help = "write ${{ item }}, ${{ item.NAME }} or ${{ index }}";
    this.#add("E014", ["key"], `"key" of task "${this.#task.id}" is the same for every item`, help);
  }

  /** What can be computed without a run is computed now. */
  #literals(): void {
    const { foreach, matrix, key } = this.#task;
    const sources =
      foreach === undefined ? partsOf(matrix ?? {}).axes.map(([, source]) => source) : [foreach];
    if (sources.some((source) => typeof source === "string")) return;
    const workflow = { ...this.#file, language: 2 as const };
    if (key !== undefined && !isOfItems(expressionsOf(workflow).compile(key, "item", this.#task.id))) return;
    const expansion = expandItems(workflow, this.#task, () => undefined, NO_FACTS);
    const path = foreach === undefined ? "matrix" : "foreach";
    if ("fail" in expansion) this.#add("E014", [path], `task "${this.#task.id}": ${expansion.fail}`);
  }
}

/** Whether an expression is valid, and reads nothing but the item. */
function isOfItems({ reads, problems }: Compiled): boolean {
  return problems.length === 0 && reads.every(({ root }) => root === "item" || root === "index");
}

const NO_FACTS: RunFacts = {
  params: {},
  run: {
    id: "",
    workflow_id: "",
    attempt: 1,
    trigger: "",
    scheduled_time_ms: null,
    created_at_ms: 0,
  },
  event: {},
  env: {},
};
