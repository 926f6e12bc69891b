/** The base class of listeners whose events are declared in workflow files under `on:`. */
import type { ConsolaInstance } from "consola";
import { eventBytes, MAX_EVENT_BYTES } from "../../contract/messages.ts";
import { errorMessage } from "../../errors.ts";
import { RequestRefusedError } from "../../protocol/client.ts";
import { BackOff, pause } from "../../timer.ts";
import { EventListener, type RunOptions } from "../event-listener.ts";
import { type DeclarationSource, type DeclaredWorkflow, sourceOf } from "./declaration-source.ts";
import type { WorkflowFeed } from "./workflow-feed.ts";

/** Default of {@link DeclaredListener.refreshMs}. */
const REFRESH_MS = 5000;
/** A loop that is this late is stuck, ms. */
const STALL_MS = 30_000;
const FIRST_RETRY_MS = 100;
const LAST_RETRY_MS = 2000;

/** Follows the workflows and passes them on whenever they change. */
export abstract class DeclaredListener extends EventListener {
  protected readonly log: ConsolaInstance;
  readonly #feed: WorkflowFeed | undefined;
  readonly #source: DeclarationSource | undefined;
  /** Maximum time between two reads of the workflows, ms. Changes are noticed at once, but not if the principal dies in the meantime. */
  refreshMs = REFRESH_MS;
  #turnedMs = performance.now();

  /**
   * @param feed where it gets the workflows from; by default it reads them itself
   * @param source where it reads them; by default the principal
   */
  constructor(log: ConsolaInstance, feed?: WorkflowFeed, source?: DeclarationSource) {
    super();
    this.#source = source;
    this.log = log;
    this.#feed = feed;
  }

  /** Whether it has read the workflows recently, or tried to: each read waits for a reply or times out. */
  isTurning(requestMs: number, nowMs = performance.now()): boolean {
    return this.#feed !== undefined || nowMs - this.#turnedMs < this.refreshMs + 2 * requestMs + STALL_MS;
  }

  /** Applies the current workflows. Not called again before it is done. */
  protected abstract take(workflows: readonly DeclaredWorkflow[]): Promise<void> | void;

  async startListening(): Promise<void> {
    if (this.#feed === undefined) await this.#read();
    else await this.#follow(this.#feed);
  }

  async #follow(feed: WorkflowFeed): Promise<void> {
    const { signal } = this;
    const over = new Promise<void>((resolve) =>
      signal.addEventListener("abort", () => resolve(), { once: true }),
    );
    const backOff = new BackOff(FIRST_RETRY_MS, LAST_RETRY_MS);
    for (let taken: readonly DeclaredWorkflow[] | undefined; !signal.aborted; ) {
      const { current, changed } = feed;
      if (current === undefined || current === taken) {
        await Promise.race([changed, over]);
        continue;
      }
      try {
        await this.take(current);
        taken = current;
        backOff.reset();
      } catch (error) {
        this.log.debug(`The workflows cannot be applied: ${errorMessage(error)}`);
        await pause(backOff.next(), signal);
      }
    }
  }

  async #read(): Promise<void> {
    const { signal } = this;
    const source = this.#source ?? sourceOf(this.client);
    let revision: string | undefined;
    const backOff = new BackOff(FIRST_RETRY_MS, LAST_RETRY_MS);
    while (!signal.aborted) {
      this.#turnedMs = performance.now();
      try {
        const waitMs = revision === undefined ? 0 : this.refreshMs;
        const present = await source.watch(revision, waitMs, signal);
        if (present !== revision) await this.take(await source.list(signal));
        revision = present;
        backOff.reset();
      } catch (error) {
        if (signal.aborted) return;
        this.log.debug(`The workflows cannot be read from the principal: ${errorMessage(error)}`);
        await pause(backOff.next(), signal);
      }
    }
  }

  /**
   * Triggers a workflow with those of the offered values that it declares as parameters.
   * @returns false when the principal refused it, which is logged
   */
  protected async fire(
    workflow: DeclaredWorkflow,
    offered: Readonly<Record<string, string>>,
    dedupeKey: string,
    more: Pick<RunOptions, "triggerDepth"> = {},
  ): Promise<boolean> {
    try {
      await this.runWorkflow(workflow.id, {
        ...more,
        params: paramsFor(workflow, offered),
        ...eventOf(workflow, offered),
        dedupeKey,
      });
      return true;
    } catch (error) {
      if (!(error instanceof RequestRefusedError)) throw error;
      this.log.error(`Workflow ${workflow.id} was triggered but cannot run: ${error.message}`);
      return false;
    }
  }
}

/** Those of the offered values that the workflow declares as parameters. */
export function paramsFor(
  workflow: DeclaredWorkflow,
  offered: Readonly<Record<string, string>>,
): Record<string, string> {
  return Object.fromEntries(Object.entries(offered).filter(([name]) => Object.hasOwn(workflow.params, name)));
}

/** Those of the offered values that the expressions of the workflow read, as far as they are not too large together. */
export function eventOf(
  { reads_event: names }: DeclaredWorkflow,
  offered: Readonly<Record<string, string>>,
): { event?: Record<string, string> } {
  if (names === undefined) return {};
  const event: Record<string, string> = {};
  for (const [name, value] of Object.entries(offered)) {
    if (names !== null && !names.includes(name)) continue;
    if (eventBytes({ ...event, [name]: value }) <= MAX_EVENT_BYTES) event[name] = value;
  }
  return { event };
}
