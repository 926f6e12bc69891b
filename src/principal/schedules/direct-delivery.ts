/** Delivers the firings of schedules within the principal's process: a firing is a run, or is still due. */
import type { Clock } from "../../clock.ts";
import type { RunTaskOptions } from "../../contract/messages.ts";
import { CdktrError } from "../../errors.ts";
import type { Triggered, TriggerRequest } from "../../events/event-listener.ts";
import type { CountedDelivery } from "../../events/listener-service.ts";
import { RequestRefusedError } from "../../protocol/client.ts";
import { inTurns } from "../../timer.ts";

/** What it needs. */
interface DirectDeliveryOptions {
  readonly runs: {
    trigger(workflowId: string, options: RunTaskOptions): Promise<string>;
    prepare(workflowId: string): void;
  };
  readonly workflows: { expect(workflows: number): void };
  readonly clock: Clock;
}

/** The delivery. It keeps nothing: what cannot become a run now is the scheduler's affair. */
export class DirectDelivery implements CountedDelivery {
  readonly #o: DirectDeliveryOptions;
  #fired = 0;
  #delivered = 0;
  #failed = 0;
  #lastTriggerMs: number | null = null;
  #awaySinceMs: number | null = null;

  constructor(options: DirectDeliveryOptions) {
    this.#o = options;
  }

  get metrics(): CountedDelivery["metrics"] {
    return {
      fired: this.#fired,
      delivered: this.#delivered,
      failed: this.#failed,
      lastTriggerMs: this.#lastTriggerMs,
      awaySinceMs: this.#awaySinceMs,
    };
  }

  /** @throws RequestRefusedError when it will never be a run; any other error when it cannot be one now */
  async deliver(request: TriggerRequest): Promise<Triggered> {
    const { workflowId, params, trigger, event, dedupeKey, scheduledTimeMs, schedule } = request;
    this.#fired++;
    this.#lastTriggerMs = this.#o.clock.now();
    try {
      const workflow_instance_id = await this.#o.runs.trigger(workflowId, {
        params,
        trigger,
        ...(event === undefined ? {} : { event }),
        dedupe_key: dedupeKey,
        scheduled_time_ms: scheduledTimeMs,
        trigger_depth: 0,
        ...(schedule === undefined ? {} : { schedule }),
      });
      this.#delivered++;
      this.#awaySinceMs = null;
      return { workflow_instance_id, dedupe_key: dedupeKey, buffered: false };
    } catch (error) {
      if (!(error instanceof CdktrError) || error.reply !== "CLIENTERROR") {
        this.#awaySinceMs ??= this.#lastTriggerMs;
        throw error;
      }
      this.#failed++;
      throw new RequestRefusedError(error.message, { hint: error.hint, cause: error });
    }
  }

  prepare(workflowIds: readonly string[]): void {
    const { workflows, runs } = this.#o;
    workflows.expect(workflowIds.length);
    void inTurns(workflowIds, (id) => {
      try {
        runs.prepare(id);
      } catch {
        // Whoever triggers it is told.
      }
    });
  }
}
