/** Look and feel of the questions: clack's prompts, all with the same way to cancel. */
import * as clack from "@clack/prompts";
import { CdktrError } from "../../errors.ts";
import { width as widthOf } from "../../terminal/text.ts";
import { styleFor } from "../support/style.ts";

/** The user left: Ctrl-C or Escape at a question. */
export class Cancelled extends CdktrError {
  constructor() {
    super("Cancelled: nothing was written.");
  }
}

/** A choice of {@link select}. */
export interface Choice<T extends string> {
  readonly value: T;
  readonly label: string;
  readonly hint?: string;
}

/**
 * Asks for a line of text.
 * @throws Cancelled
 */
export async function text(options: {
  readonly message: string;
  /** Offered as the default, used when the answer is empty. */
  readonly initial: string;
  /** Allows an empty answer. */
  readonly mayBeEmpty?: boolean;
  /** Returns what is wrong with an answer, shown while typing. */
  readonly check: (answer: string) => string | undefined;
  /** Like `check`, for checks that take time; if it fails, the question is asked again. */
  readonly probe?: (answer: string) => Promise<string | undefined>;
}): Promise<string> {
  const { message, check, probe, mayBeEmpty = false } = options;
  let { initial } = options;
  for (;;) {
    // If Enter was typed before the question appeared, no default has been offered yet.
    const meant = (value: string | undefined) => (value ?? "").trim() || (mayBeEmpty ? "" : initial);
    const answer = meant(
      said(
        await clack.text({
          message,
          initialValue: initial,
          ...(mayBeEmpty ? {} : { defaultValue: initial }),
          validate: (value) => check(meant(value)),
        }),
      ),
    );
    const problem = await probe?.(answer);
    if (problem === undefined) return answer;
    clack.log.warn(problem);
    initial = answer;
  }
}

/** Asks for a secret, without echo. @throws Cancelled */
export async function secret(
  message: string,
  check: (answer: string) => string | undefined,
): Promise<string> {
  return said(await clack.password({ message, validate: (value) => check((value ?? "").trim()) })).trim();
}

/** Asks for one of several options. @throws Cancelled */
export async function select<T extends string>(
  message: string,
  choices: readonly Choice<T>[],
  initial: T,
): Promise<T> {
  const options = choices.map(({ value, label, hint }) => ({
    value,
    label,
    ...(hint === undefined ? {} : { hint }),
  }));
  // The type of clack's options is conditional, which TypeScript cannot resolve for a type parameter.
  const answer = await clack.select<string>({
    message,
    options,
    initialValue: initial,
    showInstructions: false,
  });
  return said(answer) as T;
}

/** Asks a yes/no question. @throws Cancelled */
export async function confirm(message: string, initial: boolean): Promise<boolean> {
  return said(await clack.confirm({ message, initialValue: initial }));
}

/** Prints a message between the questions. */
export function tell(message: string, how: "info" | "warn" | "success" | "step" = "info"): void {
  clack.log[how](message);
}

/** Shows lines under a title, each truncated to the terminal's width. */
export function show(title: string, lines: readonly string[]): void {
  const width = Math.max(20, (process.stdout.columns || 80) - 4);
  const { bold } = styleFor("stdout");
  clack.log.message([bold(title), ...lines.flatMap((line) => wrapped(line, width))].join("\n"));
}

/** Opens and closes the dialogue. */
export const intro = (title: string): void => clack.intro(title);
export const outro = (message: string): void => clack.outro(message);
export const cancel = (message: string): void => clack.cancel(message);

function said<T>(answer: T): Exclude<T, symbol> {
  if (clack.isCancel(answer)) throw new Cancelled();
  return answer as Exclude<T, symbol>;
}

/** Wraps a line over as many rows as needed, with a hanging indent. */
function wrapped(line: string, width: number): string[] {
  if (widthOf(line) <= width || line.includes("\x1b")) return [line];
  const indent = /^\s*/.exec(line)?.[0] ?? "";
  const rows: string[] = [];
  let row = indent;
  let isEmpty = true;
  for (const word of line.trim().split(" ")) {
    if (!isEmpty && widthOf(`${row} ${word}`) > width) {
      rows.push(row.trimEnd());
      row = `${indent}    ${word}`;
    } else row += isEmpty ? word : ` ${word}`;
    isEmpty = false;
  }
  return [...rows, row];
}
