/** The triggers of runs that stand for events. */

/** Whether a run is triggered by an event, not by a user who reads the reply. */
export function isFiring(trigger: string): boolean {
  return trigger === "cron" || trigger === "workflow" || trigger.startsWith("listener:");
}
