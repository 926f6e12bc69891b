/** What the tasks of an agent share, and why they are stopped. */
import type { Clock } from "../clock.ts";
import type { RunAssignment } from "../contract/messages.ts";
import type { Cgroups } from "./cgroups.ts";
import type { Outbox } from "./outbox.ts";
import type { RunBlobs } from "./run-blobs.ts";
import type { RunBundle } from "./run-bundle.ts";
import type { RunDirectories, RunDirectory } from "./run-directories.ts";
import type { RunSecrets } from "./secrets/run-secrets.ts";
import type { Survivors } from "./survivors.ts";
import type { TaskFiles } from "./task-files.ts";
import type { TaskLog } from "./task-log.ts";
import type { TaskPaths } from "./task-paths.ts";
import type { TaskSlots } from "./task-slots.ts";
import type { UserPlaces } from "./user-places.ts";

/** Takes what tasks and runs have to tell, and remembers their processes for whoever ends what this process leaves behind. */
export type TaskSink = Pick<Outbox, "addLines" | "addReport" | "room" | "rememberProcess" | "forgetProcess">;

/** Shared by all runs of an agent. */
export interface AgentContext {
  readonly outbox: TaskSink;
  readonly slots: TaskSlots;
  readonly clock: Clock;
  /** The environment that tasks inherit, see environment.ts. */
  readonly environment: Readonly<Record<string, string>>;
  /** The agent's working directory: the base of relative paths in tasks. */
  readonly directory: string;
  /** The paths that the agent itself does not touch. */
  readonly paths: TaskPaths;
  /** The soft limit of open files of tasks; undefined for that of the agent. */
  readonly openFiles: number | undefined;
  /** Time between TERM and KILL for tasks that do not say otherwise, ms. */
  readonly graceMs: number;
  /** The current boot of the host, see orphans.ts. */
  readonly bootId: string;
  /** Task runs (instance ids) that currently have a process: processes with their marker are not strays. */
  readonly liveTasks: Set<string>;
  /** Logs of task runs that have ended: what they left behind is told there. */
  readonly endedTasks: Map<string, TaskLog>;
  /** Processes of tasks that could not be ended. */
  readonly survivors: Survivors;
  /** The files of tasks, in the data directory. */
  readonly files: TaskFiles;
  /** The directories that runs have for themselves. */
  readonly directories: RunDirectories;
  /** Files that travel with runs. */
  readonly blobs?: RunBlobs | undefined;
  /** Directories for tasks of other users. */
  readonly users: UserPlaces;
  /** Where the limits of tasks are enforced. */
  readonly cgroups: Cgroups;
  /** The most that tasks of a part of a run may have published that others of it still need, bytes; 128 MiB by default. */
  readonly keptOutputsBytes?: number;
  /** Gives numbers from 0 to below 1, for the jitter of delays; Math.random by default. */
  readonly random?: () => number;
}

/** Shared by all tasks of an attempt. */
export interface RunContext extends AgentContext {
  readonly assignment: RunAssignment;
  readonly variables: Readonly<Record<string, string>>;
  /** Absent if its workflow declares none. */
  readonly secrets?: RunSecrets | undefined;
  readonly runDirectory: RunDirectory;
  /** The files of its workflow; absent if there are none. */
  readonly bundle?: RunBundle | undefined;
}

/**
 * Why a task is stopped from outside. `superseded`: the principal considers the attempt over. `handed over`: this agent ends, and the
 * run goes to another one. In both cases nothing more is reported.
 */
export type StopReason = "cancelled" | "superseded" | "handed over" | "run timed out" | "fail fast";

/** Whether a stop for this reason is kept from the principal. */
export function isSilentStop(reason: StopReason | undefined): boolean {
  return reason === "superseded" || reason === "handed over";
}

/** The reasons in words. */
export const STOP_TEXTS: Readonly<Record<StopReason, string>> = {
  cancelled: "the run was cancelled",
  superseded: "the principal considers this attempt of the run over",
  "handed over": "this agent stops before the run has finished",
  "run timed out": "the run timed out",
  "fail fast": "another item failed (fail_fast)",
};
