/** Reading what `bun test --reporter=junit` writes. */

/** What a test file came to. */
export interface TestCounts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  /** Full names of the tests that failed. */
  readonly failures: readonly string[];
}

/** Reads a JUnit report; undefined when it is none. */
export function parseJunit(xml: string): TestCounts | undefined {
  const head = /<testsuites\b[^>]*>/.exec(xml)?.[0];
  if (head === undefined) return undefined;
  const tests = attribute(head, "tests");
  const failed = attribute(head, "failures");
  const skipped = attribute(head, "skipped");
  if (tests === undefined || failed === undefined || skipped === undefined) return undefined;
  const failures: string[] = [];
  for (const match of xml.matchAll(/<testcase\b([^>]*[^/])>([\s\S]*?)<\/testcase>/g)) {
    const [, attributes = "", body = ""] = match;
    if (!/<(failure|error)\b/.test(body)) continue;
    const group = text(attributes, "classname");
    const name = text(attributes, "name");
    failures.push(group ? `${group} > ${name}` : name);
  }
  return { passed: tests - failed - skipped, failed, skipped, failures };
}

function attribute(tag: string, name: string): number | undefined {
  const value = new RegExp(`\\b${name}="(\\d+)"`).exec(tag)?.[1];
  return value === undefined ? undefined : Number(value);
}

function text(attributes: string, name: string): string {
  const raw = new RegExp(`(?:^|\\s)${name}="([^"]*)"`).exec(attributes)?.[1] ?? "";
  return raw
    .replaceAll("&lt;", "<")
    .replaceAll("&gt;", ">")
    .replaceAll("&quot;", '"')
    .replaceAll("&apos;", "'")
    .replaceAll("&amp;", "&");
}
