/** Checks the expressions of a workflow file: names, types, and whether one may stand where it is. */
import type { Finding } from "../diagnostic.ts";
import type { AnyField, Place, TemplateType } from "../field.ts";
import { type IssuePath, subjectName } from "../issues.ts";
import { checksOf } from "../kinds/index.ts";
import { Workflow } from "../model.ts";
import type { Located } from "../yaml-tree.ts";
import { type Compiled, compileTemplate } from "./compiled.ts";
import type { PlacedProblem } from "./problem.ts";
import { type Scope, type Shape, type ShapeOfTask, scopeOf } from "./scope.ts";
import { OPENING } from "./template.ts";
import { aType, type CelType, type TypeKind } from "./types.ts";

/** Keys whose text is for people: it is never evaluated, and has always been allowed to hold anything. */
const PROSE: ReadonlySet<string> = new Set(["name", "description"]);

/** Which kinds of values fit a key, and what it must be in words. Text is read as if it were written there. */
const WANTED: Readonly<Record<TemplateType, { readonly kinds: readonly TypeKind[]; readonly noun: string }>> =
  {
    string: {
      kinds: ["string", "bool", "int", "uint", "double", "timestamp", "duration", "list", "map"],
      noun: "something that has a form as text",
    },
    int: { kinds: ["int", "uint", "string"], noun: "a whole number" },
    double: { kinds: ["int", "uint", "double", "string"], noun: "a number" },
    bool: { kinds: ["bool"], noun: "true or false" },
    duration: { kinds: ["duration", "string"], noun: 'a duration such as "5m"' },
    timestamp: { kinds: ["timestamp", "string"], noun: "a time" },
    list: { kinds: ["list"], noun: "a list" },
    any: {
      kinds: ["null", "string", "bool", "int", "uint", "double", "timestamp", "duration", "list", "map"],
      noun: "something that has a form as JSON",
    },
  };

/** @param text the file @param env names of further variables of the workflow */
export function checkExpressions(
  root: Located,
  text: string,
  env: readonly string[],
): { readonly findings: readonly Finding[]; readonly hasTemplates: boolean } {
  const checker = new Checker(Workflow, shapeOfFile(root, env), text);
  checker.visit(root, Workflow, []);
  return checker;
}

/** Like {@link checkExpressions}, for a file that is no workflow: what its expressions see depends on their places only. */
export function checkExpressionsOf(schema: AnyField, root: Located, text: string): readonly Finding[] {
  const shape: Shape = { params: new Map(), env: new Set(), tasks: new Map(), isPart: false };
  const checker = new Checker(schema, shape, text);
  checker.visit(root, schema, []);
  return checker.findings;
}

class Checker {
  readonly findings: Finding[] = [];
  hasTemplates = false;
  readonly #schema: AnyField;
  readonly #shape: Shape;
  readonly #file: string;
  readonly #scopes = new Map<string, Scope>();

  constructor(schema: AnyField, shape: Shape, file: string) {
    this.#schema = schema;
    this.#shape = shape;
    this.#file = file;
  }

  visit(node: Located, field: AnyField | undefined, path: IssuePath): void {
    if (typeof node.value === "string") {
      // An unknown key is told already.
      if (field !== undefined && node.value.includes(OPENING)) this.#text(node, node.value, field, path);
      return;
    }
    // An expression in a script is an error of its own, see check-work.ts.
    const scripts = isTask(path) ? ["run"] : (checksOf(node.tag?.name)?.scripts?.keys ?? []);
    for (const [key, child] of node.children) {
      if (scripts.includes(String(key))) continue;
      if (field?.traits.hasNameTemplates === true && String(key).includes(OPENING))
        this.#text({ ...child.node, ...child.key, textStart: null }, String(key), field, [...path, key]);
      this.visit(child.node, field?.child(key, node.tag?.name), [...path, key]);
    }
  }

  #text(node: Located, text: string, field: AnyField, path: IssuePath): void {
    const { template, place = isShortParam(path) ? "default" : "start" } = field.traits;
    if (template === undefined && !isShortParam(path) && !isShortField(path)) {
      if (PROSE.has(String(path.at(-1)))) return;
      const key = path.findLast((part) => typeof part === "string");
      const message = `expressions are not allowed in "${key}"`;
      this.findings.push({
        code: "E064",
        message,
        help: allowedKeys(this.#schema),
        start: node.start,
        end: node.end,
      });
      return;
    }
    // These are evaluated by the principal when a run is created, and no agent sees them.
    if (place !== "default" && place !== "group") this.hasTemplates = true;
    const task = path[0] === "tasks" && path[1] !== undefined ? String(path[1]) : null;
    const compiled = compileTemplate(text.trim(), this.#scope(placeIn(path, place), task), () => {
      throw new Error("nothing is evaluated while a file is checked");
    });
    const offset = text.length - text.trimStart().length;
    // The text ends where YAML saw a comment.
    const isCut =
      compiled.problems.some(({ code }) => code === "E066") && /^[ \t]+#/.test(this.#file.slice(node.end));
    if (isCut) {
      const help = "write it in quotes; a # after a blank begins a comment otherwise";
      const problem = {
        code: "E065",
        message: 'an expression that contains " #" needs quotes',
        help,
      } as const;
      this.#add(node, text, { ...problem, start: 0, end: text.length });
      return;
    }
    for (const problem of [...compiled.problems, ...compiled.warnings]) {
      this.#add(node, text, { ...problem, start: problem.start + offset, end: problem.end + offset });
    }
    if (compiled.problems.length > 0) return;
    const problem = typeProblem(compiled, template ?? "string", path);
    if (problem !== null)
      this.#add(node, text, { ...problem, start: offset, end: offset + text.trim().length });
  }

  #scope(place: Place, task: string | null): Scope {
    const key = `${place} ${task ?? ""}`;
    const known = this.#scopes.get(key) ?? scopeOf(this.#shape, place, task);
    this.#scopes.set(key, known);
    return known;
  }

  /** Adds a problem of a text; its place in the file is known unless the text is written with escapes or in folded lines. */
  #add(node: Located, text: string, { start, end, ...problem }: PlacedProblem): void {
    let from = node.textStart;
    if (from === null) {
      // A block of lines: the expression itself is mostly written in one.
      const opening = text.lastIndexOf(OPENING, start);
      const expression =
        opening < 0 ? text.slice(start, end) : text.slice(opening, Math.max(end, opening + 1));
      const at = this.#file.slice(node.start, node.end).indexOf(expression);
      if (at >= 0 && !expression.includes("\n")) from = node.start + at - (opening < 0 ? start : opening);
    }
    const place =
      from === null ? { start: node.start, end: node.end } : { start: from + start, end: from + end };
    this.findings.push({ ...problem, ...place });
  }
}

/** Whether this is the default of a parameter, written in place of the parameter. */
function isShortParam(path: IssuePath): boolean {
  return path.length === 2 && path[0] === "params";
}

/** The same of a field of a form. */
function isShortField(path: IssuePath): boolean {
  return path.length === 5 && path[0] === "tasks" && path[2] === "config" && path[3] === "form";
}

/** Where an expression is evaluated: outside tasks, those for a task are in what belongs to the workflow, or in a hook. */
function placeIn([first]: IssuePath, place: Place): Place {
  if ((place !== "start" && place !== "placement") || first === "tasks") return place;
  return first === "hooks" ? "hook" : "env";
}

function isTask(path: IssuePath): boolean {
  return path.length === 2 && (path[0] === "tasks" || path[0] === "hooks");
}

/** Where expressions are allowed, as the schema has it. */
function allowedKeys(schema: AnyField): string {
  const keys = new Set<string>();
  const seen = new Set<AnyField>();
  const visit = (field: AnyField, key: string): void => {
    if (field.traits.template !== undefined) keys.add(key);
    if (seen.has(field)) return;
    seen.add(field);
    const { keys: own = {}, kinds = {}, entry } = field.traits;
    for (const [name, child] of Object.entries(own)) visit(child, name);
    for (const kind of Object.values(kinds)) visit(kind, key);
    if (entry !== undefined) visit(entry, key);
  };
  visit(schema, "");
  return `they are allowed in ${[...keys].sort().join(", ")}; elsewhere write the value itself`;
}

function typeProblem(
  { type, isWhole }: Compiled,
  template: TemplateType,
  path: IssuePath,
): Pick<PlacedProblem, "code" | "message" | "help"> | null {
  const { kinds, noun } = WANTED[template];
  if (type.kind === "dyn" || kinds.includes(type.kind)) return null;
  const what = isWhole ? `the expression is ${aType(type)}` : "text around an expression makes it text";
  const message = `${subjectName(path)} must be ${noun}, but ${what}`;
  return { code: "E062", message, help: helpFor(template, type) };
}

function helpFor(template: TemplateType, type: CelType): string | undefined {
  if (template === "duration" && (type.kind === "int" || type.kind === "double")) {
    return 'add the unit: ${{ string(…) + "s" }}';
  }
  if (template === "list" && type.kind === "string") return "json(…) makes a list of JSON text";
  if (template === "bool" && type.kind === "string") return 'compare it: ${{ … == "true" }}';
  return undefined;
}

/** The names of a file, as far as it can be read, whatever else is wrong with it. */
function shapeOfFile(root: Located, inherited: readonly string[]): Shape {
  const child = (node: Located | undefined, key: string): Located | undefined =>
    node?.children.get(key)?.node;
  const entries = (node: Located | undefined): [string, Located][] =>
    [...(node?.children ?? [])].map(([key, { node: value }]) => [String(key), value]);
  const shapeOfTask = (task: Located): ShapeOfTask => {
    const depends = child(task, "depends");
    const outputs = child(task, "outputs")?.value;
    const config = child(task, "config");
    const published = checksOf(config?.tag?.name)?.publishes;
    return {
      // A list of ids, or conditions by id.
      depends: Array.isArray(depends?.value) ? depends.value.map(String) : entries(depends).map(([id]) => id),
      outputs:
        published !== undefined
          ? [...published.own, ...entries(child(config, published.keysOf)).map(([name]) => name)]
          : Array.isArray(outputs)
            ? outputs.map(String)
            : null,
      isFanOut: child(task, "foreach") !== undefined || child(task, "matrix") !== undefined,
    };
  };
  return {
    params: new Map(
      entries(child(root, "params")).map(([name, param]) => [
        name,
        String(child(param, "type")?.value ?? "string"),
      ]),
    ),
    env: new Set([
      ...inherited,
      ...entries(child(child(root, "defaults"), "env")).map(([name]) => name),
      ...entries(child(root, "env")).map(([name]) => name),
    ]),
    tasks: new Map(entries(child(root, "tasks")).map(([id, task]) => [id, shapeOfTask(task)])),
    isPart: false,
  };
}
