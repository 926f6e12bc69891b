/** Renders Markdown in a terminal. */

export interface MarkdownOptions {
  /** Column to wrap at. */
  readonly width: number;
  /** Use colours and box-drawing characters; otherwise plain ASCII. */
  readonly colors: boolean;
}

/** Renders a page as terminal text. Code blocks are indented but otherwise unchanged, so that they can be copied. */
export function renderMarkdown(text: string, { width, colors }: MarkdownOptions): string {
  const blocks = splitCode(text).map((block) => {
    if (block.code === undefined) {
      return Bun.markdown.ansi(block.text, { columns: width, colors }).trim();
    }
    const paint = (line: string) => (colors && line !== "" ? paintCode(line, block.code ?? "") : line);
    return block.text
      .split("\n")
      .map((line) => `    ${paint(line)}`.trimEnd())
      .join("\n");
  });
  return `${blocks.filter((block) => block !== "").join("\n\n")}\n`;
}

interface Block {
  readonly text: string;
  /** The language of a fenced code block; undefined for any other token. */
  readonly code?: string;
}

function splitCode(text: string): Block[] {
  const blocks: Block[] = [];
  let lines: string[] = [];
  let language: string | undefined;
  const end = () => {
    if (language !== undefined) blocks.push({ text: lines.join("\n"), code: language });
    else if (lines.length > 0) blocks.push({ text: lines.join("\n") });
    lines = [];
  };
  for (const line of text.split("\n")) {
    const fence = /^```([\w-]*)\s*$/.exec(line);
    if (fence === null || (language !== undefined && fence[1] !== "")) {
      lines.push(line);
      continue;
    }
    end();
    language = language === undefined ? (fence[1] ?? "") : undefined;
  }
  end();
  return blocks;
}

const DIM = (text: string) => `\x1b[2m${text}\x1b[22m`;
const CYAN = (text: string) => `\x1b[36m${text}\x1b[39m`;

/** Dims comments and highlights YAML keys. */
function paintCode(line: string, language: string): string {
  const comment = /(^|\s)#(?!\{).*$/.exec(line);
  const at = comment === null || language === "text" || language === "sql" ? line.length : comment.index;
  const code = line.slice(0, at);
  const rest = line.slice(at);
  const key = language === "yaml" ? /^(\s*(?:- )?)([\w-]+)(:(?:\s.*)?)$/.exec(code) : null;
  const painted = key === null ? code : `${key[1]}${CYAN(key[2] ?? "")}${key[3]}`;
  return painted + (rest === "" ? "" : DIM(rest));
}
