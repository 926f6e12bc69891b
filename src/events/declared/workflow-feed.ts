/** The workflows as one listener of a process reads them for all: there may be tens of thousands, and reading them takes time. */
import { hasSchedule } from "../../workflow/schedules.ts";
import type { DeclaredWorkflow } from "./declaration-source.ts";

/** The current workflows that declare a trigger. */
export class WorkflowFeed {
  #current: readonly DeclaredWorkflow[] | undefined;
  #next = Promise.withResolvers<void>();

  /** Undefined until they have been read. */
  get current(): readonly DeclaredWorkflow[] | undefined {
    return this.#current;
  }

  /** Resolves at the next change of {@link current}. */
  get changed(): Promise<void> {
    return this.#next.promise;
  }

  publish(workflows: readonly DeclaredWorkflow[]): void {
    this.#current = workflows.filter((workflow) => hasSchedule(workflow) || workflow.on !== undefined);
    this.#next.resolve();
    this.#next = Promise.withResolvers();
  }
}
