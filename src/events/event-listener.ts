/** The base class of everything that turns events into runs. It uses only the principal's API. */
import type { PrincipalClient, RequestOptions } from "../protocol/client.ts";
import { paramTexts } from "../workflow/param-types.ts";

/** The exit status of a listener's process whose file does not export a listener. */
export const NOT_A_LISTENER = 78;

/** Options of a trigger. */
export interface RunOptions {
  /** Text is passed as it is, anything else as JSON. */
  readonly params?: Readonly<Record<string, unknown>>;
  /** What the event offers to expressions, as `trigger.NAME`; text is passed as it is, anything else as JSON. At most 64 KiB. */
  readonly event?: Readonly<Record<string, unknown>>;
  /** Idempotency key: the same event always has the same key, so that it starts one run however often it is sent. */
  readonly dedupeKey?: string;
  /** The scheduled time, ms since the epoch. */
  readonly scheduledTimeMs?: number;
  /** Number of runs before it in a chain of `on: workflow`; by default 0. */
  readonly triggerDepth?: number;
  /** What to do with the trigger if the principal was away for long; by default it is delivered however late it is. */
  readonly late?: LatePolicy;
  /** The key of the entry of the workflow's schedules that fires. */
  readonly schedule?: string;
  /** The `traceparent` that the event brought: the run is part of that trace. One that is not valid is ignored. */
  readonly traceparent?: string;
}

/** What to do with a trigger that could not be delivered in time. */
interface LatePolicy {
  /** The trigger is late when this many ms have passed since `scheduledTimeMs`, or since it was sent. */
  readonly afterMs: number;
  /** Which late triggers of a workflow to deliver: all, only the latest unless a newer one waits, or none. */
  readonly keep: "all" | "latest" | "none";
}

/** Where a trigger is when {@link EventListener.runWorkflow} has resolved. */
export interface Triggered {
  /** The run; null while the trigger is buffered on this host's disk because the principal is away, or when it was dropped as too late. */
  readonly workflow_instance_id: string | null;
  readonly dedupe_key: string;
  /** Whether it is buffered on this host's disk; it becomes a run when the principal is back. */
  readonly buffered: boolean;
  /** `paused`: its workflow is paused; whether it becomes this run when the workflow is resumed is up to the workflow's `catchup`. Absent otherwise. */
  readonly missed?: "paused";
}

/** A complete trigger. */
export interface TriggerRequest {
  readonly workflowId: string;
  readonly trigger: string;
  readonly params: Readonly<Record<string, string>>;
  readonly event?: Readonly<Record<string, string>>;
  readonly dedupeKey: string;
  readonly scheduledTimeMs: number | null;
  readonly triggerDepth?: number;
  readonly late?: LatePolicy;
  readonly schedule?: string;
  readonly traceparent?: string;
}

/** Delivers triggers to the principal. */
export interface TriggerDelivery {
  deliver(request: TriggerRequest, options?: RequestOptions): Promise<Triggered>;
  /** These workflows are about to be triggered. */
  prepare?(workflowIds: readonly string[]): void;
}

/** What a listener works with. */
export interface ListenerContext {
  readonly client: PrincipalClient;
  /** Without it, triggers go directly to the principal and fail while it is away. */
  readonly delivery?: TriggerDelivery;
  /** Aborts when the listener should stop. */
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
  /** Runs have the trigger `listener:NAME`; by default the name of the class. */
  readonly name: string;
  #context: ListenerContext | undefined;

  /** @param client the principal; it may be set later, see {@link attach} */
  constructor(client?: PrincipalClient) {
    this.name = new.target.name;
    if (client !== undefined) this.#context = { client };
  }

  /** Waits for events; resolves when there will be no more. Should return when {@link signal} aborts. */
  abstract startListening(): Promise<void>;

  /** Called when the listener should stop, for listeners that must close something to return from `startListening`. */
  async stopListening(): Promise<void> {}

  /** The principal's API. */
  get client(): PrincipalClient {
    return this.#attached().client;
  }

  /** Aborts when the listener should stop. */
  get signal(): AbortSignal {
    return this.#attached().signal ?? NEVER;
  }

  /** Sets what the listener works with; called before `startListening`. */
  attach(context: ListenerContext): void {
    this.#context = context;
  }

  /**
   * Triggers a workflow; resolves when the trigger is safe: as a run on the principal's disk or, while the principal is
   * away, in the buffer on this host's disk, from which it is delivered in order. Blocks while that buffer is full.
   * @throws RequestRefusedError when there is no such workflow or the parameters do not fit
   * @throws PrincipalUnreachableError, RequestUnprocessableError, PrincipalFailedError when it is not possible now and there is no buffer
   */
  async runWorkflow(
    workflowId: string,
    options: RunOptions = {},
    request?: RequestOptions,
  ): Promise<Triggered> {
    const wanted: TriggerRequest = {
      workflowId,
      trigger: this.trigger,
      params: paramTexts(options.params),
      ...(options.event === undefined ? {} : { event: paramTexts(options.event) }),
      dedupeKey: options.dedupeKey ?? crypto.randomUUID(),
      scheduledTimeMs: options.scheduledTimeMs ?? null,
      ...(options.triggerDepth === undefined ? {} : { triggerDepth: options.triggerDepth }),
      ...(options.late === undefined ? {} : { late: options.late }),
      ...(options.schedule === undefined ? {} : { schedule: options.schedule }),
      ...(options.traceparent === undefined ? {} : { traceparent: options.traceparent }),
    };
    const { client, delivery } = this.#attached();
    return delivery === undefined ? sendTrigger(client, wanted, request) : delivery.deliver(wanted, request);
  }

  /** Where its triggers go; undefined for directly to the principal. */
  protected get delivery(): TriggerDelivery | undefined {
    return this.#context?.delivery;
  }

  /** The trigger recorded in its runs. */
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

/** Sends a trigger to the principal; resolves when the run is on its disk. */
export async function sendTrigger(
  client: PrincipalClient,
  wanted: TriggerRequest,
  request?: RequestOptions,
): Promise<Triggered> {
  const { workflow_instance_id, missed } = await client.runTask(
    wanted.workflowId,
    {
      trigger: wanted.trigger,
      params: wanted.params,
      ...(wanted.event === undefined ? {} : { event: wanted.event }),
      dedupe_key: wanted.dedupeKey,
      scheduled_time_ms: wanted.scheduledTimeMs,
      ...(wanted.triggerDepth === undefined ? {} : { trigger_depth: wanted.triggerDepth }),
      ...(wanted.schedule === undefined ? {} : { schedule: wanted.schedule }),
      ...(wanted.traceparent === undefined ? {} : { traceparent: wanted.traceparent }),
    },
    request,
  );
  const made = { workflow_instance_id, dedupe_key: wanted.dedupeKey, buffered: false };
  return missed === undefined ? made : { ...made, missed };
}
