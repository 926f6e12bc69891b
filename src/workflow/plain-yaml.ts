/**
 * Reads the YAML that nearly all workflow files consist of, many times faster than a complete parser: block mappings and lists, values on
 * one line, literal blocks. Everything else, valid or not, is left to yaml-tree.ts, whose values this has to reproduce exactly.
 */
import { type Located, type LocatedChild, TAG_KEY } from "./yaml-tree.ts";

/** Anything beyond these is rare, or a mistake that only the complete parser explains: tabs, carriage returns, typographic characters. */
const OTHER_CHARACTER = /[^\n -~\u00c0-\u0fff\u3041-\udfff]/;
/** Keys that look like numbers would be reordered by a JavaScript object. */
const BLOCK_KEY = /([A-Za-z_][\w.-]*):(?= |$)/my;
const FLOW_KEY = /([A-Za-z_][\w.-]*): +/y;
const TAG = /!([A-Za-z]\w*)(?= |$)/my;
const DOUBLE_QUOTED = /"((?:[^"\\\n]|\\["\\/nt])*)"/y;
const SINGLE_QUOTED = /'((?:[^'\n]|'')*)'/y;
const FLOW_PLAIN = /[^,[\]{}\n]+/y;
const LITERAL = /\|(-?) *(?: #.*)?$/my;
const REST_OF_LINE = / *(?: #.*)?$/my;
/** What a plain scalar cannot start with. */
const INDICATOR = /^(?:[,[\]{}#&*!|>'"%@`]|[-?:](?: |$))/;
const NULL = /^(?:~|null|Null|NULL)$/;
const ESCAPES: Readonly<Record<string, string>> = { n: "\n", t: "\t" };
const MOST_LEVELS = 20;

/** Thrown where something else begins. */
const OTHER = new Error("this is not plain YAML");

/**
 * The values of a text, without positions.
 * @returns undefined unless the whole text is of this kind, and has no mistake
 */
export function readPlainYaml(text: string): Located | undefined {
  if (OTHER_CHARACTER.test(text)) return undefined;
  try {
    return new PlainReader(text).read();
  } catch (error) {
    if (error === OTHER) return undefined;
    throw error;
  }
}

class PlainReader {
  readonly #text: string;
  /** The current line that is neither empty nor a comment: where its content starts and how far it is indented; -1 at the end. */
  #at = 0;
  #indent: number = -1;
  #levels = 0;

  constructor(text: string) {
    this.#text = text;
  }

  read(): Located {
    this.#line(0);
    if (this.#text.startsWith("---\n", this.#at)) this.#line(this.#at + 4);
    if (this.#indent !== 0) throw OTHER;
    return this.#mapping(0, null);
  }

  /** Goes to the first line with content from `at`, the start of a line. */
  #line(at: number): void {
    const text = this.#text;
    let start = at;
    for (;;) {
      let content = start;
      while (text.charCodeAt(content) === SPACE) content++;
      const first = text.charCodeAt(content);
      if (Number.isNaN(first)) {
        this.#indent = -1;
        this.#at = text.length;
        return;
      }
      if (first !== NEWLINE && first !== HASH) {
        this.#at = content;
        this.#indent = content - start;
        return;
      }
      const end = text.indexOf("\n", content);
      start = end < 0 ? text.length : end + 1;
    }
  }

  /** The value ends at `at`: only a comment may follow. */
  #endLine(at: number): void {
    this.#match(REST_OF_LINE, at);
    this.#line(REST_OF_LINE.lastIndex + 1);
  }

  #match(pattern: RegExp, at: number): RegExpExecArray {
    const found = this.#try(pattern, at);
    if (found === null) throw OTHER;
    return found;
  }

  #try(pattern: RegExp, at: number): RegExpExecArray | null {
    pattern.lastIndex = at;
    return pattern.exec(this.#text);
  }

  #mapping(indent: number, tag: string | null): Located {
    if (++this.#levels > MOST_LEVELS) throw OTHER;
    const entries = new Entries();
    do {
      const name = this.#match(BLOCK_KEY, this.#at)[1] ?? "";
      entries.add(name, this.#value(BLOCK_KEY.lastIndex, indent));
    } while (this.#indent === indent);
    if (this.#indent > indent) throw OTHER;
    this.#levels--;
    return entries.located(tag);
  }

  /** The value after a key or a dash that is indented by `indent`. */
  #value(after: number, indent: number): Located {
    const text = this.#text;
    let at = after;
    while (text.charCodeAt(at) === SPACE) at++;
    switch (text[at]) {
      case undefined:
      case "\n":
      case "#":
        this.#endLine(after);
        return this.#below(indent);
      case "!": {
        const tag = this.#tag(at);
        const next = TAG.lastIndex;
        if (this.#try(REST_OF_LINE, next) === null) return this.#flowLine(next, tag);
        this.#endLine(next);
        if (this.#indent <= indent) throw OTHER;
        return this.#mapping(this.#indent, tag);
      }
      case "|":
        return this.#literal(at, indent);
      case "[":
      case "{":
        return this.#flowLine(at, null);
      case '"':
      case "'": {
        const value = this.#quoted(at);
        this.#endLine(this.#end);
        return quoted(value);
      }
      default: {
        const end = text.indexOf("\n", at);
        const line = text.slice(at, end < 0 ? text.length : end);
        const comment = line.indexOf(" #");
        const value = (comment < 0 ? line : line.slice(0, comment)).trimEnd();
        if (INDICATOR.test(value) || value.includes(": ") || value.endsWith(":")) throw OTHER;
        this.#line(end < 0 ? text.length : end + 1);
        return scalar(NULL.test(value) ? null : value);
      }
    }
  }

  /** The value on the lines below a key. */
  #below(indent: number): Located {
    if (this.#indent >= indent && this.#isItem()) return this.#sequence(this.#indent);
    if (this.#indent <= indent) return scalar(null);
    if (this.#text[this.#at] !== "!") return this.#mapping(this.#indent, null);
    const tag = this.#tag(this.#at);
    const column = this.#indent;
    this.#endLine(TAG.lastIndex);
    if (this.#indent !== column) throw OTHER;
    return this.#mapping(column, tag);
  }

  #isItem(): boolean {
    return this.#text.startsWith("- ", this.#at);
  }

  #sequence(indent: number): Located {
    const list = new Items();
    do list.add(this.#item(indent));
    while (this.#indent === indent && this.#isItem());
    if (this.#indent > indent) throw OTHER;
    return list.located();
  }

  #item(indent: number): Located {
    let at = this.#at + 2;
    while (this.#text.charCodeAt(at) === SPACE) at++;
    const first = this.#text[at];
    if (first === undefined || first === "\n" || first === "#" || first === "!") throw OTHER;
    return this.#value(at, indent);
  }

  #tag(at: number): string {
    return this.#match(TAG, at)[1] ?? "";
  }

  #literal(at: number, indent: number): Located {
    const keeps = this.#match(LITERAL, at)[1] === "";
    const text = this.#text;
    let start = LITERAL.lastIndex + 1;
    let column = -1;
    const lines: string[] = [];
    while (start < text.length) {
      let content = start;
      while (text.charCodeAt(content) === SPACE) content++;
      const newline = text.indexOf("\n", content);
      const end = newline < 0 ? text.length : newline;
      const width = content - start;
      if (content === end) {
        // Spaces that belong to the text, or look as if they did.
        if (width > 0 && (column < 0 || width > column)) throw OTHER;
        lines.push("");
      } else {
        if (column < 0) {
          if (width <= indent) throw OTHER;
          column = width;
        }
        if (width < column) break;
        lines.push(text.slice(start + column, end));
      }
      start = end + 1;
    }
    if (column < 0) throw OTHER;
    while (lines.at(-1) === "") lines.pop();
    this.#line(Math.min(start, text.length));
    return quoted(lines.join("\n") + (keeps ? "\n" : ""));
  }

  // ------------------------------------------------------------ values in one line

  /** Where the value ends that was read last. */
  #end = 0;

  #flowLine(at: number, tag: string | null): Located {
    const value = this.#flow(at, tag);
    this.#endLine(this.#end);
    return value;
  }

  #flow(from: number, tag: string | null): Located {
    const text = this.#text;
    const at = this.#spaces(from);
    const first = text[at];
    if (tag !== null && first !== "{") throw OTHER;
    switch (first) {
      case "{":
        return this.#flowMapping(at + 1, tag);
      case "[":
        return this.#flowSequence(at + 1);
      case "!": {
        const name = this.#tag(at);
        return this.#flow(TAG.lastIndex, name);
      }
      case '"':
      case "'":
        return quoted(this.#quoted(at));
      default: {
        const found = this.#match(FLOW_PLAIN, at)[0];
        const value = found.trimEnd();
        if (value === "" || INDICATOR.test(value) || /:(?: |$)| #/.test(found)) throw OTHER;
        this.#end = at + value.length;
        return scalar(NULL.test(value) ? null : value);
      }
    }
  }

  #flowMapping(from: number, tag: string | null): Located {
    if (++this.#levels > MOST_LEVELS) throw OTHER;
    const entries = new Entries();
    for (let at = this.#spaces(from); ; at = this.#spaces(this.#comma("}"))) {
      if (this.#text[at] === "}") {
        this.#end = at + 1;
        break;
      }
      const name = this.#match(FLOW_KEY, at)[1] ?? "";
      entries.add(name, this.#flow(FLOW_KEY.lastIndex, null));
    }
    this.#levels--;
    return entries.located(tag);
  }

  #flowSequence(from: number): Located {
    if (++this.#levels > MOST_LEVELS) throw OTHER;
    const list = new Items();
    for (let at = this.#spaces(from); ; at = this.#spaces(this.#comma("]"))) {
      if (this.#text[at] === "]") {
        this.#end = at + 1;
        break;
      }
      list.add(this.#flow(at, null));
    }
    this.#levels--;
    return list.located();
  }

  /** The place after the comma that follows the last value, or that of the closing bracket. */
  #comma(closing: string): number {
    const at = this.#spaces(this.#end);
    if (this.#text[at] === ",") return at + 1;
    if (this.#text[at] !== closing) throw OTHER;
    return at;
  }

  #spaces(from: number): number {
    let at = from;
    while (this.#text.charCodeAt(at) === SPACE) at++;
    return at;
  }

  #quoted(at: number): string {
    if (this.#text[at] === "'") {
      const value = this.#match(SINGLE_QUOTED, at)[1] ?? "";
      this.#end = SINGLE_QUOTED.lastIndex;
      return value.replaceAll("''", "'");
    }
    const value = this.#match(DOUBLE_QUOTED, at)[1] ?? "";
    this.#end = DOUBLE_QUOTED.lastIndex;
    return value.includes("\\") ? value.replace(/\\(.)/g, (_, it: string) => ESCAPES[it] ?? it) : value;
  }
}

const SPACE = 32;
const NEWLINE = 10;
const HASH = 35;

class Entries {
  readonly #value: Record<string, unknown> = {};
  readonly #children = new Map<string, LocatedChild>();

  add(name: string, node: Located): void {
    if (name === "__proto__" || this.#children.has(name)) throw OTHER;
    this.#children.set(name, { key: null, node });
    this.#value[name] = node.value;
  }

  located(tag: string | null): Located {
    if (tag !== null) this.#value[TAG_KEY] = tag;
    return {
      ...NOWHERE,
      value: this.#value,
      tag: tag === null ? null : { name: tag, start: 0, end: 0 },
      children: this.#children,
    };
  }
}

class Items {
  readonly #value: unknown[] = [];
  readonly #children = new Map<number, LocatedChild>();

  add(node: Located): void {
    this.#children.set(this.#value.length, { key: null, node });
    this.#value.push(node.value);
  }

  located(): Located {
    return { ...NOWHERE, value: this.#value, tag: null, children: this.#children };
  }
}

const NOWHERE = { start: 0, end: 0, textStart: null } as const;
const NO_CHILDREN: Located["children"] = new Map();

function scalar(value: string | null): Located {
  return { ...NOWHERE, value, tag: null, children: NO_CHILDREN };
}

function quoted(value: string): Located {
  return { ...NOWHERE, value, isQuoted: true, tag: null, children: NO_CHILDREN };
}
