/** The ids of what a fan-out consists of, in the machine of progress.ts and in slices. */

/**
 * The id of an item of a fan-out, `load[orders]`, or of a task that is not one. It is never parsed: wherever it is sent or stored, the task
 * and the key of the item are fields of their own.
 * @param itemKey the key of the item; null for the task itself
 */
export function nodeId(taskId: string, itemKey: string | null): string {
  return itemKey === null ? taskId : `${taskId}[${itemKey}]`;
}
