/** Where the values of an evaluation come from: the facts of a run, and how its tasks ended. */
import type { RunFacts } from "../run-facts.ts";
import type { RunStatus } from "../status.ts";
import type { Source } from "./compile.ts";
import { ExpressionError, NoValueError } from "./machine.ts";
import type { Reference } from "./references.ts";
import { fromJson, Timestamp, type Value } from "./values.ts";

/** What a task published. */
type Outputs = Readonly<Record<string, unknown>>;

/** How a task ended, as expressions see it. */
export interface TaskResult {
  readonly status: RunStatus;
  readonly outputs: Outputs | null;
  readonly error?: string | null;
  /** Why what it has published is not there: no operator takes that for nothing. */
  readonly leftOut?: string | undefined;
}

/** An item of a fan-out. */
interface ItemFacts {
  readonly key: string;
  /** Its place, from 0. */
  readonly index: number;
  /** JSON. */
  readonly value: unknown;
}

/** A response, as `expect.json` of a request sees it. */
export interface ResponseValues {
  readonly status: number;
  readonly headers: Readonly<Record<string, string>>;
  /** Undefined if it is no JSON. */
  readonly json: unknown;
}

/** What expressions of a run can read at some moment. */
export interface ScopeValues {
  readonly facts: RunFacts;
  /** How a task ended; undefined if it is not over. */
  readonly results?: (id: string) => TaskResult | undefined;
  readonly item?: ItemFacts;
  /** The try that has just ended, for `repeat.until`. */
  /** The response to a request, for `expect.json`. */
  readonly response?: ResponseValues;
  readonly attempt?: { readonly exit_code: number | null; readonly outputs: Outputs | null };
}

type Answer = ReturnType<Source["read"]>;
type Charge = (count: number) => void;

const missing = (why = ""): Answer => ({ missing: why });

/** Values are checked when a run is triggered: one that does not fit was accepted by another version of the file, or of cdktr. */
const unfit = (text: string, type: string): Answer =>
  missing(`${JSON.stringify(text.slice(0, 60))} is not a value of its type, ${type}`);

/** Reads the values of a run for the expressions of a workflow. */
export class RunSource implements Source {
  readonly #values: ScopeValues;
  readonly #paramTypes: ReadonlyMap<string, string>;
  readonly #isFanOut: (task: string) => boolean;
  /** The value of a variable in the env of the workflow. */
  readonly #env: (name: string) => string;

  constructor(
    values: ScopeValues,
    paramTypes: ReadonlyMap<string, string>,
    isFanOut: (task: string) => boolean,
    env: (name: string) => string,
  ) {
    this.#values = values;
    this.#isFanOut = isFanOut;
    this.#paramTypes = paramTypes;
    this.#env = env;
  }

  read(reference: Reference, charge: Charge): Answer {
    const { facts, item, attempt, response } = this.#values;
    const { name } = reference;
    switch (reference.root) {
      case "params":
        return name === null
          ? this.#all(Object.keys(facts.params), (each) => this.#param(each, charge))
          : this.#param(name, charge);
      case "env":
        return name === null
          ? this.#all(Object.keys(facts.env), (each) => this.#variable(each))
          : this.#variable(name);
      case "run":
        return name === null ? this.#all(RUN_NAMES, (each) => this.#run(each)) : this.#run(name);
      case "trigger":
        if (name === null) return { value: fromJson(facts.event, charge) };
        return Object.hasOwn(facts.event, name)
          ? { value: facts.event[name] ?? "" }
          : missing(`what triggered the run, ${facts.run.trigger}, offered no "${name}"`);
      case "tasks":
        return this.#task(name ?? "", reference, charge);
      case "item":
        return item === undefined ? missing() : { value: fromJson(item.value, charge) };
      case "key":
        return item === undefined ? missing() : { value: item.key };
      case "index":
        return item === undefined ? missing() : { value: BigInt(item.index) };
      case "exit_code":
        return attempt?.exit_code == null
          ? missing("the program did not exit by itself")
          : { value: BigInt(attempt.exit_code) };
      case "outputs":
        return attempt === undefined ? missing() : { value: fromJson(attempt.outputs ?? {}, charge) };
      case "status":
        return response === undefined ? missing() : { value: BigInt(response.status) };
      case "headers":
        return response === undefined ? missing() : { value: fromJson(response.headers, charge) };
      case "agents":
        return facts.agents === undefined
          ? missing("which agents are up is known to a principal only")
          : { value: fromJson(facts.agents, charge) };
      case "json":
        return response?.json === undefined
          ? missing("the response is not JSON")
          : { value: fromJson(response.json, charge) };
      default:
        return missing();
    }
  }

  /** A mapping of all that has a value. */
  #all(names: readonly string[], read: (name: string) => Answer): Answer {
    const entries = names.flatMap((name): [string, Value][] => {
      const answer = read(name);
      return "value" in answer ? [[name, answer.value]] : [];
    });
    return { value: new Map(entries) };
  }

  #param(name: string, charge: Charge): Answer {
    const { params } = this.#values.facts;
    const text = Object.hasOwn(params, name) ? params[name] : undefined;
    if (text === undefined) return missing("it was not given");
    const type = this.#paramTypes.get(name);
    switch (type) {
      case "int":
        return /^-?\d+$/.test(text) ? { value: BigInt(text) } : unfit(text, type);
      case "number":
        return { value: Number(text) };
      case "bool":
        return { value: text === "true" };
      case "json":
        try {
          return { value: fromJson(JSON.parse(text), charge) };
        } catch (error) {
          if (!(error instanceof SyntaxError)) throw error;
          return unfit(text, type);
        }
      default:
        return { value: text };
    }
  }

  #variable(name: string): Answer {
    if (!Object.hasOwn(this.#values.facts.env, name)) return missing();
    try {
      return { value: this.#env(name) };
    } catch (error) {
      if (error instanceof NoValueError) return missing(error.message);
      // Its place is in another text.
      if (error instanceof ExpressionError)
        throw new ExpressionError(`env.${name}: ${error.message}`, 0, 0, error.help);
      throw error;
    }
  }

  #run(name: string): Answer {
    const { run } = this.#values.facts;
    switch (name) {
      case "id":
      case "workflow_id":
      case "trigger":
        return { value: run[name] };
      case "attempt":
        return { value: BigInt(run.attempt) };
      case "created_at":
        return { value: Timestamp.ofMs(run.created_at_ms) };
      // Tasks see the same in CDKTR_SCHEDULED_TIME.
      case "scheduled_time":
        return { value: Timestamp.ofMs(run.scheduled_time_ms ?? run.created_at_ms) };
      case "status":
        return run.status === undefined ? missing() : { value: run.status };
      case "error":
        return run.error == null ? missing("the run did not fail") : { value: run.error };
      case "failed_tasks":
        return run.failed_tasks === undefined ? missing() : { value: run.failed_tasks };
      default:
        return missing();
    }
  }

  #task(id: string, { part, output }: Reference, charge: Charge): Answer {
    const result = this.#values.results?.(id);
    if (result === undefined) return missing(`"${id}" is not over`);
    const { status, outputs, error = null, leftOut } = result;
    if (part === "status") return { value: status };
    if (part === "error")
      return error === null ? missing(`"${id}" ${status}, without an error`) : { value: error };
    if (leftOut !== undefined)
      throw new ExpressionError(`the outputs of "${id}" cannot be read: ${leftOut}`, 0, 0);
    if (output === null) return { value: fromJson(outputs ?? {}, charge) };
    if (outputs !== null && Object.hasOwn(outputs, output))
      return { value: fromJson(outputs[output], charge) };
    // A fan-out without items has an empty list of whatever its items publish.
    if (outputs === null && status === "COMPLETED" && this.#isFanOut(id)) return { value: [] };
    return missing(status === "COMPLETED" ? `"${id}" published no "${output}"` : `"${id}" ${status}`);
  }
}

const RUN_NAMES = [
  "id",
  "workflow_id",
  "attempt",
  "trigger",
  "scheduled_time",
  "created_at",
  "status",
  "error",
  "failed_tasks",
];
