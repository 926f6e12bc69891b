/** The questions' look and feel: clack's prompts, with one way out of all of them. */
import * as clack from "@clack/prompts";
import { CdktrError } from "../../errors.ts";
import { styleFor } from "../support/style.ts";

/** The person has left: Ctrl-C or Escape at a question. */
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
  /** Offered, and taken when the answer is empty. */
  readonly initial: string;
  /** An empty answer is one. */
  readonly mayBeEmpty?: boolean;
  /** What is wrong with an answer, said while it is typed on. */
  readonly check: (answer: string) => string | undefined;
  /** The same for what takes time to find out: the question is then asked again. */
  readonly probe?: (answer: string) => Promise<string | undefined>;
}): Promise<string> {
  const { message, check, probe, mayBeEmpty = false } = options;
  let { initial } = options;
  for (;;) {
    // Enter that was typed before the question was there finds nothing offered yet.
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

/** Asks for a secret, which is not shown. @throws Cancelled */
export async function secret(
  message: string,
  check: (answer: string) => string | undefined,
): Promise<string> {
  return said(await clack.password({ message, validate: (value) => check((value ?? "").trim()) })).trim();
}

/** Asks for one of a few. @throws Cancelled */
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
  // The type of clack's options is conditional, which a type parameter leaves open.
  const answer = await clack.select<string>({
    message,
    options,
    initialValue: initial,
    showInstructions: false,
  });
  return said(answer) as T;
}

/** Asks a question of yes and no. @throws Cancelled */
export async function confirm(message: string, initial: boolean): Promise<boolean> {
  return said(await clack.confirm({ message, initialValue: initial }));
}

/** Says something between the questions. */
export function tell(message: string, how: "info" | "warn" | "success" | "step" = "info"): void {
  clack.log[how](message);
}

/** Shows lines under a title, each cut to the terminal's width. */
export function show(title: string, lines: readonly string[]): void {
  const width = Math.max(20, (process.stdout.columns || 80) - 4);
  const { bold } = styleFor("stdout");
  clack.log.message([bold(title), ...lines.flatMap((line) => wrapped(line, width))].join("\n"));
}

/** Opens and ends the conversation. */
export const intro = (title: string): void => clack.intro(title);
export const outro = (message: string): void => clack.outro(message);
export const cancel = (message: string): void => clack.cancel(message);

function said<T>(answer: T): Exclude<T, symbol> {
  if (clack.isCancel(answer)) throw new Cancelled();
  return answer as Exclude<T, symbol>;
}

/** A line over as many rows as it takes, those after the first indented a bit more. */
function wrapped(line: string, width: number): string[] {
  if (line.length <= width || line.includes("\x1b")) return [line];
  const indent = /^\s*/.exec(line)?.[0] ?? "";
  const rows: string[] = [];
  let row = indent;
  let isEmpty = true;
  for (const word of line.trim().split(" ")) {
    if (!isEmpty && row.length + 1 + word.length > width) {
      rows.push(row.trimEnd());
      row = `${indent}    ${word}`;
    } else row += isEmpty ? word : ` ${word}`;
    isEmpty = false;
  }
  return [...rows, row];
}
