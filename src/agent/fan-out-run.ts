import type { AssignedItem, TaskReport } from "../contract/messages.ts";
import { withoutItems } from "../workflow/fan-out.ts";
import type { TaskDefinition } from "../workflow/model.ts";
import type { Ending } from "../workflow/task-state.ts";
import { taskReport } from "./reports.ts";
import type { RunContext } from "./task-context.ts";

/** How a fan-out ended, or why it has no items. */
export interface FanOutEnd {
  readonly status: Ending;
  readonly error: string | null;
  /** It FAILED, and was allowed to. */
  readonly isAllowed: boolean;
}

/** A fan-out on this agent: its items, and the reports about it as a task. */
export class FanOutRun {
  readonly definition: TaskDefinition;
  /** What each item executes: looking for expressions in it takes no time for its list of items. */
  readonly ofItems: TaskDefinition;
  /** Whether the agent has all of its items, and reports how it ends as a whole. */
  readonly isWhole: boolean;
  readonly #context: RunContext;
  readonly #id = crypto.randomUUID();
  #items: readonly AssignedItem[] = [];
  /** Monotonic. */
  #begunMs: number | undefined;
  #reportedMs = 0;

  /** @param items those that the agent was given; by default it computes them */
  constructor(definition: TaskDefinition, context: RunContext, items?: readonly AssignedItem[]) {
    this.definition = definition;
    this.ofItems = withoutItems(definition);
    this.#context = context;
    this.isWhole = items === undefined;
    this.#items = items ?? [];
  }

  get items(): readonly AssignedItem[] {
    return this.#items;
  }

  /** Its items are known. */
  begin(items: readonly AssignedItem[]): void {
    this.#items = items;
    this.#begunMs = this.#context.clock.monotonic();
    this.#report({ status: "RUNNING", task_attempt: 1, items_total: items.length });
  }

  /** It is over; without {@link begin}, it has not begun. */
  end({ status, error, isAllowed }: FanOutEnd): void {
    const isBegun = this.#begunMs !== undefined;
    const tookMs = isBegun ? Math.round(this.#context.clock.monotonic() - (this.#begunMs ?? 0)) : undefined;
    this.#report({
      status,
      task_attempt: isBegun ? 1 : 0,
      error,
      ...(tookMs === undefined ? {} : { duration_ms: tookMs }),
      ...(isAllowed ? { is_allowed: true } : {}),
    });
  }

  #report(
    about: Pick<TaskReport, "status" | "task_attempt"> &
      Partial<Pick<TaskReport, "error" | "items_total" | "duration_ms" | "is_allowed">>,
  ): void {
    const { outbox, clock } = this.#context;
    this.#reportedMs = Math.max(this.#reportedMs, clock.now());
    outbox.addReport(
      taskReport(this.#context, {
        task_id: this.definition.id,
        task_instance_id: this.#id,
        timestamp_ms: this.#reportedMs,
        ...about,
      }),
    );
  }
}

/** An item of a fan-out in a slice. */
export interface ItemOnAgent {
  readonly fanOut: FanOutRun;
  readonly item: AssignedItem;
}
