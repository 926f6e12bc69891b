import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ZMQ_INDEX } from "./support.ts";

const BUN = process.execPath;

/** A test program in a separate process. Provides its output lines in order; killed on disposal. */
export interface Program extends Disposable {
  readonly process: Bun.Subprocess<"pipe", "pipe", "pipe">;
  /** The next line of its output; fails when it ends before. */
  line(): Promise<string>;
  /** Writes a line to its input. */
  write(line: string): void;
  /** Waits for its end: exit status and what it wrote to stderr. */
  end(): Promise<{ status: number; stderr: string }>;
}

/** Starts any command. */
export function start(
  command: string[],
  options: { cwd?: string; env?: Record<string, string> } = {},
): Program {
  const child = Bun.spawn(command, { ...options, stdin: "pipe", stdout: "pipe", stderr: "pipe" });
  const stderr = new Response(child.stderr).text();
  const lines = linesOf(child.stdout);
  return {
    process: child,
    async line() {
      const { value, done } = await lines.next();
      if (done) throw new Error(`the program ended: ${await stderr}`);
      return value;
    },
    write(line) {
      child.stdin.write(`${line}\n`);
      child.stdin.flush();
    },
    async end() {
      return { status: await child.exited, stderr: await stderr };
    },
    [Symbol.dispose]() {
      child.kill("SIGKILL");
    },
  };
}

/** Starts a TypeScript program; `zmq` is the room under test. */
export function startProgram(source: string): Program {
  const directory = mkdtempSync(join(tmpdir(), "cdktr-zmq-"));
  const file = join(directory, "program.ts");
  writeFileSync(file, `import * as zmq from ${JSON.stringify(ZMQ_INDEX)};\n${source}\n`);
  const program = start([BUN, file]);
  program.process.exited.then(() => rmSync(directory, { recursive: true, force: true }));
  return program;
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = "";
  for await (const chunk of stream) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
  if (rest !== "") yield rest;
}
