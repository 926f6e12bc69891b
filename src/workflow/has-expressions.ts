/** What begins an expression. */
const OPENING = "${{";

/** Whether a text may contain expressions. */
export function hasExpressions(text: string): boolean {
  return text.includes(OPENING);
}
