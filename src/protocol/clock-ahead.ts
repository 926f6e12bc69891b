/** The difference between the principal's clock and this host's. */

/**
 * By how much the principal's clock is ahead of this host's, ms; 0 if the time that the reply took explains the difference.
 * @param nowMs the principal's time in its reply; undefined from an older principal
 */
export function clockAhead(nowMs: number | undefined, askedMs: number, answeredMs: number): number {
  if (nowMs === undefined) return 0;
  const ahead = Math.round(nowMs - (askedMs + answeredMs) / 2);
  return Math.abs(ahead) > answeredMs - askedMs ? ahead : 0;
}
