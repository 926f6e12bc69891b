/** Reads all imports from the sources, with their lines. */

/** An import. */
export interface Import {
  /** Path of the importing file, from the root of the checkout. */
  readonly from: string;
  readonly line: number;
  /** The file it means when it is relative, else the package: `zod`, `bun:sqlite`, `@duckdb/node-api`. */
  readonly to: string;
  readonly relative: boolean;
}

/** Sources by path from the root of the checkout. */
export type Sources = ReadonlyMap<string, string>;

// The formatter puts every static import at the start of a line, so no comment and no string can look like one.
const STATIC = /^(?:import|export)\b(?:[^"';]*?\bfrom)?\s*"([^"]+)"/gm;
const DYNAMIC = /\bimport\(\s*"([^"]+)"/g;
const BY_URL = /\bnew URL\(\s*"(\.[^"]+)",\s*import\.meta\.url/g;

/** The imports of a file: static, type-only, dynamic, and of files named by `new URL("./x", import.meta.url)`. */
export function importsOf(path: string, source: string): Import[] {
  const found: Import[] = [];
  for (const pattern of [STATIC, DYNAMIC, BY_URL]) {
    for (const match of source.matchAll(pattern)) {
      const specifier = match[1] ?? "";
      const before = source.slice(0, match.index);
      const lineStart = before.lastIndexOf("\n") + 1;
      if (pattern !== STATIC && /^\s*(?:\*|\/\/|\/\*)/.test(before.slice(lineStart))) continue;
      const inside = match[0].lastIndexOf(specifier);
      const line = (before + match[0].slice(0, inside)).split("\n").length;
      const relative = specifier.startsWith(".");
      found.push({ from: path, line, to: relative ? resolve(path, specifier) : specifier, relative });
    }
  }
  return found;
}

/** The imports of every file. */
export function allImports(sources: Sources): Map<string, Import[]> {
  return new Map([...sources].map(([path, source]) => [path, importsOf(path, source)]));
}

/** Every file and package that `start` needs, with the import that first led there. */
export function reachable(
  start: readonly string[],
  imports: ReadonlyMap<string, readonly Import[]>,
): Map<string, Import | null> {
  const reached = new Map<string, Import | null>(start.map((path) => [path, null]));
  const queue = [...start];
  for (let path = queue.shift(); path !== undefined; path = queue.shift()) {
    for (const step of imports.get(path) ?? []) {
      if (reached.has(step.to)) continue;
      reached.set(step.to, step);
      queue.push(step.to);
    }
  }
  return reached;
}

/** The way to `target`, as `file:line` steps. */
export function chain(target: string, reached: ReadonlyMap<string, Import | null>): string {
  const steps: string[] = [];
  for (let step = reached.get(target); step; step = reached.get(step.from)) {
    steps.unshift(`${step.from}:${step.line} imports ${step.to}`);
  }
  return steps.join("\n    ");
}

/** Each cycle of imports once, as the files on it in order. */
export function cycles(imports: ReadonlyMap<string, readonly Import[]>): Import[][] {
  const found: Import[][] = [];
  const state = new Map<string, "open" | "done">();
  const path: { readonly key: string; readonly step: Import }[] = [];
  const visit = (file: string): void => {
    state.set(file, "open");
    for (const step of imports.get(file) ?? []) {
      if (!imports.has(step.to)) continue;
      if (state.get(step.to) === "open") {
        const begin = path.findIndex(({ key }) => key === step.to);
        found.push([...(begin === -1 ? [] : path.slice(begin)).map((earlier) => earlier.step), step]);
      } else if (!state.has(step.to)) {
        path.push({ key: file, step });
        visit(step.to);
        path.pop();
      }
    }
    state.set(file, "done");
  };
  for (const file of imports.keys()) if (!state.has(file)) visit(file);
  return found;
}

function resolve(from: string, specifier: string): string {
  const parts = from.split("/").slice(0, -1);
  for (const part of specifier.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== ".") parts.push(part);
  }
  return parts.join("/");
}
