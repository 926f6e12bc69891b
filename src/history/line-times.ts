/**
 * Detects task runs whose lines go back in time (the clock of their agent was set), because sorting by time would then put their lines
 * in the wrong order.
 */
import { headColumn, headOf, timeOf } from "../contract/log-line.ts";
import { ownText } from "../contract/own-text.ts";
import { dropOldest } from "../recent.ts";

/** Number of task runs whose latest time is remembered. */
const MAX_TASK_RUNS = 20_000;

export class LineTimes {
  /** Task run → latest time, ms, or NaN when it is recorded as disordered; least recently used first. */
  readonly #latest = new Map<string, number>();
  readonly #disordered = new Set<string>();

  /** Processes encoded lines in the order in which they are written. */
  observe(lines: readonly string[]): void {
    let head = "";
    let task = "";
    let latest = Number.NEGATIVE_INFINITY;
    for (const line of lines) {
      // Lines of one task run are adjacent: their first five fields are identical.
      if (head === "" || !line.startsWith(head)) {
        if (task !== "") this.#remember(task, latest);
        head = headOf(line);
        task = ownText(headColumn(head, "task_instance_id"));
        if (head === "") continue;
        latest = this.#latest.get(task) ?? Number.NEGATIVE_INFINITY;
      }
      const time = timeOf(line, head);
      if (time < latest) this.#disordered.add(task);
      else if (time > latest) latest = time;
    }
    if (task !== "") this.#remember(task, latest);
  }

  /** Times known from before. */
  recall(latest: ReadonlyMap<string, number>): void {
    for (const [task, time] of latest) {
      if (time > (this.#latest.get(task) ?? Number.NEGATIVE_INFINITY)) this.#remember(task, time);
    }
  }

  /** Task runs that were detected and are not recorded yet. */
  disordered(): string[] {
    return [...this.#disordered];
  }

  /** Those are recorded. */
  recorded(tasks: readonly string[]): void {
    for (const task of tasks) {
      this.#disordered.delete(task);
      this.#remember(task, Number.NaN);
    }
  }

  #remember(task: string, time: number): void {
    this.#latest.delete(task);
    this.#latest.set(task, time);
    dropOldest(this.#latest, MAX_TASK_RUNS);
  }
}
