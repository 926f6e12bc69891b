/** Which installation this principal is: its state and its history have the same id, and agents keep apart what is whose. */
import { BackgroundService } from "../service.ts";
import type { StatusFeed } from "../storage/operational/store.ts";

/** Knows the id, once started: after the history, from which a new state takes it. */
export class Installation extends BackgroundService {
  readonly name = "installation";
  readonly #state: Pick<StatusFeed, "identity">;
  #id = "";

  constructor(state: Pick<StatusFeed, "identity">) {
    super();
    this.#state = state;
  }

  /** Random; the same over restarts. */
  get id(): string {
    return this.#id;
  }

  protected override async onStart(): Promise<void> {
    this.#id = (await this.#state.identity()).installation_id;
  }

  protected override onStop(): void {}
}
