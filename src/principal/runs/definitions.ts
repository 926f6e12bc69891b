import type { OperationalTx, RunRecord } from "../../storage/operational/store.ts";
import { readDefinition, type WorkflowDefinition } from "../../workflow/model.ts";
import { type Plan, planOf } from "../../workflow/plan.ts";

/** Maximum number of parsed definitions to cache: thousands of workflows may fire at once. */
const MOST_DEFINITIONS = 5000;
/** More than this many are only kept as long as their JSON has no more than so many characters together. */
const KEPT_DEFINITIONS = 500;
const MOST_CHARACTERS = 8 * 1024 * 1024;

/** A definition, and the plan of its tasks. */
interface Parsed {
  readonly definition: WorkflowDefinition;
  /** Null when its tasks do not form a graph that can be executed. */
  readonly plan: Plan | null;
  /** Length of its JSON. */
  readonly characters: number;
}

/** The definitions of runs, as they were when each run was created. */
export class Definitions {
  readonly #known = new Map<string, Parsed>();
  #characters = 0;

  /** Part of a unit of work. Null when the stored definition cannot be read: that affects only this run. */
  async of(tx: OperationalTx, run: Pick<RunRecord, "definition_hash">): Promise<WorkflowDefinition | null> {
    return (await this.#of(tx, run))?.definition ?? null;
  }

  /** Part of a unit of work. The plan of a run; null when its stored definition cannot be executed. */
  async planOf(tx: OperationalTx, run: Pick<RunRecord, "definition_hash">): Promise<Plan | null> {
    return (await this.#of(tx, run))?.plan ?? null;
  }

  /** The definition with this hash, which need not be stored yet; null when it cannot be read. */
  ofText(hash: string, json: string): Parsed | null {
    return this.#known.get(hash) ?? this.#parse(hash, json);
  }

  async #of(
    tx: OperationalTx,
    { definition_hash: hash }: Pick<RunRecord, "definition_hash">,
  ): Promise<Parsed | null> {
    const known = this.#known.get(hash);
    if (known !== undefined) return known;
    const json = await tx.getDefinition(hash);
    return json === null ? null : this.#parse(hash, json);
  }

  #parse(hash: string, json: string): Parsed | null {
    let definition: WorkflowDefinition;
    try {
      definition = readDefinition(json);
    } catch {
      return null;
    }
    const parsed = { definition, plan: planOrNull(definition), characters: json.length };
    this.#known.set(hash, parsed);
    this.#characters += json.length;
    for (const [oldest, { characters }] of this.#known) {
      const { size } = this.#known;
      if (size <= KEPT_DEFINITIONS || (size <= MOST_DEFINITIONS && this.#characters <= MOST_CHARACTERS))
        break;
      this.#known.delete(oldest);
      this.#characters -= characters;
    }
    return parsed;
  }
}

function planOrNull(definition: WorkflowDefinition): Plan | null {
  try {
    return planOf(definition);
  } catch {
    return null;
  }
}
