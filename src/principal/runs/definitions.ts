import type { OperationalTx, RunRecord } from "../../storage/operational/store.ts";
import { readDefinition, type WorkflowDefinition } from "../../workflow/model.ts";

/** Maximum number of parsed definitions to cache. */
const KEPT_DEFINITIONS = 500;

/** The definitions of runs, as they were when each run was created. */
export class Definitions {
  readonly #known = new Map<string, WorkflowDefinition>();

  /** Part of a unit of work. Null when the stored definition cannot be read: that affects only this run. */
  async of(tx: OperationalTx, run: Pick<RunRecord, "definition_hash">): Promise<WorkflowDefinition | null> {
    const known = this.#known.get(run.definition_hash);
    if (known !== undefined) return known;
    const json = await tx.getDefinition(run.definition_hash);
    if (json === null) return null;
    let definition: WorkflowDefinition;
    try {
      definition = readDefinition(json);
    } catch {
      return null;
    }
    if (this.#known.size >= KEPT_DEFINITIONS) this.#known.clear();
    this.#known.set(run.definition_hash, definition);
    return definition;
  }
}
