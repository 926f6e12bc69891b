/** Shows what overwriting a file would change, line by line. */

/** Lines of context around a change. */
const CONTEXT = 2;
/** Maximum number of lines per side, above which the comparison would take too long. */
const MOST_LINES = 2000;

/** A line of the diff: ` ` in both, `-` removed, `+` added, `…` for omitted lines. */
export interface DiffLine {
  readonly sign: " " | "-" | "+" | "…";
  readonly text: string;
}

/** The diff by longest common subsequence of lines, with some context. */
export function lineDiff(before: string, after: string): DiffLine[] {
  const a = linesOf(before);
  const b = linesOf(after);
  if (a.length > MOST_LINES || b.length > MOST_LINES)
    return [
      ...a.map((text) => ({ sign: "-", text }) as const),
      ...b.map((text) => ({ sign: "+", text }) as const),
    ];
  const width = b.length + 1;
  const lengths = new Uint16Array((a.length + 1) * width);
  const at = (i: number, j: number) => lengths[i * width + j] ?? 0;
  for (let i = a.length - 1; i >= 0; i--) {
    for (let j = b.length - 1; j >= 0; j--) {
      lengths[i * width + j] = a[i] === b[j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1));
    }
  }
  const all: DiffLine[] = [];
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      all.push({ sign: " ", text: a[i] ?? "" });
      i++;
      j++;
    } else if (i < a.length && (j === b.length || at(i + 1, j) >= at(i, j + 1)))
      all.push({ sign: "-", text: a[i++] ?? "" });
    else all.push({ sign: "+", text: b[j++] ?? "" });
  }
  return withContext(all);
}

function withContext(all: readonly DiffLine[]): DiffLine[] {
  const shown = all.map((_, index) =>
    all.slice(Math.max(0, index - CONTEXT), index + CONTEXT + 1).some(({ sign }) => sign !== " "),
  );
  const lines: DiffLine[] = [];
  for (const [index, line] of all.entries()) {
    if (shown[index]) lines.push(line);
    else if (index === 0 || shown[index - 1]) lines.push({ sign: "…", text: "" });
  }
  return lines;
}

function linesOf(text: string): string[] {
  const lines = text.split("\n");
  if (lines.at(-1) === "") lines.pop();
  return lines;
}
