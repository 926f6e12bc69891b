/** Which names an expression can use, by where it is written. */
import type { Place } from "../field.ts";
import { BOOL, type CelType, DOUBLE, DYN, INT, listOf, mapOf, STRING, TIMESTAMP } from "./types.ts";

/** What a name that stands alone or at the front stands for. */
export type Root =
  /** A mapping whose names are known. */
  | { readonly kind: "record"; readonly fields: ReadonlyMap<string, CelType> }
  | { readonly kind: "value"; readonly type: CelType }
  /** Tasks by id; those that exist but cannot be read here say why. */
  | {
      readonly kind: "tasks";
      readonly tasks: ReadonlyMap<string, TaskNames>;
      readonly others: ReadonlyMap<string, Unreadable>;
    };

/** The names that a task offers. */
interface TaskNames {
  /** The outputs that it declares; null if it declares none, and may publish any. */
  readonly outputs: readonly string[] | null;
}

/** Why a task cannot be read. */
type Unreadable = "not upstream" | "itself" | "no tasks here";

/** The names in scope. */
export interface Scope {
  readonly roots: ReadonlyMap<string, Root>;
  /** The task whose expression it is. */
  readonly task: string | null;
  /** Whether the principal evaluates it, which knows the agents that are up. */
  readonly knowsAgents: boolean;
}

/** What the names of a workflow are taken from: its file, or its definition. */
export interface Shape {
  /** The types of the parameters, as the file names them. */
  readonly params: ReadonlyMap<string, string>;
  readonly env: ReadonlySet<string>;
  readonly tasks: ReadonlyMap<string, ShapeOfTask>;
  /** Its dependencies are not all there: an agent has only the tasks of a slice and those whose results they need. */
  readonly isPart: boolean;
}

export interface ShapeOfTask {
  readonly depends: readonly string[];
  readonly outputs: readonly string[] | null;
  readonly isFanOut: boolean;
}

const TYPE_OF_PARAM: Readonly<Record<string, CelType>> = {
  string: STRING,
  date: STRING,
  int: INT,
  number: DOUBLE,
  bool: BOOL,
  json: DYN,
};

const RUN = new Map<string, CelType>([
  ["id", STRING],
  ["workflow_id", STRING],
  ["attempt", INT],
  ["trigger", STRING],
  ["scheduled_time", TIMESTAMP],
  ["created_at", TIMESTAMP],
]);
const ENDED_RUN = new Map<string, CelType>([
  ...RUN,
  ["status", STRING],
  ["error", STRING],
  ["failed_tasks", listOf(STRING)],
]);

/** What a task offers: how it ended. */
export const PARTS_OF_TASKS: ReadonlyMap<string, CelType> = new Map([
  ["status", STRING],
  ["outputs", mapOf(STRING, DYN)],
  ["error", STRING],
]);

/** Names in scope of a place, beside those that are everywhere. The manual has the same table. */
const PLACES: Readonly<
  Record<
    Place,
    { readonly env: boolean; readonly tasks: "none" | "upstream" | "all"; readonly item: boolean }
  >
> = {
  default: { env: false, tasks: "none", item: false },
  env: { env: false, tasks: "none", item: false },
  group: { env: true, tasks: "none", item: false },
  decision: { env: true, tasks: "upstream", item: false },
  start: { env: true, tasks: "upstream", item: true },
  item: { env: true, tasks: "upstream", item: true },
  until: { env: true, tasks: "upstream", item: true },
  response: { env: true, tasks: "upstream", item: true },
  hook: { env: true, tasks: "all", item: false },
  result: { env: true, tasks: "all", item: false },
  placement: { env: true, tasks: "upstream", item: true },
  row: { env: false, tasks: "none", item: false },
};

/** In an alert file: the columns of a row of the result, which are known when its query has run. */
export const ROW_SCOPE: Scope = {
  roots: new Map([["row", { kind: "value", type: mapOf(STRING, DYN) }]]),
  task: null,
  knowsAgents: false,
};

/** The names that an expression at a place can use. @param task the id of its task, if it is in one */
export function scopeOf(shape: Shape, place: Place, task: string | null): Scope {
  if (place === "row") return ROW_SCOPE;
  const { env, tasks, item } = PLACES[place];
  const isEnded = place === "hook" || place === "result";
  const roots = new Map<string, Root>([
    ["params", { kind: "record", fields: paramTypes(shape) }],
    ["run", { kind: "record", fields: isEnded ? ENDED_RUN : RUN }],
    ["trigger", { kind: "value", type: mapOf(STRING, STRING) }],
  ]);
  if (env) {
    const fields = new Map([...shape.env].map((name): [string, CelType] => [name, STRING]));
    roots.set("env", { kind: "record", fields });
  }
  roots.set("tasks", tasksIn(shape, tasks, task));
  if (item && task !== null && shape.tasks.get(task)?.isFanOut === true) {
    roots.set("item", { kind: "value", type: DYN });
    roots.set("key", { kind: "value", type: STRING });
    roots.set("index", { kind: "value", type: INT });
  }
  if (place === "response") {
    roots.set("status", { kind: "value", type: INT });
    roots.set("headers", { kind: "value", type: mapOf(STRING, STRING) });
    roots.set("json", { kind: "value", type: DYN });
  }
  if (place === "until") {
    roots.set("exit_code", { kind: "value", type: INT });
    roots.set("outputs", { kind: "value", type: mapOf(STRING, DYN) });
  }
  return { roots, task, knowsAgents: place === "decision" };
}

function paramTypes(shape: Shape): Map<string, CelType> {
  return new Map([...shape.params].map(([name, type]) => [name, TYPE_OF_PARAM[type] ?? DYN]));
}

function tasksIn(shape: Shape, which: "none" | "upstream" | "all", own: string | null): Root {
  const readable = new Map<string, TaskNames>();
  const others = new Map<string, Unreadable>();
  const upstream = which === "upstream" && own !== null && !shape.isPart ? ancestorsOf(shape, own) : null;
  for (const [id, { outputs }] of shape.tasks) {
    const isReadable =
      which === "all" || (which === "upstream" && (shape.isPart ? id !== own : upstream?.has(id) === true));
    if (isReadable) readable.set(id, { outputs });
    else others.set(id, which === "none" ? "no tasks here" : id === own ? "itself" : "not upstream");
  }
  return { kind: "tasks", tasks: readable, others };
}

/** The tasks that are over before this one can start, whatever else is wrong with the dependencies. */
function ancestorsOf(shape: Shape, task: string): Set<string> {
  const found = new Set<string>();
  const queue = [...(shape.tasks.get(task)?.depends ?? [])];
  for (let id = queue.pop(); id !== undefined; id = queue.pop()) {
    if (id === task || found.has(id)) continue;
    found.add(id);
    queue.push(...(shape.tasks.get(id)?.depends ?? []));
  }
  return found;
}
