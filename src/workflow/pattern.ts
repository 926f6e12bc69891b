/** Regular expressions in workflow files: RE2, whose time grows with the length of the text alone, whatever the pattern. */

type Library = typeof import("re2js");
type Pattern = InstanceType<Library["RE2JS"]>;

/** The longest pattern, in characters. */
const LONGEST = 4096;
/** How many patterns are kept. */
const KEPT = 100;

const patterns = new Map<string, Pattern>();

/** @throws the library's error for what is not a pattern */
function patternOf(pattern: string): Pattern {
  const known = patterns.get(pattern);
  if (known !== undefined) return known;
  // Loaded by the first expression that needs it: few do, and it is large.
  const { RE2JS } = require("re2js") as Library;
  const compiled = RE2JS.compile(pattern);
  if (patterns.size >= KEPT) patterns.clear();
  patterns.set(pattern, compiled);
  return compiled;
}

/** What is wrong with a pattern; null if nothing is. */
export function patternFault(pattern: string): string | null {
  if (pattern.length > LONGEST) return `the pattern is longer than ${LONGEST} characters`;
  try {
    patternOf(pattern);
    return null;
  } catch (error) {
    const reason =
      error instanceof Error ? error.message.replace(/^error parsing regexp: /, "") : String(error);
    return `the pattern cannot be read: ${reason}`;
  }
}

/** Whether the pattern matches a part of the text; the pattern has no fault. */
export function findsPattern(pattern: string, text: string): boolean {
  return patternOf(pattern).test(text);
}
