/** The workflows as one listener of a process reads them for all: there may be tens of thousands, and reading them takes time. */
import type { WorkflowSummary } from "../../contract/messages.ts";

/** The current workflows that declare a trigger. */
export class WorkflowFeed {
  #current: readonly WorkflowSummary[] | undefined;
  #next = Promise.withResolvers<void>();

  /** Undefined until they have been read. */
  get current(): readonly WorkflowSummary[] | undefined {
    return this.#current;
  }

  /** Resolves at the next change of {@link current}. */
  get changed(): Promise<void> {
    return this.#next.promise;
  }

  publish(workflows: readonly WorkflowSummary[]): void {
    this.#current = workflows.filter(({ cron, on }) => cron !== null || on !== undefined);
    this.#next.resolve();
    this.#next = Promise.withResolvers();
  }
}
