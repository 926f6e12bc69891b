/** Diagnostics of workflow files, as data and as text for people. */
import { quotedText } from "../terminal/foreign-text.ts";
import { width } from "../terminal/text.ts";
import type { SourceText } from "./source-text.ts";

/** Every kind of problem. The codes are stable: programs may rely on them, and new ones are added at the end of their group. */
export const DIAGNOSTIC_CODES = {
  E001: "yaml-syntax",
  E002: "multiple-documents",
  E003: "duplicate-key",
  E004: "not-utf8",
  E005: "too-large",
  E006: "empty-file",
  E007: "bad-alias",
  E008: "unreadable",
  E009: "control-character",
  E010: "unknown-key",
  E011: "missing-key",
  E012: "wrong-type",
  E013: "no-tasks",
  E014: "bad-value",
  E015: "bad-text",
  E020: "missing-tag",
  E021: "bad-tag",
  E030: "unknown-dependency",
  E031: "self-dependency",
  E032: "dependency-cycle",
  E033: "bad-condition",
  E034: "not-upstream",
  E035: "unknown-output",
  E040: "bad-cron",
  E041: "bad-timezone",
  E042: "bad-start-time",
  E043: "bad-duration",
  E044: "bad-schedule",
  E045: "bad-calendar",
  E050: "bad-task-id",
  E051: "bad-workflow-id",
  E052: "duplicate-workflow-id",
  E053: "bad-env-name",
  E054: "bad-param-name",
  E055: "bad-label-name",
  E056: "no-item",
  E057: "reserved-id",
  E060: "expression-in-script",
  E061: "expression-syntax",
  E062: "expression-type",
  E063: "unknown-reference",
  E064: "no-expression-here",
  E065: "expression-without-quotes",
  E066: "expression-too-large",
  E070: "bad-param-type",
  E071: "bad-param-default",
  E072: "bad-param-rule",
  E080: "bad-secret",
  E081: "unknown-secret",
  E090: "bad-files",
  E092: "not-settings",
  E093: "bad-concurrency",
  E094: "bad-pool",
  E095: "bad-priority",
  E099: "too-many",
  E110: "bad-notify",
  E111: "bad-channel-name",
  E115: "bad-channel",
  E120: "bad-expectation",
  E125: "too-many-alert-files",
  E130: "bad-retention",
  W001: "repeated-dependency",
  W002: "no-effect",
  W003: "cannot-fire",
  W004: "unknown-workflow",
  W005: "trigger-circle",
  W006: "typographic-quotes",
  W007: "no-agent-fits",
  W008: "unused-parameter",
  W009: "unreachable-task",
  W010: "never-true",
  W011: "unread-output",
  W012: "template-of-another-tool",
  W013: "child-params",
  W014: "open-secret",
  W015: "quoted-json",
  W016: "group-limits",
  W017: "waits-for-itself",
  W018: "unknown-pool",
  W019: "never-a-day",
  W020: "jitter-over-period",
  W021: "unknown-calendar",
  W022: "unknown-channel",
  W120: "expects-too-much",
} as const;

/** The code of a kind of problem, `E…` for errors and `W…` for warnings. */
export type DiagnosticCode = keyof typeof DIAGNOSTIC_CODES;

/** One problem of one file. Plain JSON. */
export interface Diagnostic {
  readonly severity: "error" | "warning";
  readonly code: DiagnosticCode;
  /** The code in words, such as `unknown-key`. */
  readonly kind: (typeof DIAGNOSTIC_CODES)[DiagnosticCode];
  readonly message: string;
  /** How to fix it, if there is something to say. */
  readonly help: string | null;
  readonly path: string;
  /** 1-based; null when the problem concerns the whole file. */
  readonly line: number | null;
  /** 1-based, in characters. */
  readonly column: number | null;
  /** The source line, or an excerpt of a long one. */
  readonly source_line: string | null;
  /** The range in `source_line`: offsets of a JavaScript string, `to` exclusive. */
  readonly source_range: { readonly from: number; readonly to: number } | null;
}

/** A problem with its offsets in the text, before it has a path and a line. */
export interface Finding {
  readonly code: DiagnosticCode;
  readonly message: string;
  readonly help?: string | undefined;
  readonly start: number;
  readonly end: number;
  /** The line must not be shown: it may have a secret. */
  readonly isPrivate?: boolean;
}

/** A problem that concerns the whole file. */
export function fileDiagnostic(
  path: string,
  code: DiagnosticCode,
  message: string,
  help?: string,
): Diagnostic {
  return {
    severity: code.startsWith("W") ? "warning" : "error",
    code,
    kind: DIAGNOSTIC_CODES[code],
    message: clip(message),
    help: help === undefined ? null : clip(help),
    path,
    line: null,
    column: null,
    source_line: null,
    source_range: null,
  };
}

const LONGEST_MESSAGE = 400;

/** Shortens quotations: a file may contain words of any length. */
function clip(text: string): string {
  return text.length <= LONGEST_MESSAGE ? text : `${text.slice(0, LONGEST_MESSAGE).toWellFormed()}…`;
}

/** Adds positions to findings. */
export function locate(findings: readonly Finding[], source: SourceText, path: string): Diagnostic[] {
  return findings.map((finding) => {
    const { line, column } = source.position(finding.start);
    const diagnostic = fileDiagnostic(path, finding.code, finding.message, finding.help);
    if (finding.isPrivate === true) return { ...diagnostic, line, column };
    const excerpt = source.excerpt(finding.start, finding.end);
    return {
      ...diagnostic,
      line,
      column,
      source_line: excerpt.text,
      source_range: { from: excerpt.start, to: excerpt.end },
    };
  });
}

const MOST_NAMES = 5;

/** Merges the W002 warnings of several files that say the same into one that names the files. */
export function mergeRepeated(diagnostics: readonly Diagnostic[]): Diagnostic[] {
  const groups = Map.groupBy(diagnostics, (each, index) =>
    each.code === "W002" ? each.message : String(index),
  );
  return [...groups.values()].flatMap(([first, ...others]) => {
    if (first === undefined) return [];
    const paths = [...new Set(others.map(({ path }) => path))].filter((path) => path !== first.path);
    if (paths.length === 0) return [first];
    const names = paths.slice(0, MOST_NAMES).join(", ");
    const more = paths.length > MOST_NAMES ? ", …" : "";
    const count = `${paths.length} other ${paths.length === 1 ? "file" : "files"}`;
    return [{ ...first, message: `${first.message}; the same in ${count}: ${names}${more}` }];
  });
}

/** Options for rendering a diagnostic. */
export interface RenderOptions {
  /** With terminal colours; off by default. */
  readonly color?: boolean;
}

const TAB_WIDTH = 4;
const STYLES = { bold: "1", red: "1;31", yellow: "1;33", blue: "34", cyan: "36" } as const;

/**
 * Renders a diagnostic like a compiler does: `path:line:column: error[E010]: message`, the source line, a caret under the position, and
 * how to fix it. No newline at the end.
 */
export function renderDiagnostic(diagnostic: Diagnostic, options: RenderOptions = {}): string {
  const style = (name: keyof typeof STYLES, text: string): string =>
    options.color === true ? `\x1b[${STYLES[name]}m${text}\x1b[0m` : text;
  const tone = diagnostic.severity === "error" ? "red" : "yellow";

  const place = [diagnostic.path, diagnostic.line, diagnostic.column]
    .filter((part) => part !== null)
    .join(":");
  const head = `${style("bold", `${quotedText(place)}:`)} ${style(tone, `${diagnostic.severity}[${diagnostic.code}]`)}`;
  const lines = [`${head}: ${style("bold", quotedText(diagnostic.message))}`];

  if (diagnostic.line !== null && diagnostic.source_line !== null && diagnostic.source_range !== null) {
    const { from, to } = diagnostic.source_range;
    const number = String(diagnostic.line).padStart(5);
    const gutter = " ".repeat(number.length);
    const before = widen(diagnostic.source_line.slice(0, from), 0);
    const marked = widen(diagnostic.source_line.slice(from, to), before.width);
    const after = widen(diagnostic.source_line.slice(to), before.width + marked.width);
    const carets = "^".repeat(Math.max(1, marked.width));
    lines.push(`${style("blue", `${number} |`)} ${before.text}${marked.text}${after.text}`.trimEnd());
    lines.push(`${style("blue", `${gutter} |`)} ${" ".repeat(before.width)}${style(tone, carets)}`);
    if (diagnostic.help !== null)
      lines.push(`${style("blue", `${gutter} =`)} ${style("cyan", "help:")} ${quotedText(diagnostic.help)}`);
  } else if (diagnostic.help !== null) {
    lines.push(`      ${style("blue", "=")} ${style("cyan", "help:")} ${quotedText(diagnostic.help)}`);
  }
  return lines.join("\n");
}

/** Renders several diagnostics, each below the other, without colours. */
export function renderDiagnostics(diagnostics: readonly Diagnostic[]): string {
  return diagnostics.map((diagnostic) => renderDiagnostic(diagnostic)).join("\n");
}

/** A text as shown on the screen: tabs expanded, control characters made visible, and its width in columns. */
function widen(text: string, from: number): { text: string; width: number } {
  let shown = "";
  for (const part of text.split(/(\t)/)) {
    if (part === "\t") shown += " ".repeat(TAB_WIDTH - ((from + width(shown)) % TAB_WIDTH));
    else shown += quotedText(part);
  }
  return { text: shown, width: width(shown) };
}
