/** A listener in a separate process, which is restarted when it fails; its state is reported to the principal throughout. */
import type { ConsolaInstance } from "consola";
import { type ListenerState, ListenerStatus } from "../contract/messages.ts";
import { type ChildOutcome, SupervisedProcess } from "../host/supervised-process.ts";
import type { PrincipalClient } from "../protocol/client.ts";
import { BackgroundService } from "../service.ts";
import { NOT_A_LISTENER } from "./event-listener.ts";
import { ListenerReports } from "./listener-reports.ts";

/** How long a listener may take to stop, ms; normally it takes less. */
const STOP_MS = 10_000;
const FIRST_PAUSE_MS = 500;

/** What it needs. */
export interface SupervisedListenerOptions {
  /** Its name until it reports one. */
  readonly name: string;
  /** Called before each start. */
  readonly command: () => readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  /** For reports; it is closed when the service stops. */
  readonly client: PrincipalClient;
  readonly log: ConsolaInstance;
}

/** The supervised process of `sdk/typescript/runner.ts`. */
export class SupervisedListener extends BackgroundService {
  readonly name = "listener";
  readonly #options: SupervisedListenerOptions;
  readonly #process: SupervisedProcess;
  readonly #reports: ListenerReports;
  /** The process's last report. */
  #told: ListenerStatus;
  #isOver = false;

  constructor(options: SupervisedListenerOptions) {
    super();
    this.#options = options;
    this.#told = {
      name: options.name,
      state: "running",
      error: null,
      restarts: 0,
      fired: 0,
      delivered: 0,
      failed: 0,
      dropped: 0,
      buffered: 0,
      buffer_bytes: 0,
      last_trigger_ms: null,
      principal_away_since_ms: null,
    };
    this.#process = new SupervisedProcess({
      name: "listener",
      log: options.log,
      command: options.command,
      env: options.env,
      firstPauseMs: FIRST_PAUSE_MS,
      isFinal: (outcome, start) => outcome === 0 || (outcome === NOT_A_LISTENER && start === 1),
      stopMs: STOP_MS,
      heard: (message) => {
        const told = ListenerStatus.safeParse(message);
        if (told.success) this.#told = told.data;
      },
    });
    this.#reports = new ListenerReports({
      client: options.client,
      statuses: () => [this.status],
      log: options.log,
    });
    this.#process.signals.on("failed", () => this.#reports.changed());
  }

  /** Resolves with how the process ended when it is not restarted. */
  get done(): Promise<ChildOutcome> {
    return this.#process.done;
  }

  /** Its state, and the counters of its current process. */
  get status(): ListenerStatus {
    const { failure, restarts } = this.#process;
    let state: ListenerState = failure === undefined ? "running" : "backing off";
    if (this.#isOver) state = "stopped";
    const error = failure === undefined ? null : `its process ended with ${failure}`;
    return { ...this.#told, state, error, restarts };
  }

  protected override async onStart(): Promise<void> {
    void this.#process.done.then(() => {
      this.#isOver = true;
    });
    await this.#process.start();
    await this.#reports.start();
  }

  /** Stops the process, and reports it. */
  protected override async onStop(): Promise<void> {
    await this.#process.stop();
    await this.#reports.stop();
    await this.#options.client.close();
  }
}
