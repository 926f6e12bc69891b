/** A task to draw. */
export interface GraphTask {
  readonly id: string;
  /** Ids of its dependencies; all of them are among the tasks to draw. */
  readonly depends: readonly string[];
  /** Row of its box, starting from 0; greater than the rows of its dependencies. */
  readonly depth: number;
  /** Shown instead of its id. */
  readonly label?: string | undefined;
  /** Shown before the id, such as a status symbol. */
  readonly symbol?: string | undefined;
  /** Shown after the id if all of them fit, such as where the task ran. */
  readonly note?: string | undefined;
}
