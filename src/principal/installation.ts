/** The id of this installation. The state and the history share it, and agents use it to keep data of different installations apart. */
import { BackgroundService } from "../service.ts";
import type { StatusFeed } from "../storage/operational/store.ts";

/** Knows the identity once started. Starts after the history, because a new state may take the id from there. */
export class Installation extends BackgroundService {
  readonly name = "installation";
  readonly #state: Pick<StatusFeed, "identity">;
  #isKnown = false;
  #id = "";
  #formerBootId: string | null = null;

  constructor(state: Pick<StatusFeed, "identity">) {
    super();
    this.#state = state;
  }

  /** Whether others may have been told the id: it is final then. */
  get isKnown(): boolean {
    return this.#isKnown;
  }

  /** Random; unchanged by restarts. */
  get id(): string {
    return this.#id;
  }

  /** The boot of this host in which the principal ran last, if the host was restarted since; null otherwise. */
  get formerBootId(): string | null {
    return this.#formerBootId;
  }

  protected override async onStart(): Promise<void> {
    this.#isKnown = true;
    const { installation_id, former_boot_id } = await this.#state.identity();
    this.#id = installation_id;
    this.#formerBootId = former_boot_id;
  }

  protected override onStop(): void {}
}
