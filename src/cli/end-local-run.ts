/** Cleans up after a run without a principal whose process was killed. Internal: only that process starts it. */
export { endAbandonedAt } from "../agent/local/private-place.ts";
