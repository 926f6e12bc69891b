import { readdirSync } from "node:fs";
import { join } from "node:path";
import { ZmqError } from "../../src/zmq/index.ts";
import { until as eventually } from "../support/until.ts";

/** Path of the module under test, for programs that tests write. */
export const ZMQ_INDEX = join(import.meta.dir, "../../src/zmq/index.ts");

/** An endpoint with any free port on loopback. */
export const ANY_PORT = "tcp://127.0.0.1:*";

/** Polls until the condition holds, for facts without an event. */
export async function until(condition: () => boolean): Promise<void> {
  await eventually(String(condition), condition);
}

/** The code of the ZmqError that the operation fails with; "none" when it succeeds. */
export async function codeOf(operation: () => unknown): Promise<string> {
  try {
    await operation();
    return "none";
  } catch (error) {
    if (error instanceof ZmqError) return error.code;
    throw error;
  }
}

/** The first parts of a message, as many as the test counts on. */
export function take<N extends 2 | 3>(
  message: readonly Buffer[],
  count: N,
): N extends 2 ? [Buffer, Buffer] : [Buffer, Buffer, Buffer] {
  if (message.length < count) throw new Error(`a message of ${message.length} parts`);
  return message.slice(0, count) as ReturnType<typeof take<N>>;
}

/** A received message as text. */
export function text(message: readonly Uint8Array[] | undefined): string[] | undefined {
  return message?.map((part) => Buffer.from(part).toString());
}

/** How many descriptors this process has open. */
export function openDescriptors(): number {
  return readdirSync("/proc/self/fd").length;
}
