import type { OperationalTx, RunRecord } from "../../storage/operational/store.ts";
import { readDefinition, type WorkflowDefinition } from "../../workflow/model.ts";
import { type Plan, planOf } from "../../workflow/plan.ts";

/** Maximum number of parsed definitions to cache. */
const KEPT_DEFINITIONS = 500;

/** A definition, and the plan of its tasks. */
interface Parsed {
  readonly definition: WorkflowDefinition;
  /** Null when its tasks do not form a graph that can be executed. */
  readonly plan: Plan | null;
}

/** The definitions of runs, as they were when each run was created. */
export class Definitions {
  readonly #known = new Map<string, Parsed>();

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
    const parsed = { definition, plan: planOrNull(definition) };
    if (this.#known.size >= KEPT_DEFINITIONS) this.#known.clear();
    this.#known.set(hash, parsed);
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
