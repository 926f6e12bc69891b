/** Becomes a task. Internal: only agents start it. */
export { startTask } from "../agent/task-starter.ts";
