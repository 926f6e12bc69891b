/**
 * Data to stdout: buffered, waiting for a slow reader instead of filling memory, and quiet when the reader has gone (`| head`).
 */

import { CdktrError, errorMessage } from "../../errors.ts";
import { isTerminal } from "./style.ts";

/** Nobody reads stdout any more: not an error, but there is nothing left to do. */
export class BrokenPipe extends Error {
  constructor() {
    super("stdout was closed");
    this.name = "BrokenPipe";
  }
}

const BUFFER_CHARS = 64 * 1024;

let sink: Bun.FileSink | undefined;
let buffered = "";

/**
 * Writes text to stdout. It may stay in the buffer until {@link flushStdout}.
 * @throws BrokenPipe when nobody reads
 */
export async function writeStdout(text: string): Promise<void> {
  buffered += text;
  if (buffered.length >= BUFFER_CHARS) await flushStdout();
}

/** Writes text and a line feed to stdout; see {@link writeStdout}. */
export async function printLine(text = ""): Promise<void> {
  await writeStdout(`${text}\n`);
}

/** Prints a JSON document: indented for a person, one line for a program. */
export async function printJson(value: unknown): Promise<void> {
  await printLine(JSON.stringify(value, null, isTerminal("stdout") ? 2 : undefined));
}

/**
 * Resolves when everything written is with the reader.
 * @throws BrokenPipe when nobody reads
 */
export async function flushStdout(): Promise<void> {
  if (buffered === "") return;
  const text = buffered;
  buffered = "";
  try {
    sink ??= Bun.stdout.writer();
    // Either may be what finds the reader gone.
    await sink.write(text);
    await sink.flush();
  } catch (error) {
    // Bun's sink does not give every such error its code.
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
