/** Runs that follow others (`on: workflow`). */

/** The idempotency key of the run of a workflow that follows a run. */
export function followUpKey(workflowId: string, afterRunId: string): string {
  return `${prefixOf(workflowId)}${afterRunId}`;
}

/** The run that a run with this key follows; null if it is no such key. */
export function followedRun(workflowId: string, key: string | undefined): string | null {
  const prefix = prefixOf(workflowId);
  return key?.startsWith(prefix) === true ? key.slice(prefix.length) : null;
}

const prefixOf = (workflowId: string) => `after:${workflowId}:`;
