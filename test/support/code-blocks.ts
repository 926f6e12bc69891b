/** A fenced code block of a Markdown page. */
interface CodeBlock {
  /** What stands behind the fence; empty when nothing does. */
  readonly language: string;
  readonly text: string;
  /** Of the fence, 1-based. */
  readonly line: number;
}

/** The fenced code blocks of a page. */
export function codeBlocks(page: string): CodeBlock[] {
  return [...page.matchAll(/^```([\w-]*)\n([\s\S]*?)\n```$/gm)].map(
    ({ 1: language = "", 2: text = "", index }) => ({
      language,
      text,
      line: page.slice(0, index).split("\n").length,
    }),
  );
}
