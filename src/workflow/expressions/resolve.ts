/** Puts the values of expressions into a task, for one start of it. The keys that may have some are those of the schema. */
import { type AnyField, keysOfStored, type Place, readWith } from "../field.ts";
import { type TaskDefinition, Workflow } from "../model.ts";
import type { Compiled } from "./compiled.ts";
import { ExpressionError } from "./machine.ts";
import type { ScopeValues } from "./source.ts";
import { OPENING } from "./template.ts";

type Compile = (text: string) => Compiled;
type Path = readonly (string | number)[];

/** The field of a task in the schema. */
function taskField(id: string): AnyField {
  const field = Workflow.child("tasks", undefined)?.child(id, undefined);
  if (field === undefined) throw new Error("the schema has tasks");
  return field;
}

/** A text with expressions, and where they are evaluated. */
interface Template {
  readonly text: string;
  readonly place: Place;
}

/** The texts of a task that have expressions. */
export function templatesOf(task: TaskDefinition): Template[] {
  return templatesIn(taskField(task.id), task);
}

/** The texts of a workflow that have expressions, without those of its tasks. */
export function templatesOfWorkflow(workflow: object): Template[] {
  return templatesIn(Workflow, workflow);
}

function templatesIn(root: AnyField, value: unknown): Template[] {
  const found: Template[] = [];
  const visit = ({ traits }: AnyField, stored: unknown): void => {
    if (typeof stored !== "string" || traits.template === undefined || !stored.includes(OPENING)) return;
    found.push({ text: stored, place: traits.place ?? "start" });
  };
  const walk = (field: AnyField, stored: unknown): void => {
    visit(field, stored);
    if (typeof stored !== "object" || stored === null) return;
    if (field.traits.hasNameTemplates === true) for (const name of Object.keys(stored)) visit(field, name);
    const keys = Array.isArray(stored) ? null : keysOfStored(field, stored);
    const { entry } = field.traits;
    if (keys === null) {
      if (entry !== undefined) for (const each of Object.values(stored)) walk(entry, each);
      return;
    }
    const values = stored as Readonly<Record<string, unknown>>;
    const templates = (values.templates ?? {}) as Readonly<Record<string, unknown>>;
    for (const [key, child] of Object.entries(keys)) {
      walk(child, values[child.storedKey ?? key]);
      if (Object.hasOwn(templates, key)) visit(child, templates[key]);
    }
  };
  walk(root, value);
  return found;
}

/** @throws ExpressionError that begins with the key */
export function resolveTask(task: TaskDefinition, compile: Compile, values: ScopeValues): TaskDefinition {
  const field = taskField(task.id);
  return new Resolver(compile, values).value(field, task, []) as TaskDefinition;
}

/** @throws ExpressionError that begins with the name */
export function resolveEnv(texts: Texts, compile: Compile, values: ScopeValues): Texts {
  return new Resolver(compile, values).value(workflowField("env"), texts, ["env"]) as Texts;
}

/** @throws ExpressionError that begins with the name */
export function resolveRunsOn(texts: Texts, compile: Compile, values: ScopeValues): Texts {
  const resolver = new Resolver(compile, values, "placement");
  return resolver.value(workflowField("runs_on"), texts, ["runs_on"]) as Texts;
}

type Texts = Readonly<Record<string, string>>;

function workflowField(key: string): AnyField {
  const field = Workflow.child(key, undefined);
  if (field === undefined) throw new Error(`the schema has ${key}`);
  return field;
}

class Resolver {
  readonly #compile: Compile;
  readonly #values: ScopeValues;
  readonly #place: Place;

  /** @param place that of the expressions that are evaluated now */
  constructor(compile: Compile, values: ScopeValues, place: Place = "start") {
    this.#compile = compile;
    this.#values = values;
    this.#place = place;
  }

  /** The value with the values of its expressions; the same object if it has none. */
  value(field: AnyField, stored: unknown, path: Path): unknown {
    if (typeof stored === "string") {
      const isTemplate = this.#isHere(field) && stored.includes(OPENING);
      return isTemplate ? this.#read(field, stored, path) : stored;
    }
    if (typeof stored !== "object" || stored === null) return stored;
    if (Array.isArray(stored)) {
      const { entry } = field.traits;
      if (entry === undefined) return stored;
      const values = stored.map((each, n) => this.value(entry, each, [...path, n]));
      return values.every((each, n) => each === stored[n]) ? stored : values;
    }
    return this.#mapping(field, stored as Readonly<Record<string, unknown>>, path);
  }

  #mapping(field: AnyField, stored: Readonly<Record<string, unknown>>, path: Path): unknown {
    const { entry } = field.traits;
    const block = keysOfStored(field, stored);
    const templates = (stored.templates ?? {}) as Readonly<Record<string, string>>;
    const changed: Record<string, unknown> = {};
    const children =
      block === null
        ? Object.keys(stored).flatMap((key) => (entry === undefined ? [] : [{ key, to: key, field: entry }]))
        : Object.entries(block).map(([key, each]) => ({ key, to: each.storedKey ?? key, field: each }));
    for (const child of children) {
      const template =
        block !== null && Object.hasOwn(templates, child.key) ? templates[child.key] : undefined;
      const isHere = template !== undefined && this.#isHere(child.field);
      const before = stored[child.to];
      const after = isHere
        ? this.#read(child.field, template, [...path, child.key])
        : this.value(child.field, before, [...path, child.key]);
      if (after !== before || isHere) changed[child.to] = after;
    }
    if (Object.keys(changed).length === 0) return stored;
    const { templates: _, ...rest } = { ...stored, ...changed };
    return block === null ? { ...stored, ...changed } : rest;
  }

  /** Whether a template may stand here that is evaluated now. */
  #isHere({ traits }: AnyField): boolean {
    return traits.template !== undefined && (traits.place ?? "start") === this.#place;
  }

  /** The value of a template, read as if it were written in the file. */
  #read(field: AnyField, template: string, path: Path): unknown {
    const name = nameOf(path);
    try {
      const text = this.#compile(template).text(this.#values);
      if (!text.isWellFormed()) {
        throw new ExpressionError("the value has half of a character, which no program can be given", 0, 0);
      }
      const result = readWith(field, text);
      if (result.ok) return result.value;
      const { message, help } = result.problem;
      const joint = /^(is|has|must|contains|never)\b/.test(message) ? "the value " : "";
      throw new ExpressionError(`${joint}${message}`, 0, 0, help);
    } catch (error) {
      if (!(error instanceof ExpressionError)) throw error;
      throw new ExpressionError(`${name}: ${error.message}`, error.start, error.end, error.help);
    }
  }
}

/** A key in a task, such as `env.DAY` or `args[2]`. */
function nameOf(path: Path): string {
  return path
    .filter((part, n) => !(n === 0 && part === "config"))
    .map((part, n) => (typeof part === "number" ? `[${part}]` : n === 0 ? part : `.${part}`))
    .join("");
}
