/** Reads the text of expressions, with the grammar of a library; nothing else imports it. */
import { type ASTNode, Environment, ParseError } from "@marcbachmann/cel-js";
import { MAX_EXPRESSION_DEPTH, MAX_EXPRESSION_PARTS } from "../limits.ts";
import { ExpressionProblem, type PlacedProblem } from "./problem.ts";

/** A part of an expression, with its offsets in the source. */
export type Node = ASTNode;

// The library also has an evaluator. Ours counts its steps, names what has no value, compares and converts as CEL says, and is told types.
const grammar = new Environment({
  limits: {
    maxAstNodes: MAX_EXPRESSION_PARTS,
    maxDepth: MAX_EXPRESSION_DEPTH,
    maxListElements: MAX_EXPRESSION_PARTS,
    maxMapEntries: MAX_EXPRESSION_PARTS,
    maxCallArguments: MAX_EXPRESSION_PARTS,
  },
});

/**
 * Reads an expression.
 * @throws ExpressionProblem when it is not one
 */
export function parseExpression(source: string): Node {
  if (source.trim() === "") {
    const help = 'write an expression between "${{" and "}}", such as ${{ params.day }}';
    throw new ExpressionProblem({
      code: "E061",
      message: "the expression is empty",
      help,
      start: 0,
      end: Math.max(1, source.length),
    });
  }
  try {
    return grammar.parse(source).ast;
  } catch (error) {
    if (error instanceof ParseError) throw new ExpressionProblem(explain(error, source));
    // The library reads one level of brackets and signs by calling itself.
    if (error instanceof RangeError) throw new ExpressionProblem(tooDeep(0, source.length));
    throw error;
  }
}

const tooDeep = (start: number, end: number): PlacedProblem => ({
  code: "E066",
  message: `the expression is nested more than ${MAX_EXPRESSION_DEPTH} levels deep`,
  start,
  end,
});

/** Operators of other languages. */
const OPERATORS: Readonly<Record<string, string>> = {
  "&": 'write "&&"',
  "|": 'write "||"',
  "=": 'write "=="',
  "===": 'write "=="',
  "!==": 'write "!="',
  "<>": 'write "!="',
  "**": "there are no powers",
  and: 'write "&&"',
  AND: 'write "&&"',
  or: 'write "||"',
  OR: 'write "||"',
  not: 'write "!"',
  NOT: 'write "!"',
  is: 'write "=="',
  "??": "write default(value, other)",
  "?.": "write has(…) to ask whether it exists, or default(value, other)",
};

/** The library's words for what it expected, as it is written. */
const EXPECTED: Readonly<Record<string, string>> = {
  RPAREN: ")",
  RBRACKET: "]",
  RBRACE: "}",
  COLON: ":",
};

function explain(error: ParseError, source: string): PlacedProblem {
  const at = error.range ?? { start: 0, end: source.length };
  const start = Math.min(at.start, source.length);
  const end = Math.max(start + 1, Math.min(at.end, source.length));
  const place = { start, end };
  const token = source.slice(start, end);
  const syntax = (message: string, help?: string, range = place): PlacedProblem => ({
    code: "E061",
    message,
    ...(help === undefined ? {} : { help }),
    ...range,
  });

  const foreign = foreignOperator(source, start, token);
  if (foreign !== undefined) {
    const { start: from, end: to } = foreign;
    const word = source.slice(from, to);
    return syntax(`"${word}" is not an operator`, OPERATORS[word], foreign);
  }
  switch (error.code) {
    case "limit_exceeded":
      if (error.summary.includes("maxDepth")) return tooDeep(start, end);
      return {
        code: "E066",
        message: `the expression has more than ${MAX_EXPRESSION_PARTS} parts`,
        ...place,
      };
    case "unterminated_string":
    case "unterminated_triple_quoted_string":
      return syntax(`the quote ${source[start] ?? '"'} that opens here is not closed`, undefined, {
        start,
        end: start + 1,
      });
    case "newline_in_string":
      return syntax("a string ends on the line on which it starts", 'write "\\n" for a line break in it');
    case "reserved_identifier":
      return syntax(
        `"${token}" is a word that expressions reserve`,
        token === "if" ? "write condition ? value : other" : undefined,
      );
    case "invalid_macro_argument": {
      const [name = "it"] = /^\w+/.exec(error.summary) ?? [];
      return syntax(
        `the first argument of ${name} must be the name of a variable`,
        name === "map" ? "such as items.map(x, x.name)" : `such as items.${name}(x, x > 0)`,
      );
    }
    case "expected_token":
    case "unexpected_token":
    case "unexpected_character":
      return unexpected(error, source, place, syntax);
    default:
      return syntax(error.summary.replace(/^[A-Z](?=[a-z])/, (letter) => letter.toLowerCase()));
  }
}

type Syntax = (message: string, help?: string, range?: { start: number; end: number }) => PlacedProblem;

function unexpected(
  error: ParseError,
  source: string,
  place: { readonly start: number; readonly end: number },
  syntax: Syntax,
): PlacedProblem {
  const token = source.slice(place.start, place.end);
  const [, wanted = ""] = /^Expected (\w+)/.exec(error.summary) ?? [];
  const missing = EXPECTED[wanted];
  const before = source.slice(0, place.start).trimEnd();
  if (token.trim() === "") {
    const last = { start: Math.max(0, before.length - 1), end: Math.max(1, before.length) };
    if (missing !== undefined)
      return syntax(`the expression is not complete: "${missing}" is missing`, undefined, last);
    const [operator = ""] = /[^\w\s"')\]}]+$|\bin$/.exec(before) ?? [];
    return syntax(
      operator === ""
        ? "the expression is not complete"
        : `the expression is not complete: something is missing after "${operator}"`,
      undefined,
      last,
    );
  }
  if (wanted === "IDENTIFIER") {
    const [name = token] = /^\w+/.exec(source.slice(place.start)) ?? [];
    const [of = ""] = /[\w.[\]"']+(?=\.$)/.exec(before) ?? [];
    return syntax(`"${name}" cannot follow a dot`, `write ${of}["${name}"]`, {
      start: place.start,
      end: place.start + name.length,
    });
  }
  if (missing !== undefined) return syntax(`"${missing}" is missing before "${token}"`);
  if (/^[“”„‘’«»]/.test(token))
    return syntax(`"${token}" is a typographic quote`, "use plain quotes: \"…\" or '…'");
  if (token === ";") return syntax('";" is not allowed here', "an expression has a single value");
  if (token === "`") return syntax('"`" is not allowed here', 'write "…" for text');
  // What follows a whole expression.
  if (/^[\w"'([{]/.test(token)) {
    const word = /^\w+/.exec(source.slice(place.start))?.[0] ?? token;
    return syntax(`"${word}" is unexpected here`, "is an operator missing before it?");
  }
  return syntax(`"${token}" is unexpected here`);
}

/** The operator of another language that begins, ends or stands at `start`. */
function foreignOperator(
  source: string,
  start: number,
  token: string,
): { readonly start: number; readonly end: number } | undefined {
  const around = /[&|=<>!*?.]+$/.exec(source.slice(0, start))?.[0] ?? "";
  const after = /^[&|=<>!*?.]+/.exec(source.slice(start))?.[0] ?? "";
  const symbol = { start: start - around.length, end: start + after.length };
  if (Object.hasOwn(OPERATORS, source.slice(symbol.start, symbol.end))) return symbol;
  const word = /^\w+/.exec(source.slice(start))?.[0] ?? token;
  if (/^\w/.test(word) && Object.hasOwn(OPERATORS, word)) return { start, end: start + word.length };
  // "not x": the library takes "not" for a name, and stumbles over what follows.
  const before = /\b(not|NOT)\s+$/.exec(source.slice(0, start));
  if (before === null) return undefined;
  return { start: before.index, end: before.index + 3 };
}
