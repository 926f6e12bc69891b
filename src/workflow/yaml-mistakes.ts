/** Recognises common YAML mistakes. The parser often reports only a consequence of them, or another position. */
import * as yaml from "yaml";
import type { Finding } from "./diagnostic.ts";

/** Characters that look like a space or like nothing, but are not a space to YAML. */
const NOT_A_SPACE = /[\u00a0\u1680\u2000-\u200d\u202f\u205f\u2060\u3000\ufeff]/;
const KEY = String.raw`(?:- +)*(?:[\w.-]+: +)?`;
/** An unquoted value that starts with `*` and is not an alias. */
const STAR = new RegExp(
  String.raw`^[ ]*${KEY}(\*(?:$|[\s/,][^#]*?|[^\s,\]}#]+[ \t]+[^#\s][^#]*?))[ \t\r]*(?:#.*)?$`,
);
/** Such a character where a space was meant: in the indentation, after `key:` or after `-`. */
const FALSE_SPACE = new RegExp(String.raw`^ *(?:- +)*(?:[\w.-]+:|-)?(${NOT_A_SPACE.source})`);
const NO_SPACE = /^ *(?:- +)*([A-Za-z_][\w.-]*:)["'\w![{]/;

/** An expression in a flow mapping or list, or with `: ` or ` #` in it, whose text is not in quotes. */
/** An expression, with the text before and after it that has no blanks. */
const EXPRESSION = /(?:^|[\s,[{:])((?:[^\s,[\]{}'":$]|:(?=\/))*\$\{\{[^\n]*?\}\}[^\s,[\]{}'":]*)/;

const TYPOGRAPHIC_OPENING = /^[“”„‟‘’‚‛«‹]/;
const TYPOGRAPHIC_CLOSING = /[“”‘’»›]/;

/** The mistakes that caused the syntax errors of a text; empty if none is recognised. */
export function commonMistakes(text: string, document: yaml.Document.Parsed | yaml.Document): Finding[] {
  const findings = new Map<number, Finding>();
  const quoted = quotedScalars(document);
  for (const { code, pos } of document.errors.slice(0, MOST_ERRORS)) {
    const finding = quoteMistake(code, pos[0], quoted, text) ?? lineMistake(code, pos, text);
    if (finding !== undefined) findings.set(finding.start, finding);
  }
  return [...findings.values()];
}

/** Limits against malicious files: the numbers of errors, lines per error and characters per line that are examined. */
const MOST_ERRORS = 20;
const MOST_LINES = 3;
const LONGEST_LINE = 300;

function quotedScalars(document: yaml.Document.Parsed | yaml.Document): yaml.Scalar[] {
  if (!document.errors.slice(0, MOST_ERRORS).some(({ code }) => QUOTE_ERRORS.has(code))) return [];
  const quoted: yaml.Scalar[] = [];
  try {
    yaml.visit(document, {
      Scalar: (_, node) => void (node.type?.startsWith("QUOTE") && quoted.push(node)),
    });
  } catch {
    // Too deeply nested to be visited.
  }
  return quoted;
}

const QUOTE_ERRORS: ReadonlySet<yaml.ErrorCode> = new Set(["MISSING_CHAR", "UNEXPECTED_TOKEN"]);

/** A quote that is not closed, or is closed too early. */
function quoteMistake(
  code: yaml.ErrorCode,
  at: number,
  quoted: readonly yaml.Scalar[],
  text: string,
): Finding | undefined {
  if (!QUOTE_ERRORS.has(code)) return undefined;
  const scalar = quoted.find(({ range }) => range?.[1] === at);
  if (scalar?.range == null) return undefined;
  const [start] = scalar.range;
  const quote = text[start] ?? '"';
  if (code === "MISSING_CHAR") {
    const message = `the quote ${quote} that opens here is not closed`;
    return { code: "E001", message, help: `add ${quote} at the end of the string`, start, end: start + 1 };
  }
  const inside = quote === "'" ? "''" : '\\"';
  const help = `write ${inside} for ${quote} inside the string; if the string should end earlier, a quote is missing there`;
  return {
    code: "E001",
    message: "the quoted string ends here, but more text follows",
    help,
    start: at - 1,
    end: at,
  };
}

/** A mistake that is recognised in the lines of an error. */
function lineMistake(
  code: yaml.ErrorCode,
  [from, to]: readonly [number, number],
  text: string,
): Finding | undefined {
  let start = text.lastIndexOf("\n", from - 1) + 1;
  for (let count = 0; count < MOST_LINES && start < text.length && (count === 0 || start < to); count++) {
    const lineEnd = text.indexOf("\n", start);
    const end = lineEnd < 0 ? text.length : lineEnd;
    const line = text.slice(start, Math.min(end, start + LONGEST_LINE));
    const expression = bareExpression(line, start);
    if (expression !== undefined) return expression;
    const star = STAR.exec(line)?.[1];
    if (star !== undefined) {
      const at = start + line.indexOf(star);
      const message = 'a string that starts with "*" needs quotes: without them it is an alias in YAML';
      return { code: "E001", message, help: `write "${star}"`, start: at, end: at + star.length };
    }
    const space = falseSpace(line, start);
    if (space !== undefined) return space;
    const key = NO_SPACE.exec(line)?.[1];
    if (key !== undefined && code === "MULTILINE_IMPLICIT_KEY") {
      const at = start + line.indexOf(key) + key.length;
      return {
        code: "E001",
        message: `there is no space after "${key}"`,
        help: "write one",
        start: at,
        end: at + 1,
      };
    }
    start = end + 1;
  }
  return undefined;
}

/** An expression that YAML reads as something else. @param offset where the line starts */
function bareExpression(line: string, offset: number): Finding | undefined {
  const match = EXPRESSION.exec(line);
  const written = match?.[1];
  if (match === null || written === undefined) return undefined;
  const start = offset + match.index + match[0].length - written.length;
  const isInFlow = /[[{,]\s*(?:[\w.-]+:\s*)?$/.test(line.slice(0, start - offset));
  const quoted = written.includes("'") ? `"${written.replace(/["\\]/g, "\\$&")}"` : `'${written}'`;
  return {
    code: "E065",
    message: isInFlow
      ? "an expression in { } or [ ] needs quotes"
      : 'an expression that contains ": " needs quotes',
    help: `write ${quoted}`,
    start,
    end: start + written.length,
  };
}

/** What is wrong with the spaces at the beginning of a line, or before a value. @param offset where the line starts */
export function falseSpace(line: string, offset: number): Finding | undefined {
  const match = FALSE_SPACE.exec(line.slice(0, LONGEST_LINE));
  if (match === null) return undefined;
  const character = match[1] ?? "";
  const start = offset + match[0].length - character.length;
  const code = character.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0");
  return {
    code: "E001",
    message: `this is not a normal space, but the character U+${code}`,
    help: "replace it with a normal space; it often comes from copied text",
    start,
    end: start + 1,
  };
}

/** Typographic quotes that were meant as quotes, but are part of the string in YAML. */
export function typographicQuotes(value: string, start: number): Finding | undefined {
  if (!TYPOGRAPHIC_OPENING.test(value)) return undefined;
  // “Two” words: prose.
  const closing = value.slice(1, LONGEST_LINE).search(TYPOGRAPHIC_CLOSING) + 1;
  if (closing > 0 && closing < value.length - 1) return undefined;
  return {
    code: "W006",
    message: `the typographic quote ${value[0]} is part of the string`,
    help: "use plain quotes to quote a string: \"…\" or '…'",
    start,
    end: start + 1,
  };
}

const SCRIPT_LINE = /^ *(?:[\w.-]+: *\{ *)?(run|script|code): +[^|>\s]/;

/** What is special to YAML is common in scripts: below `run: |` nothing is. The first of several findings in such a line stands for all. */
export function withScriptHelp(findings: readonly Finding[], text: string): Finding[] {
  const lines = new Set<number>();
  return findings.flatMap((finding) => {
    const from = text.lastIndexOf("\n", finding.start - 1) + 1;
    const key = SCRIPT_LINE.exec(text.slice(from, from + LONGEST_LINE))?.[1];
    if (key === undefined) return [finding];
    if (lines.has(from)) return [];
    lines.add(from);
    const help = `write ${key}: | and the script on the next line, indented: nothing in it is special to YAML then`;
    return [{ ...finding, help }];
  });
}
