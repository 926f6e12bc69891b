/** A listener in a process of its own, which is started again when it fails; known to the principal all the while. */
import type { ConsolaInstance } from "consola";
import { type ListenerState, ListenerStatus } from "../contract/messages.ts";
import { type ChildOutcome, SupervisedProcess } from "../host/supervised-process.ts";
import type { PrincipalClient } from "../protocol/client.ts";
import { BackgroundService } from "../service.ts";
import { NOT_A_LISTENER } from "./event-listener.ts";
import { ListenerReports } from "./listener-reports.ts";

/** How long a listener that was told to end may take, ms; it ends by itself within less. */
const STOP_MS = 10_000;
const FIRST_PAUSE_MS = 500;

/** What it needs. */
export interface SupervisedListenerOptions {
  /** How it is called until it says itself. */
  readonly name: string;
  /** Asked at each start. */
  readonly command: () => readonly string[];
  readonly env: Readonly<Record<string, string | undefined>>;
  /** For reports; it is closed when the service stops. */
  readonly client: PrincipalClient;
  readonly log: ConsolaInstance;
}

/** The process of `sdk/typescript/runner.ts`, supervised. */
export class SupervisedListener extends BackgroundService {
  readonly name = "listener";
  readonly #options: SupervisedListenerOptions;
  readonly #process: SupervisedProcess;
  readonly #reports: ListenerReports;
  /** As the process told it last. */
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

  /** Resolves with how the process ended when it is not started again. */
  get done(): Promise<ChildOutcome> {
    return this.#process.done;
  }

  /** How it is, and what its present process has done. */
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

  /** Ends the process, and says so. */
  protected override async onStop(): Promise<void> {
    await this.#process.stop();
    await this.#reports.stop();
    await this.#options.client.close();
  }
}
