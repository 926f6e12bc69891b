/** Asks the person at the terminal what tasks of kind `!Approval` ask, one question at a time. */
import { userInfo } from "node:os";
import { createInterface } from "node:readline";
import type { Asker } from "../../agent/local/local-run.ts";
import { formLines } from "../../contract/run-approvals.ts";
import { UnprocessableError } from "../../errors.ts";
import { plainText } from "../../terminal/foreign-text.ts";
import type { Answer, Question } from "../../workflow/answers.ts";
import { readParam } from "../../workflow/param-types.ts";
import { isRequired } from "../../workflow/params.ts";
import { say } from "../support/report.ts";
import { isTerminal, styleFor } from "../support/style.ts";

/** Where a person reads and writes. */
export interface Dialogue {
  say(text: string): void;
  /** The next line that is typed; null at the end of the input. */
  line(signal: AbortSignal): Promise<string | null>;
  /** What has been typed before is no answer to what is asked next. */
  forget?(): void;
}

/** Asks at the terminal of this process; undefined if there is none. @returns also what ends the reading */
export function terminalAsker(): { readonly asker: Asker; readonly close: () => void } | undefined {
  if (!process.stdin.isTTY || !isTerminal("stderr")) return undefined;
  let typed: TypedLines | undefined;
  const dialogue: Dialogue = {
    say,
    forget: () => typed?.forget(),
    line: (signal) => {
      typed ??= new TypedLines();
      return typed.next(signal);
    },
  };
  return { asker: askerOf(dialogue), close: () => typed?.close() };
}

/** Asks in a dialogue. */
export function askerOf(dialogue: Dialogue): Asker {
  let last: Promise<unknown> = Promise.resolve();
  return (task, question, signal) => {
    const turn = last.then(async () => {
      signal.throwIfAborted();
      dialogue.forget?.();
      try {
        return await ask(dialogue, task, question, signal);
      } catch (error) {
        if (signal.aborted) dialogue.say(`${task} waits for no answer any more.`);
        throw error;
      }
    });
    last = turn.catch(() => {});
    return turn;
  };
}

async function ask(
  dialogue: Dialogue,
  task: string,
  question: Question,
  signal: AbortSignal,
): Promise<Answer> {
  const style = styleFor("stderr");
  const by = userInfo().username;
  const fields = formLines(question.form).map((field) => `  ${plainText(field)}`);
  const next = async (prompt: string) => {
    dialogue.say(style.cyan(prompt));
    const line = await dialogue.line(signal);
    signal.throwIfAborted();
    if (line === null) throw new UnprocessableError("nobody answered: the input has ended");
    return line.trim();
  };
  dialogue.say([`${style.bold(task)} asks: ${plainText(question.message)}`, ...fields].join("\n"));
  for (;;) {
    const word = (await next("Approve? Type yes or no.")).toLowerCase();
    if (word === "n" || word === "no")
      return { answer: "reject", params: {}, note: await next("Why not? (Enter for no reason)"), by };
    if (word !== "y" && word !== "yes") continue;
    const params: Record<string, string> = {};
    for (const [name, field] of Object.entries(question.form)) {
      const hint = isRequired(field) ? "" : ` (Enter for ${JSON.stringify(field.default)})`;
      for (;;) {
        const text = await next(`${name}?${hint}`);
        if (text === "" && !isRequired(field)) break;
        if (text === "") {
          dialogue.say(`${name} must be given.`);
          continue;
        }
        const read = readParam(field, text);
        params[name] = text;
        if (read.ok) break;
        dialogue.say(`${name} must ${read.problem.must}.`);
      }
    }
    return { answer: "approve", params, note: "", by };
  }
}

/** The lines that are typed at the terminal. Ctrl-C stays a signal. */
class TypedLines {
  readonly #reader = createInterface({ input: process.stdin, terminal: false });
  readonly #lines: string[] = [];
  #hasEnded = false;
  #wake: (() => void) | undefined;

  constructor() {
    this.#reader.on("line", (line) => {
      this.#lines.push(line);
      this.#wake?.();
    });
    this.#reader.on("close", () => {
      this.#hasEnded = true;
      this.#wake?.();
    });
  }

  async next(signal: AbortSignal): Promise<string | null> {
    for (;;) {
      const line = this.#lines.shift();
      if (line !== undefined) return line;
      if (this.#hasEnded || signal.aborted) return null;
      await new Promise<void>((wake) => {
        this.#wake = wake;
        signal.addEventListener("abort", () => wake(), { once: true });
      });
    }
  }

  forget(): void {
    this.#lines.length = 0;
  }

  close(): void {
    this.#reader.close();
    process.stdin.unref?.();
  }
}
