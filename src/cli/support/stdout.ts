/** Writes data to stdout: buffered, with backpressure from slow readers, and silent when the reader has gone (`| head`). */

import { CdktrError, errorMessage } from "../../errors.ts";
import { escapedJson, terminalText } from "../../terminal/foreign-text.ts";
import { isTerminal } from "./style.ts";

/** The reader of stdout has gone: not an error, but there is nothing left to do. */
export class BrokenPipe extends Error {
  constructor() {
    super("stdout was closed");
    this.name = "BrokenPipe";
  }
}

const BUFFER_CHARS = 64 * 1024;

let sink: Bun.FileSink | undefined;
let buffered = "";
let toTerminal: boolean | undefined;

/**
 * Writes text to stdout. It may stay in the buffer until {@link flushStdout}.
 * @throws BrokenPipe when the reader has gone
 */
export async function writeStdout(text: string): Promise<void> {
  toTerminal ??= isTerminal("stdout");
  buffered += toTerminal ? terminalText(text) : text;
  if (buffered.length >= BUFFER_CHARS) await flushStdout();
}

/** Writes text and a newline to stdout; see {@link writeStdout}. */
export async function printLine(text = ""): Promise<void> {
  await writeStdout(`${text}\n`);
}

/** A value as JSON on one line. */
export function jsonLine(value: unknown): string {
  return escapedJson(JSON.stringify(value));
}

/** Prints a JSON document: indented on a terminal, otherwise on one line. */
export async function printJson(value: unknown): Promise<void> {
  await printLine(escapedJson(JSON.stringify(value, null, isTerminal("stdout") ? 2 : undefined)));
}

/**
 * Resolves when everything has been passed to the reader.
 * @throws BrokenPipe when the reader has gone
 */
export async function flushStdout(): Promise<void> {
  if (buffered === "") return;
  const text = buffered;
  buffered = "";
  try {
    sink ??= Bun.stdout.writer();
    // Either call may be the one that notices the missing reader.
    await sink.write(text);
    await sink.flush();
  } catch (error) {
    // Bun's sink does not set the code on every such error.
    if (/\b(EPIPE|ECONNRESET)\b/.test(`${(error as NodeJS.ErrnoException).code} ${errorMessage(error)}`)) {
      throw new BrokenPipe();
    }
    const text = errorMessage(error);
    throw new CdktrError(`The output cannot be written: ${text}.`, {
      cause: error,
      hint: /ENOSPC/.test(text) ? "The disk is full: free some space and try again." : undefined,
    });
  }
}
