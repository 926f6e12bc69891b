/** Texts that contain expressions: `${{ EXPR }}` among other text; `$${{` stands for a literal `${{`. */
import { MAX_EXPRESSION_LENGTH, MAX_EXPRESSIONS } from "../limits.ts";
import { ExpressionProblem } from "./problem.ts";

/** What begins an expression. */
export const OPENING = "${{";

/** A part of a template: literal text, or the source of an expression and its offset in the template. */
export type Part = { readonly text: string } | { readonly source: string; readonly start: number };

/**
 * Splits a template into its parts.
 * @throws ExpressionProblem when an expression is not closed or too long; its offsets are those in the template
 */
export function splitTemplate(template: string): Part[] {
  const parts: Part[] = [];
  let literal = "";
  let count = 0;
  let at = 0;
  for (;;) {
    const opening = template.indexOf(OPENING, at);
    if (opening < 0) break;
    if (template[opening - 1] === "$" && opening - 1 >= at) {
      literal += template.slice(at, opening - 1) + OPENING;
      at = opening + OPENING.length;
      continue;
    }
    literal += template.slice(at, opening);
    const start = opening + OPENING.length;
    const end = endOf(template, start);
    const problem = (message: string, help?: string): ExpressionProblem =>
      new ExpressionProblem({
        code: "E066",
        message,
        ...(help === undefined ? {} : { help }),
        start: opening,
        end: end ?? opening + OPENING.length,
      });
    if (end === null) {
      throw problem('"${{" is not closed', 'write "}}" at its end; for a literal "${{" write "$${{"');
    }
    if (end - start > MAX_EXPRESSION_LENGTH) {
      throw problem(`the expression is longer than ${MAX_EXPRESSION_LENGTH} characters`);
    }
    if (++count > MAX_EXPRESSIONS) throw problem(`the text has more than ${MAX_EXPRESSIONS} expressions`);
    if (literal !== "") parts.push({ text: literal });
    literal = "";
    parts.push({ source: template.slice(start, end), start });
    at = end + 2;
  }
  literal += template.slice(at);
  if (literal !== "" || parts.length === 0) parts.push({ text: literal });
  return parts;
}

/** Where the `}}` of an expression is: the first that is neither in a string nor closes maps. */
function endOf(template: string, start: number): number | null {
  let braces = 0;
  for (let at = start; at < template.length; at++) {
    const character = template[at];
    if (character === '"' || character === "'") {
      const end = endOfString(template, at, character);
      // The quote is not closed: the expression is told so, if it ends at all.
      if (end === null) return indexOrNull(template.indexOf("}}", at));
      at = end;
    } else if (character === "{") braces++;
    else if (character === "}") {
      if (braces > 0) braces--;
      else if (template[at + 1] === "}") return at;
    }
  }
  return indexOrNull(template.indexOf("}}", start));
}

function indexOrNull(index: number): number | null {
  return index < 0 ? null : index;
}

/** The offset of the last character of a string; the library lets a backslash hide a quote in raw strings as well. */
function endOfString(template: string, start: number, quote: string): number | null {
  const delimiter = template.startsWith(quote.repeat(3), start) ? quote.repeat(3) : quote;
  for (let at = start + delimiter.length; at < template.length; at++) {
    if (template[at] === "\\") at++;
    else if (template.startsWith(delimiter, at)) return at + delimiter.length - 1;
  }
  return null;
}
