/** Becomes a task; started by agents only, not a command for people. */
export { startTask } from "../agent/task-starter.ts";
