/** The expressions of a workflow: compiled once, evaluated for each run, task and item. See ../expressions.ts for how to get here. */
import { errorMessage } from "../../errors.ts";
import type { Place } from "../field.ts";
import { factsOf as kindOf } from "../kinds/index.ts";
import type { TaskDefinition, WorkflowDefinition } from "../model.ts";
import { computeSlots, type Pool, type Slots } from "../pool.ts";
import { type Compiled, compileTemplate } from "./compiled.ts";
import type { Reference } from "./references.ts";
import { resolveEnv, resolveRunsOn, resolveTask, templatesOf, templatesOfWorkflow } from "./resolve.ts";
import { type Scope, type Shape, scopeOf } from "./scope.ts";
import { RunSource, type ScopeValues } from "./source.ts";
import { OPENING } from "./template.ts";

export { checkExpressions, checkExpressionsOf } from "./check.ts";
export { compileForRow } from "./row.ts";

/** The parts of a workflow that its expressions are about. */
export type WorkflowWithExpressions = Pick<WorkflowDefinition, "tasks"> &
  Partial<Pick<WorkflowDefinition, "params" | "env" | "concurrency">>;

/** Where a task starts: in a run, or as a hook when the other tasks of the run are over. */
type StartPlace = "start" | "hook";

/** The most compiled texts that are kept of a workflow. */
const KEPT = 10_000;

const known = new WeakMap<WorkflowWithExpressions, WorkflowExpressions>();

/** The expressions of a workflow; the same object for the same definition. */
export function expressionsOf(workflow: WorkflowWithExpressions): WorkflowExpressions {
  const found = known.get(workflow) ?? new WorkflowExpressions(workflow);
  known.set(workflow, found);
  return found;
}

/** The expressions of a workflow. */
export class WorkflowExpressions {
  readonly #workflow: WorkflowWithExpressions;
  readonly #shape: Shape;
  readonly #scopes = new Map<string, Scope>();
  readonly #compiled = new Map<string, Compiled>();
  #eventNames: { readonly names: readonly string[] | null | undefined } | undefined;

  constructor(workflow: WorkflowWithExpressions) {
    this.#workflow = workflow;
    this.#shape = shapeOf(workflow);
  }

  /**
   * Compiles a text that may contain expressions; whether it is valid is among the result. The same text is compiled once.
   * @param place where it is written, which decides on the names in scope
   * @param task the id of the task that it is written in; null for what belongs to the workflow
   */
  compile(text: string, place: Place, task: string | null): Compiled {
    const key = `${place} ${task ?? ""}\n${text}`;
    const found = this.#compiled.get(key);
    if (found !== undefined) return found;
    const scopeKey = `${place} ${task ?? ""}`;
    const scope = this.#scopes.get(scopeKey) ?? scopeOf(this.#shape, place, task);
    this.#scopes.set(scopeKey, scope);
    const compiled = compileTemplate(text, scope, (values) => this.#source(values));
    if (this.#compiled.size >= KEPT) this.#compiled.clear();
    this.#compiled.set(key, compiled);
    return compiled;
  }

  /**
   * A task with the values of all expressions that are evaluated when a try of it starts; the same object if there are none.
   * @param place where the task starts: also when its run is over, if it is a hook
   * @throws ExpressionError that begins with the key, such as `env.DAY: …`
   */
  resolveTask(task: TaskDefinition, values: ScopeValues, place: StartPlace = "start"): TaskDefinition {
    return resolveTask(task, (text) => this.compile(text, place, task.id), values);
  }

  /** The names that expressions read of the event; null for all, undefined for none. */
  get eventNames(): readonly string[] | null | undefined {
    this.#eventNames ??= this.#readEventNames();
    return this.#eventNames.names;
  }

  /** All that the expressions of the workflow read. */
  get reads(): readonly Reference[] {
    return this.#all().flatMap(({ reads }) => reads);
  }

  #all(): Compiled[] {
    const { tasks, ...rest } = this.#workflow;
    const defaults = Object.values(rest.params ?? {}).flatMap(({ default_template: text }) =>
      text === undefined ? [] : [text],
    );
    return [
      ...defaults.map((text) => this.compile(text, "default", null)),
      ...templatesOfWorkflow(rest).map(({ text, place }) => this.compile(text, placeOf(place, "hook"), null)),
      ...tasks.flatMap((task) =>
        templatesOf(task).map(({ text, place }) => this.compile(text, place, task.id)),
      ),
    ];
  }

  #readEventNames(): { readonly names: readonly string[] | null | undefined } {
    const read = this.reads.filter(({ root }) => root === "trigger");
    const names = new Set(read.flatMap(({ name }) => (name === null ? [] : [name])));
    return {
      names: read.some(({ name }) => name === null) ? null : names.size === 0 ? undefined : [...names],
    };
  }

  /** The ids of the tasks whose results the expressions of a task read, each once. */
  readsOf(task: TaskDefinition, start: StartPlace = "start"): string[] {
    const compiled = templatesOf(task).map(({ text, place }) =>
      this.compile(text, placeOf(place, start), task.id),
    );
    return [...new Set(compiled.flatMap(({ tasks }) => tasks))];
  }

  /**
   * Labels with the values of their expressions.
   * @param task the id of the task that has them; null if they are those of the workflow
   * @throws ExpressionError that begins with the name, such as `runs_on.host: …`
   */
  resolveRunsOn(
    runsOn: Readonly<Record<string, string>>,
    task: string | null,
    values: ScopeValues,
    start: StartPlace = "start",
  ): Readonly<Record<string, string>> {
    const place = placeOfRunsOn(task, start);
    return resolveRunsOn(runsOn, (text) => this.compile(text, place, task), values);
  }

  /**
   * The compiled expressions in labels, or in what is taken of pools.
   * @param task the id of the task that has them; null if they are those of the workflow
   */
  compilePlacement(texts: readonly string[], task: string | null, start: StartPlace = "start"): Compiled[] {
    const place = placeOfRunsOn(task, start);
    return texts.filter((text) => text.includes(OPENING)).map((text) => this.compile(text, place, task));
  }

  /**
   * What is taken of pools, with the values of its expressions.
   * @param task the id of the task that has them; null if they are those of the workflow
   * @throws Error that begins with the key, such as `pool: …`
   */
  resolvePool(pool: Pool, task: string | null, values: ScopeValues, start: StartPlace = "start"): Slots {
    const place = placeOfRunsOn(task, start);
    return computeSlots(pool, (template) => {
      try {
        return this.compile(template, place, task).text(values);
      } catch (error) {
        throw new Error(`pool: ${errorMessage(error)}`, { cause: error });
      }
    });
  }

  /**
   * The env of the workflow with the values of its expressions; the same object if there are none.
   * @throws ExpressionError that begins with the name, such as `env.DAY: …`
   */
  resolveEnv(values: ScopeValues): Readonly<Record<string, string>> {
    return resolveEnv(this.#workflow.env ?? {}, (text) => this.compile(text, "env", null), values);
  }

  #source(values: ScopeValues): RunSource {
    const env = (name: string): string =>
      this.compile(values.facts.env[name] ?? "", "env", null).text(values);
    const isFanOut = (id: string): boolean => this.#shape.tasks.get(id)?.isFanOut === true;
    return new RunSource(values, this.#shape.params, isFanOut, env);
  }
}

/** Where an expression of a task is evaluated, which may be a hook. */
function placeOf(place: Place, start: StartPlace): Place {
  return place === "start" || (place === "placement" && start === "hook") ? start : place;
}

function placeOfRunsOn(task: string | null, start: StartPlace): Place {
  return task === null ? "env" : placeOf("placement", start);
}

function shapeOf({ params = {}, env = {}, tasks }: WorkflowWithExpressions): Shape {
  return {
    params: new Map(Object.entries(params).map(([name, param]) => [name, typeOf(param)])),
    env: new Set(Object.keys(env)),
    tasks: new Map(
      tasks.map((task) => {
        const { foreach, matrix } = task as Readonly<Record<string, unknown>>;
        return [
          task.id,
          {
            depends: task.depends,
            outputs: outputsOf(task),
            isFanOut: foreach !== undefined || matrix !== undefined,
          },
        ];
      }),
    ),
    // Whether a task may read another one was checked when its file was loaded.
    isPart: true,
  };
}

/** The names of what a task publishes; null if they are not known. */
function outputsOf(task: WorkflowWithExpressions["tasks"][number]): readonly string[] | null {
  const { publishes } = kindOf(task.config);
  if (publishes === undefined) return Array.isArray(task.outputs) ? task.outputs.map(String) : null;
  const named = (task.config as Readonly<Record<string, unknown>>)[publishes.keysOf];
  return [...publishes.own, ...Object.keys(Object(named))];
}

/** The type of a parameter; text unless it says another. */
function typeOf(param: unknown): string {
  const { type } = param as { readonly type?: unknown };
  return typeof type === "string" ? type : "string";
}
