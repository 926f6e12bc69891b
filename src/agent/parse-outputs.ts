/**
 * What a task writes into the file named in `CDKTR_OUTPUT`: lines `name=value`, blocks of lines between `name<<END` and `END`, or one
 * JSON object. Values of lines and blocks are text. The last value of a name counts.
 */
import { faultOfOutputName, faultOfOutputs, MAX_OUTPUTS_BYTES, type Outputs } from "../contract/outputs.ts";
import { errorMessage } from "../errors.ts";

/** The longest file that is read, bytes: JSON may be written with indentation, which does not count as output. */
export const MAX_OUTPUT_FILE_BYTES = 4 * MAX_OUTPUTS_BYTES;

/** A file that holds no outputs. The message continues a sentence about it. */
export class OutputsError extends Error {}

const LINE = /^(?<name>[^=<]*)(?<operator>=|<<)(?<rest>.*)$/s;

/**
 * @returns null for a file with nothing in it
 * @throws OutputsError
 */
export function parseOutputs(file: Uint8Array): Outputs | null {
  const text = decode(file);
  const start = text.trimStart();
  if (start === "") return null;
  const outputs = start.startsWith("{") ? parseJson(text) : parseLines(text);
  const fault = faultOfOutputs(outputs);
  if (fault !== undefined) throw new OutputsError(fault);
  return outputs;
}

function decode(file: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(file);
  } catch {
    throw new OutputsError("the file is not valid UTF-8");
  }
}

function parseJson(text: string): Outputs {
  try {
    return JSON.parse(text, keepExact);
  } catch (error) {
    if (error instanceof OutputsError) throw error;
    throw new OutputsError(`the file begins with "{" but is not one JSON object: ${errorMessage(error)}`);
  }
}

/** A whole number that JavaScript cannot hold would be published as another one. */
function keepExact(this: unknown, _name: string, value: unknown, context?: { source?: string }): unknown {
  if (typeof value !== "number" || Number.isSafeInteger(value) || !Number.isInteger(value)) return value;
  const source = context?.source;
  if (source === undefined || !/^-?\d+$/.test(source) || BigInt(source) === BigInt(value)) return value;
  throw new OutputsError(
    `the number ${source.slice(0, 40)} cannot be held exactly; write it as text, in quotes`,
  );
}

function parseLines(text: string): Outputs {
  const outputs = new Map<string, string>();
  const lines = text.split("\n");
  for (let n = 0; n < lines.length; n++) {
    const line = lines[n] ?? "";
    if (line.trim() === "") continue;
    const { name, operator, rest } = LINE.exec(line)?.groups ?? {};
    if (name === undefined || rest === undefined)
      throw new OutputsError(
        `line ${n + 1} is neither "name=value" nor "name<<END": ${JSON.stringify(line.slice(0, 40))}`,
      );
    const fault = faultOfOutputName(name);
    if (fault !== undefined) throw new OutputsError(`line ${n + 1}: ${fault}`);
    if (operator === "=") {
      outputs.set(name, rest);
      continue;
    }
    const end = rest === "" ? -1 : lines.indexOf(rest, n + 1);
    if (end === -1)
      throw new OutputsError(
        `line ${n + 1}: the block of ${name} has no end, a line with ${JSON.stringify(rest.slice(0, 40))} alone`,
      );
    outputs.set(name, lines.slice(n + 1, end).join("\n"));
    n = end;
  }
  return Object.fromEntries(outputs);
}
