/** By how much the firings of a workflow are shifted, so that many workflows with one schedule do not start at once. */

/**
 * The shift of all firings of a workflow, from 0 to `jitterMs` (both inclusive), in ms. It is a fixed fraction of the jitter that follows
 * from the id alone: a restart, another host or another entry shifts nothing.
 */
export function jitterOf(workflowId: string, jitterMs: number): number {
  const hash = new Bun.CryptoHasher("sha256").update(`cdktr jitter\0${workflowId}`).digest();
  return Math.floor((hash.readUIntBE(0, 6) / 2 ** 48) * (jitterMs + 1));
}
