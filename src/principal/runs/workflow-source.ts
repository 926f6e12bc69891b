/** Where the definitions of workflows come from when a run is created. */
import type { WorkflowDefinition } from "../../workflow/model.ts";

/** A definition as stored with a run. */
export interface StoredDefinition {
  readonly definition: WorkflowDefinition;
  readonly json: string;
  readonly hash: string;
}

/** A firing of a schedule that became a run. */
export interface Fired {
  /** The key of the entry; null for a workflow with one schedule. */
  readonly entry: string | null;
  /** Its time in the schedule, ms since the epoch. */
  readonly firedMs: number;
  readonly nowMs: number;
}

/** The source of definitions. */
export interface WorkflowSource {
  /** Reads the file of a workflow if that has not been done since the start, because there are many. */
  load(workflowId: string): Promise<void>;
  get(workflowId: string): StoredDefinition | undefined;
  /** The directory of its file. */
  directoryOf(workflowId: string): string | undefined;
  ids(): Iterable<string>;
  /** Whether it was there when the principal ran last, but its file is not visible yet. */
  isAwaited(workflowId: string): boolean;
  /** Files that are currently invalid. */
  readonly invalidFiles: readonly {
    readonly path: string;
    readonly waiting?: readonly string[] | undefined;
  }[];
  /** Called when a firing was refused. Nobody may see the reply, because no user sent the request. */
  refused(workflowId: string, trigger: string, message: string): void;
  /** Called when a firing became a run. @param firing of a schedule, whose position has moved */
  fired(workflowId: string, firing?: Fired): void;
}
