/** The base of whatever turns events into runs. It knows the principal only by its API. */
import type { PrincipalClient, RequestOptions } from "../protocol/client.ts";

/** The exit status of a listener's process whose file holds no listener. */
export const NOT_A_LISTENER = 78;

/** How a run is asked for. */
export interface RunOptions {
  readonly params?: Readonly<Record<string, string>>;
  /** The same event always has the same key: then it makes one run, however often it is asked for. */
  readonly dedupeKey?: string;
  /** The instant that a schedule meant, ms since the epoch. */
  readonly scheduledTimeMs?: number;
  /** What becomes of it when the principal was away for long; by default it is delivered however late it is. */
  readonly late?: LatePolicy;
}

/** What becomes of a trigger that could not be delivered in time. */
interface LatePolicy {
  /** Later than this it is late, ms after `scheduledTimeMs`, or after it was asked for. */
  readonly afterMs: number;
  /** Of the late triggers of a workflow all are delivered, or the latest unless a newer one waits, or none. */
  readonly keep: "all" | "latest" | "none";
}

/** Where a trigger is once {@link EventListener.runWorkflow} has resolved. */
export interface Triggered {
  /** The run; null while the trigger waits on this host's disk because the principal is away, or when it was dropped as too late. */
  readonly workflow_instance_id: string | null;
  readonly dedupe_key: string;
  /** Whether it waits on this host's disk; it becomes a run when the principal is back. */
  readonly buffered: boolean;
}

/** A trigger as it is handed over. */
export interface TriggerRequest {
  readonly workflowId: string;
  readonly trigger: string;
  readonly params: Readonly<Record<string, string>>;
  readonly dedupeKey: string;
  readonly scheduledTimeMs: number | null;
  readonly late?: LatePolicy;
}

/** What brings triggers to the principal. */
export interface TriggerDelivery {
  deliver(request: TriggerRequest, options?: RequestOptions): Promise<Triggered>;
}

/** What a listener is given to work with. */
export interface ListenerContext {
  readonly client: PrincipalClient;
  /** Without it, triggers go straight to the principal and fail while it is away. */
  readonly delivery?: TriggerDelivery;
  /** Aborts when the listener is to end. */
  readonly signal?: AbortSignal;
}

/**
 * An event listener: waits for events and runs workflows for them.
 *
 *     export default class Doorbell extends EventListener {
 *       async startListening(): Promise<void> {
 *         for await (const ring of rings()) await this.runWorkflow("greet", { params: { who: ring.name } });
 *       }
 *     }
 */
export abstract class EventListener {
  /** Runs have the trigger `listener:NAME`: the class's name, if no other is given. */
  readonly name: string;
  #context: ListenerContext | undefined;

  /** @param client the principal; whoever runs a listener may give it later, see {@link attach} */
  constructor(client?: PrincipalClient) {
    this.name = new.target.name;
    if (client !== undefined) this.#context = { client };
  }

  /** Waits for events; resolves when there will be no more. It should end when {@link signal} aborts. */
  abstract startListening(): Promise<void>;

  /** Called when the listener is to end, for those that must close something to come back from `startListening`. */
  async stopListening(): Promise<void> {}

  /** The principal's API. */
  get client(): PrincipalClient {
    return this.#attached().client;
  }

  /** Aborts when the listener is to end. */
  get signal(): AbortSignal {
    return this.#attached().signal ?? NEVER;
  }

  /** Gives the listener what it works with; before `startListening`. */
  attach(context: ListenerContext): void {
    this.#context = context;
  }

  /**
   * Triggers a workflow; resolves when the trigger is safe: as a run on the principal's disk or, while the principal is
   * away, in the buffer on this host's disk, from where it is delivered in order. Waits while that buffer is full.
   * @throws RequestRefusedError when there is no such workflow or the parameters do not fit
   * @throws PrincipalUnreachableError, RequestUnprocessableError, PrincipalFailedError when it cannot be done now and there is no buffer
   */
  async runWorkflow(
    workflowId: string,
    options: RunOptions = {},
    request?: RequestOptions,
  ): Promise<Triggered> {
    const wanted: TriggerRequest = {
      workflowId,
      trigger: this.trigger,
      params: { ...options.params },
      dedupeKey: options.dedupeKey ?? crypto.randomUUID(),
      scheduledTimeMs: options.scheduledTimeMs ?? null,
      ...(options.late === undefined ? {} : { late: options.late }),
    };
    const { client, delivery } = this.#attached();
    return delivery === undefined ? sendTrigger(client, wanted, request) : delivery.deliver(wanted, request);
  }

  /** What the runs say caused them. */
  protected get trigger(): string {
    return `listener:${this.name.replace(/[\s\p{Cc}]+/gu, "-").slice(0, LONGEST_NAME)}`;
  }

  #attached(): ListenerContext {
    if (this.#context !== undefined) return this.#context;
    throw new Error(
      `The listener ${this.name} is not connected: start it with 'cdktr listen', or give its constructor a client.`,
    );
  }
}

const LONGEST_NAME = 200;
const NEVER = new AbortController().signal;

/** Hands a trigger to the principal; resolves when the run is on its disk. */
export async function sendTrigger(
  client: PrincipalClient,
  wanted: TriggerRequest,
  request?: RequestOptions,
): Promise<Triggered> {
  const { workflow_instance_id } = await client.runTask(
    wanted.workflowId,
    {
      trigger: wanted.trigger,
      params: wanted.params,
      dedupe_key: wanted.dedupeKey,
      scheduled_time_ms: wanted.scheduledTimeMs,
    },
    request,
  );
  return { workflow_instance_id, dedupe_key: wanted.dedupeKey, buffered: false };
}
