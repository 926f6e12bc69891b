/** The status rows of the principal's state, which only the principal opens. */
import type { Differences, NewIdentity, PrincipalCalls, StateIdentity } from "../contract/history.ts";
import type { HistoricStatuses, PendingStatus } from "../contract/history-rows.ts";
import type { MessageLink } from "../protocol/message-link.ts";
import type { StatusFeed } from "../storage/operational/store.ts";

/** Asks the principal. */
export class RemoteStatuses implements StatusFeed {
  readonly #link: Pick<MessageLink<PrincipalCalls, object, object, object>, "ask">;

  /** Copies in progress: by path, what is called at the moment whose state the copy contains. */
  readonly #fixed = new Map<string, () => void>();

  constructor(link: Pick<MessageLink<PrincipalCalls, object, object, object>, "ask">) {
    this.#link = link;
  }

  identity(): Promise<StateIdentity> {
    return this.#link.ask("identity", null);
  }

  async changeIdentity({ installation_id, state_id, taken_id }: NewIdentity): Promise<void> {
    await this.#link.ask("changeIdentity", { installation_id, state_id, taken_id });
  }

  async copyTo(path: string, fixed: () => void = () => {}): Promise<void> {
    this.#fixed.set(path, fixed);
    try {
      await this.#link.ask("copyState", path);
    } finally {
      this.#fixed.delete(path);
    }
  }

  /** The content of a copy in progress is decided. */
  fixed(path: string): void {
    this.#fixed.get(path)?.();
  }

  takeStatuses(after_id: number, limit: number): Promise<PendingStatus[]> {
    return this.#link.ask("takeStatuses", { after_id, limit });
  }

  async ackStatuses(upToId: number): Promise<void> {
    await this.#link.ask("ackStatuses", upToId);
  }

  runsChangedAfter(id: number): Promise<string[]> {
    return this.#link.ask("runsChangedAfter", id);
  }

  compareWithHistory(
    runs: readonly HistoricStatuses[],
    taken_id: number,
    repeat: boolean,
  ): Promise<Differences> {
    const told = runs.map((run) => ({ ...run, tasks: [...run.tasks] }));
    return this.#link.ask("compare", { runs: told, taken_id, repeat });
  }
}
