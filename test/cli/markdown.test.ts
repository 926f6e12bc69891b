import { expect, test } from "bun:test";
import { renderMarkdown } from "../../src/cli/support/markdown.ts";

const PAGE = `# A title

Some prose with **weight**, \`code\` and a sentence that is long enough to need more than one line of the terminal it is read in.

\`\`\`yaml
name: x   # a comment
tasks: {}
\`\`\`

| a | b |
| --- | --- |
| 1 | two |

- one
- two

\`\`\`sh
cdktr runs list
\`\`\`
`;

test("plain text has no escape sequences, wraps, and leaves code as it can be copied", () => {
  const text = renderMarkdown(PAGE, { width: 60, colors: false });
  expect(text).not.toContain("\x1b");
  expect(Math.max(...text.split("\n").map((line) => Bun.stringWidth(line)))).toBeLessThanOrEqual(60);
  expect(text).toContain("\n    cdktr runs list\n");
  expect(text).toContain("\n    name: x   # a comment\n    tasks: {}\n");
  expect(text).toMatch(/\| *1 *\| *two *\|/);
});

test("with colours the same words are there", () => {
  const text = renderMarkdown(PAGE, { width: 60, colors: true });
  expect(text).toContain("\x1b[");
  expect(Bun.stripANSI(text)).toContain("    name: x   # a comment");
  expect(Bun.stripANSI(text)).toContain("A title");
});
