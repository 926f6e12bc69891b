/**
 * Reads state diagrams drawn with box characters: an arrowhead points at a state, or a list of states, and its line is followed back to
 * those from which it comes. `┼` is a crossing; `├ ┤ ┬ ┴` join lines. Text beside a line is ignored.
 */

type Way = "left" | "right" | "up" | "down";

const STEP: Readonly<Record<Way, readonly [x: number, y: number]>> = {
  left: [-1, 0],
  right: [1, 0],
  up: [0, -1],
  down: [0, 1],
};
const BACK: Readonly<Record<Way, Way>> = { left: "right", right: "left", up: "down", down: "up" };
const HEADS: Readonly<Record<string, Way>> = { "▶": "right", "◀": "left", "▲": "up", "▼": "down" };
const OPEN: Readonly<Record<string, readonly Way[]>> = {
  "─": ["left", "right"],
  "│": ["up", "down"],
  "┌": ["right", "down"],
  "┐": ["left", "down"],
  "└": ["right", "up"],
  "┘": ["left", "up"],
  "├": ["up", "down", "right"],
  "┤": ["up", "down", "left"],
  "┬": ["left", "right", "down"],
  "┴": ["left", "right", "up"],
  "┼": ["left", "right", "up", "down"],
};

/** States beside each other, with commas between them. */
interface Place {
  readonly states: readonly { readonly name: string; readonly from: number; readonly to: number }[];
}

/** The transitions that a diagram shows, as `FROM → TO`, sorted. */
export function transitionsIn(diagram: string, states: Iterable<string>): string[] {
  const known = new Set(states);
  const rows = diagram.split("\n").map((line) => [...line]);
  const places = diagram.split("\n").map((line) => placesIn(line, known));
  const at = (x: number, y: number) => rows[y]?.[x] ?? " ";

  /** The states where a line ends that goes this way and would be at x, y next. */
  const statesAt = (x: number, y: number, way: Way): string[] => {
    const gap = way === "left" || way === "right" ? [0, STEP[way][0]] : [0];
    for (const step of gap) {
      for (const { states: beside } of places[y] ?? []) {
        const here = beside.filter(({ from, to }) => from <= x + step && x + step < to);
        if (here.length > 0) return (gap.length > 1 ? beside : here).map(({ name }) => name);
      }
      if (at(x + step, y) !== " ") break;
    }
    return [];
  };

  const found = new Set<string>();
  for (const [y, row] of rows.entries()) {
    for (const [x, head] of row.entries()) {
      const way = HEADS[head];
      if (way === undefined) continue;
      const [dx, dy] = STEP[way];
      if (OPEN[at(x - dx, y - dy)] === undefined) continue;
      const targets = statesAt(x + dx, y + dy, way);
      if (targets.length === 0) throw new Error(`line ${y + 1}: an arrow points at no state:\n${diagram}`);
      for (const source of sourcesOf(x, y, BACK[way]))
        for (const target of targets) found.add(`${source} → ${target}`);
    }
  }
  return [...found].sort();

  function sourcesOf(fromX: number, fromY: number, first: Way): string[] {
    const sources: string[] = [];
    const seen = new Set<string>();
    const todo: [x: number, y: number, way: Way][] = [[fromX, fromY, first]];
    for (let next = todo.pop(); next !== undefined; next = todo.pop()) {
      const [x, y] = [next[0] + STEP[next[2]][0], next[1] + STEP[next[2]][1]];
      const [, , way] = next;
      const char = at(x, y);
      if (seen.has(`${x} ${y} ${way}`) || HEADS[char] !== undefined) continue;
      seen.add(`${x} ${y} ${way}`);
      const open = OPEN[char];
      if (open === undefined) sources.push(...statesAt(x, y, way));
      else if (char === "┼") todo.push([x, y, way]);
      else if (open.includes(BACK[way])) for (const on of open) if (on !== BACK[way]) todo.push([x, y, on]);
    }
    return sources;
  }
}

function placesIn(line: string, known: ReadonlySet<string>): Place[] {
  const places: { states: { name: string; from: number; to: number }[] }[] = [];
  for (const match of line.matchAll(/[A-Z_]+/g)) {
    const [name] = match;
    if (!known.has(name)) continue;
    const [from, to] = [
      [...line.slice(0, match.index)].length,
      [...line.slice(0, match.index)].length + name.length,
    ];
    const before = places.at(-1)?.states;
    const isNext = before !== undefined && line.slice(0, match.index).endsWith(`${before.at(-1)?.name}, `);
    if (isNext) before.push({ name, from, to });
    else places.push({ states: [{ name, from, to }] });
  }
  return places;
}
