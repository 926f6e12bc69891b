/**
 * Parses YAML into plain values and remembers the position of each. Scalars become strings as written (`1.10` stays `1.10`), empty ones
 * and `null` become null, aliases and merge keys are expanded within limits, and a custom tag on a mapping becomes its key `TAG_KEY`.
 * Nothing here knows what a workflow is.
 */
import * as yaml from "yaml";
import { didYouMean } from "../terminal/did-you-mean.ts";
import type { Finding } from "./diagnostic.ts";
import { commonMistakes, falseSpace, typographicQuotes, withScriptHelp } from "./yaml-mistakes.ts";

/** Key for the tag of a mapping in its value. If a file contains this key, it is an unknown key. */
export const TAG_KEY = "!";

/** Offsets in the text, `end` exclusive. */
export interface Range {
  readonly start: number;
  readonly end: number;
}

type Tag = Range & { readonly name: string };

/** A value and its position. */
export interface Located {
  readonly value: unknown;
  /** Range of the value; for an empty value, an empty range. */
  readonly start: number;
  readonly end: number;
  /** Where the text of a scalar starts, if the source has it verbatim (no escapes, no folding). */
  readonly textStart: number | null;
  /** A scalar in quotes, or a block: text whatever it looks like. */
  readonly isQuoted?: true;
  /** Range of the tag, if the mapping has one. */
  readonly tag: Tag | null;
  readonly children: ReadonlyMap<string | number, LocatedChild>;
  /** This value has a finding already; null replaces it. */
  broken?: boolean;
}

/** An entry of a mapping or a sequence. */
export interface LocatedChild {
  /** Range of the key; null in a sequence. */
  readonly key: Range | null;
  readonly node: Located;
}

/** The result of parsing. `root` is null when the text is not YAML or is empty. */
export interface YamlTree {
  readonly root: Located | null;
  readonly findings: Finding[];
}

const MAX_DEPTH = 64;
/** Maximum number of values added by aliases. Legitimate files stay far below it; an alias bomb does not. */
const MAX_ALIASED_VALUES = 20_000;
const MAX_FINDINGS = 100;

/** Parses a text. Never throws. */
export function readYaml(text: string): YamlTree {
  let document: yaml.Document.Parsed | yaml.Document;
  try {
    document = yaml.parseDocument(text, {
      // Comparing every key with every other is quadratic; duplicates are found here with a map instead.
      uniqueKeys: false,
      prettyErrors: false,
      resolveKnownTags: false,
      logLevel: "error",
    });
  } catch (error) {
    return {
      root: null,
      findings: [{ code: "E001", message: `not YAML: ${message(error)}`, start: 0, end: 1 }],
    };
  }
  if (document.errors.length > 0) {
    const mistakes = commonMistakes(text, document);
    const findings = mistakes.length > 0 ? mistakes : syntaxFindings(document.errors, text);
    return { root: null, findings: withScriptHelp(findings, text) };
  }
  return new TreeReader(document, text).read();
}

function message(error: unknown): string {
  return error instanceof RangeError
    ? "it is nested too deeply"
    : error instanceof Error
      ? error.message
      : String(error);
}

function syntaxFindings(errors: readonly yaml.YAMLError[], text: string): Finding[] {
  const findings: Finding[] = [];
  let isDerailed = false;
  for (const error of errors) {
    if (findings.length >= MAX_FINDINGS) break;
    const [start, end] = error.pos;
    // After a syntax error, every further token is unexpected to the parser.
    const isConsequence =
      error.message.includes("token in YAML stream") || error.code === "MULTILINE_IMPLICIT_KEY";
    if (isConsequence && isDerailed) continue;
    isDerailed ||= error.code === "UNEXPECTED_TOKEN" || error.code === "BAD_INDENT";
    if (error.code === "MULTIPLE_DOCS") {
      const message = "a second document starts here; a file holds one workflow";
      const help = "remove the line ---, or move the second document to a file of its own";
      findings.push({ code: "E002", message, help, start, end: Math.min(end, start + 3) });
      continue;
    }
    findings.push({ code: "E001", start, end, ...explainSyntax(error, text) });
  }
  return findings;
}

/** The parser's message or, in common cases, a plainer one and how to fix it. */
function explainSyntax(error: yaml.YAMLError, text: string): Partial<Finding> & { message: string } {
  const [start] = error.pos;
  const lineEnd = text.indexOf("\n", start);
  const line = text.slice(text.lastIndexOf("\n", start - 1) + 1, lineEnd < 0 ? text.length : lineEnd);
  switch (error.code) {
    case "RESOURCE_EXHAUSTION":
      return { message: "this is nested too deeply" };
    case "TAB_AS_INDENT":
      return { message: "a tab is used for indentation", help: "indent with spaces" };
    case "BAD_INDENT": {
      const tag = /^\s*(![A-Za-z]*)/.exec(text.slice(start, start + 400));
      if (tag !== null) {
        const at = start + tag[0].length - (tag[1]?.length ?? 0);
        const help = "indent it more than the key it belongs to, or write it on the line of the key";
        return { message: "the tag is not indented enough", help, start: at, end: start + tag[0].length };
      }
      return { message: error.message, help: "keys of one mapping start at the same column" };
    }
    case "BLOCK_AS_IMPLICIT_KEY":
      return { message: error.message, help: 'put a string that contains ": " in quotes' };
    case "BAD_SCALAR_START":
      return { message: error.message, help: "put the string in quotes" };
    case "MULTILINE_IMPLICIT_KEY":
    case "MISSING_CHAR":
      if (/:(\s|$)/.test(line)) return { message: error.message };
      return { message: error.message, help: "is a colon missing after a key?" };
    case "UNEXPECTED_TOKEN": {
      const token = / token in YAML stream: (".*")$/.exec(error.message);
      if (token !== null) return { message: `${token[1]} is unexpected here` };
      if (!error.message.endsWith("at node end")) return { message: error.message };
      return {
        message: "this does not belong to the value before it",
        help: "check the indentation, and whether a quote ends too early",
      };
    }
    default:
      return { message: error.message };
  }
}

class TreeReader {
  readonly #document: yaml.Document;
  readonly #text: string;
  readonly #findings: Finding[] = [];
  readonly #anchors = new Map<string, yaml.Node>();
  /** The node that each alias refers to; a later anchor with the same name does not change it. */
  readonly #targets = new Map<yaml.Alias, yaml.Node>();
  /** Nodes being expanded, to detect an alias inside the node that it refers to. */
  readonly #open = new Set<yaml.Node>();
  readonly #unresolvedTags: Range[] = [];
  readonly #usedTags = new Set<number>();
  #aliasDepth = 0;
  #aliasedValues = 0;

  constructor(document: yaml.Document, text: string) {
    this.#document = document;
    this.#text = text;
  }

  read(): YamlTree {
    for (const warning of this.#document.warnings) {
      if (warning.code !== "TAG_RESOLVE_FAILED") continue;
      this.#unresolvedTags.push({ start: warning.pos[0], end: warning.pos[1] });
    }
    const contents = this.#document.contents;
    if (contents === null) return { root: null, findings: this.#findings };
    const root = this.#node(contents, 0);
    for (const tag of this.#unresolvedTags) {
      if (this.#usedTags.has(tag.start)) continue;
      const help = "a tag is only allowed on the mapping under config: of a task";
      const name = this.#text.slice(tag.start, tag.end);
      this.#find("E021", `the tag ${name} is not allowed here`, tag, help);
    }
    return { root, findings: this.#findings };
  }

  #find(code: Finding["code"], message: string, { start, end }: Range, help?: string): void {
    if (this.#findings.length < MAX_FINDINGS) this.#findings.push({ code, message, help, start, end });
  }

  #add(finding: Finding | undefined): void {
    if (finding !== undefined && this.#findings.length < MAX_FINDINGS) this.#findings.push(finding);
  }

  #firstGiven(offset: number): string | undefined {
    if (this.#findings.length >= MAX_FINDINGS) return undefined;
    return `it is first given on line ${this.#text.slice(0, offset).split("\n").length}`;
  }

  #empty(range: Range): Located {
    return { value: null, ...range, textStart: null, tag: null, children: new Map() };
  }

  #broken(range: Range): Located {
    return { ...this.#empty(range), broken: true };
  }

  #node(node: unknown, depth: number): Located {
    if (!yaml.isNode(node)) return this.#empty({ start: 0, end: 0 });
    const range = rangeOf(node);
    if (depth > MAX_DEPTH) {
      this.#find("E001", `nested more than ${MAX_DEPTH} levels deep`, range);
      return this.#broken(range);
    }
    if (this.#aliasDepth > 0 && ++this.#aliasedValues > MAX_ALIASED_VALUES) return this.#broken(range);
    if (yaml.isAlias(node)) return this.#alias(node, depth);
    if (node.anchor !== undefined && this.#aliasDepth === 0) this.#anchors.set(node.anchor, node);
    if (yaml.isScalar(node)) return this.#scalar(node, range);

    this.#open.add(node);
    const located = yaml.isMap(node) ? this.#map(node, range, depth) : this.#sequence(node, range, depth);
    this.#open.delete(node);
    return located;
  }

  #alias(alias: yaml.Alias, depth: number): Located {
    const range = rangeOf(alias);
    let target = this.#targets.get(alias);
    if (target === undefined) {
      target = this.#anchors.get(alias.source);
      if (target !== undefined) this.#targets.set(alias, target);
    }
    if (target === undefined) {
      const help =
        didYouMean(alias.source, this.#anchors.keys()) ??
        `if it is a string, put it in quotes: "*${alias.source}"`;
      this.#find("E007", `there is no anchor &${alias.source} before this alias`, range, help);
      return this.#broken(range);
    }
    if (this.#open.has(target)) {
      this.#find("E007", `the alias *${alias.source} is inside the value that it refers to`, range);
      return this.#broken(range);
    }
    this.#aliasDepth += 1;
    const before = this.#aliasedValues;
    const located = this.#node(target, depth);
    this.#aliasDepth -= 1;
    if (before <= MAX_ALIASED_VALUES && this.#aliasedValues > MAX_ALIASED_VALUES && this.#aliasDepth === 0) {
      const help = "write the values out; nested aliases multiply";
      this.#find("E007", `aliases make this file more than ${MAX_ALIASED_VALUES} values larger`, range, help);
    }
    return located;
  }

  #scalar(scalar: yaml.Scalar, range: Range): Located {
    const plain = scalar.type === "PLAIN";
    const tag = this.#tagBefore(scalar, range.start);
    // `config: !Subprocess` without content: a mapping without keys.
    if (tag !== null) return this.#tagged({}, range, tag, new Map());
    const value = scalar.value === null ? null : plain ? (scalar.source ?? "") : String(scalar.value);
    if (plain && value !== null && this.#aliasDepth === 0) {
      this.#add(falseSpace(value, range.start) ?? typographicQuotes(value, range.start));
    }
    const inside = plain ? range : { start: range.start + 1, end: range.end - 1 };
    const verbatim = typeof value === "string" && this.#text.slice(inside.start, inside.end) === value;
    return {
      value,
      ...range,
      textStart: verbatim ? inside.start : null,
      ...(plain ? {} : { isQuoted: true }),
      tag: null,
      children: new Map(),
    };
  }

  #map(map: yaml.YAMLMap, range: Range, depth: number): Located {
    const children = new Map<string | number, LocatedChild>();
    const merged: Located[] = [];
    for (const pair of map.items) {
      const keyRange = yaml.isNode(pair.key) ? rangeOf(pair.key) : range;
      const name = this.#key(pair.key, depth);
      if (name === null) {
        this.#find("E012", "a key must be a string", keyRange);
        this.#node(pair.value, depth + 1);
        continue;
      }
      if (name === "<<" && yaml.isNode(pair.value)) {
        merged.push(this.#node(pair.value, depth + 1));
        continue;
      }
      const node =
        pair.value === null
          ? this.#empty({ start: keyRange.start, end: keyRange.end })
          : this.#node(pair.value, depth + 1);
      if (name === TAG_KEY || name === "__proto__") {
        this.#find("E010", `unknown key "${name}"`, keyRange);
        continue;
      }
      const first = children.get(name);
      if (first?.key) {
        const help = this.#firstGiven(first.key.start);
        this.#find("E003", `duplicate key "${name}"`, keyRange, help);
        continue;
      }
      children.set(name, { key: keyRange, node });
    }
    for (const source of merged) this.#merge(source, children);

    const value: Record<string, unknown> = Object.create(null);
    for (const [name, child] of children) value[String(name)] = child.node.value;
    const tag = this.#tagBefore(map, range.start);
    return tag === null
      ? { value, ...range, textStart: null, tag: null, children }
      : this.#tagged(value, range, tag, children);
  }

  /** `<<: *base`: adds the entries of a mapping, or of each of a list of mappings, that do not exist yet. */
  #merge(source: Located, children: Map<string | number, LocatedChild>): void {
    const parts = Array.isArray(source.value)
      ? [...source.children.values()].map((child) => child.node)
      : [source];
    for (const part of parts) {
      if (part.value === null || typeof part.value !== "object" || Array.isArray(part.value)) {
        this.#find("E012", "<< needs a mapping, or a list of mappings, to merge", source);
        continue;
      }
      for (const [name, child] of part.children) if (!children.has(name)) children.set(name, child);
    }
  }

  #key(key: unknown, depth: number): string | null {
    if (yaml.isAlias(key)) {
      const { value } = this.#alias(key, depth);
      return typeof value === "string" ? value : null;
    }
    if (!yaml.isScalar(key)) {
      if (yaml.isNode(key)) this.#node(key, depth + 1);
      return null;
    }
    if (key.anchor !== undefined && this.#aliasDepth === 0) this.#anchors.set(key.anchor, key);
    if (key.type === "PLAIN") this.#add(falseSpace(key.source ?? "", rangeOf(key).start));
    return key.type === "PLAIN" ? (key.source ?? "") : String(key.value);
  }

  #sequence(node: yaml.Node, range: Range, depth: number): Located {
    const children = new Map<string | number, LocatedChild>();
    const value: unknown[] = [];
    if (yaml.isSeq(node)) {
      for (const item of node.items) {
        const child = this.#node(item, depth + 1);
        children.set(value.length, { key: null, node: child });
        value.push(child.value);
      }
    }
    return { value, ...range, textStart: null, tag: null, children };
  }

  #tagged(
    value: Record<string, unknown>,
    range: Range,
    tag: Tag,
    children: ReadonlyMap<string | number, LocatedChild>,
  ): Located {
    value[TAG_KEY] = tag.name;
    return { value, ...range, textStart: null, tag, children };
  }

  /** The custom tag of a mapping: the last one before it that the parser did not know. */
  #tagBefore(node: yaml.Node, start: number): Tag | null {
    if (!("tag" in node) || node.tag === undefined || !String(node.tag).startsWith("!")) return null;
    if (yaml.isScalar(node) && !(node.type === "PLAIN" && (node.source ?? "") === "")) return null;
    let low = 0;
    let high = this.#unresolvedTags.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#unresolvedTags[middle]?.start ?? 0) <= start) low = middle + 1;
      else high = middle;
    }
    const found = this.#unresolvedTags[low - 1];
    if (found === undefined) return null;
    this.#usedTags.add(found.start);
    return { name: String(node.tag).slice(1), ...found };
  }
}

function rangeOf(node: yaml.Node): Range {
  const [start, end] = node.range ?? [0, 0];
  return { start, end };
}
