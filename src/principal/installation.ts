/** The id of this installation. The state and the history share it, and agents use it to keep data of different installations apart. */
import { BackgroundService } from "../service.ts";
import type { StatusFeed } from "../storage/operational/store.ts";

/** Provides the id once started. Starts after the history, because a new state takes the id from there. */
export class Installation extends BackgroundService {
  readonly name = "installation";
  readonly #state: Pick<StatusFeed, "identity">;
  #id = "";

  constructor(state: Pick<StatusFeed, "identity">) {
    super();
    this.#state = state;
  }

  /** Random; unchanged by restarts. */
  get id(): string {
    return this.#id;
  }

  protected override async onStart(): Promise<void> {
    this.#id = (await this.#state.identity()).installation_id;
  }

  protected override onStop(): void {}
}
