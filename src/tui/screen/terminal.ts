/** The terminal: raw mode, the alternate screen, keys and mouse through terminal-kit, and a reliable way to restore it. */
import { writeSync } from "node:fs";
import termkit, { type MouseData, type Terminal as TermkitTerminal } from "terminal-kit/lib/termkit.js";
import { isDoneWithin } from "../../timer.ts";
import { KeyInput } from "./input.ts";
import type { Abilities } from "./renderer.ts";

/** Events from the terminal. Coordinates start at 0. */
export interface TerminalEvents {
  key(name: string): void;
  mouse(event: MouseEvent): void;
  paste(text: string): void;
  resize(width: number, height: number): void;
}

/** A click or a turn of the wheel. */
export interface MouseEvent {
  readonly kind: "press" | "wheel-up" | "wheel-down";
  readonly x: number;
  readonly y: number;
}

/** Options for using the terminal. */
export interface TerminalOptions {
  readonly colour: boolean;
  readonly unicode: boolean;
  readonly mouse: boolean;
}

const BRACKETED_PASTE_ON = "\x1b[?2004h";
/** Switches off everything that may have been switched on; harmless for modes that were not on. */
const RESTORE =
  "\x1b[?2026l\x1b[?2004l\x1b[?1006l\x1b[?1003l\x1b[?1002l\x1b[?1000l\x1b[0m\x1b[?25h\x1b[?1049l\x1b[?25h";

/** The terminal of this process. */
export class Terminal {
  readonly abilities: Abilities;
  readonly #options: TerminalOptions;
  readonly #input: KeyInput;
  readonly #term: TermkitTerminal;
  #entered = false;
  /** Bytes that the terminal has not accepted yet. */
  #pending = 0;
  #leftEarly = false;
  #flushed: (() => void)[] = [];
  /** Called when the terminal has accepted everything written. */
  onDrain: () => void = () => {};

  constructor(options: TerminalOptions, events: TerminalEvents) {
    this.#options = options;
    this.#input = new KeyInput(process.stdin);
    const guess = termkit.guessTerminal(true);
    this.#term = termkit.createTerminal({
      stdin: this.#input,
      stdout: process.stdout,
      stderr: process.stderr,
      generic: guess.generic ?? "xterm",
      appId: guess.safe === true ? guess.appId : undefined,
      isTTY: true,
      isSSH: guess.isSSH === true,
      processSigwinch: true,
    });
    this.abilities = { colour: options.colour, unicode: options.unicode };
    this.#term.on("key", (name) => events.key(name));
    this.#term.on("mouse", (name, data) => {
      const event = mouseEvent(name, data);
      if (event !== undefined) events.mouse(event);
    });
    this.#term.on("resize", (width, height) => events.resize(width, height));
    this.#input.on("paste", (text: string) => events.paste(text));
  }

  get width(): number {
    return this.#term.width ?? 80;
  }

  get height(): number {
    return this.#term.height ?? 24;
  }

  /** Whether the terminal is still busy with earlier output: another frame would only be queued. */
  get busy(): boolean {
    return this.#pending > 0;
  }

  /** Takes over the terminal. */
  enter(): void {
    this.#entered = true;
    const alternate = this.#term.esc.alternateScreenBuffer?.on ?? "\x1b[?1049h";
    this.write(`${alternate}\x1b[?25l${BRACKETED_PASTE_ON}\x1b[2J`);
    void this.#term.grabInput(this.#options.mouse ? { mouse: "button" } : {});
  }

  /** Resolves when the terminal has accepted everything written, or after `timeoutMs`: it may never do so. */
  async flush(timeoutMs: number): Promise<void> {
    if (this.#pending === 0) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#flushed.push(resolve);
    await isDoneWithin(timeoutMs, promise);
  }

  /** Restores the terminal. Safe at any time, even twice or while the process exits; call {@link flush} first if there is time. */
  leave(): void {
    // Output that was still in flight at that point arrived after the restoring sequence.
    const again = this.#leftEarly;
    if (!this.#entered && !again) return;
    this.#leftEarly = !again && this.#pending > 0;
    this.#entered = false;
    try {
      void this.#term.grabInput(false);
    } catch {
      // The restoring sequence below covers this as well.
    }
    writeAll(RESTORE);
  }

  write(text: string): void {
    if (text === "") return;
    this.#pending++;
    process.stdout.write(text, () => {
      this.#pending--;
      if (this.#pending > 0) return;
      for (const resolve of this.#flushed.splice(0)) resolve();
      this.onDrain();
    });
  }
}

/** Writes synchronously, bypassing buffers: the process may be about to exit. */
function writeAll(text: string): void {
  let bytes = Buffer.from(text);
  for (let tries = 0; bytes.length > 0 && tries < 1000; tries++) {
    try {
      bytes = bytes.subarray(writeSync(1, bytes));
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "EAGAIN") return;
    }
  }
}

function mouseEvent(name: string, { x, y }: MouseData): MouseEvent | undefined {
  const at = { x: x - 1, y: y - 1 };
  if (name === "MOUSE_LEFT_BUTTON_PRESSED") return { kind: "press", ...at };
  if (name === "MOUSE_WHEEL_UP") return { kind: "wheel-up", ...at };
  if (name === "MOUSE_WHEEL_DOWN") return { kind: "wheel-down", ...at };
  return undefined;
}
