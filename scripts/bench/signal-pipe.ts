import { closeSync, constants, openSync, read } from "node:fs";

/** A named pipe by which a process says "I am running": the time between a cause and a task, without the task's end. */
export class SignalPipe {
  readonly path: string;
  readonly #fd: number;
  #waiting: (() => void) | undefined;
  #early = 0;

  constructor(path: string) {
    const made = Bun.spawnSync(["mkfifo", path]);
    if (made.exitCode !== 0) throw new Error(`mkfifo failed: ${made.stderr}`);
    this.path = path;
    // Open for writing too: so the pipe has no end while nobody writes.
    this.#fd = openSync(path, constants.O_RDWR);
    this.#read();
  }

  /** A shell command that signals. */
  get command(): string {
    return `echo > '${this.path}'`;
  }

  /** Resolves at the next signal. */
  next(): Promise<void> {
    if (this.#early > 0) {
      this.#early--;
      return Promise.resolve();
    }
    return new Promise((resolve) => {
      this.#waiting = resolve;
    });
  }

  close(): void {
    closeSync(this.#fd);
  }

  #read(): void {
    read(this.#fd, Buffer.alloc(1), 0, 1, null, (error) => {
      if (error) return;
      const waiting = this.#waiting;
      this.#waiting = undefined;
      if (waiting === undefined) this.#early++;
      else waiting();
      this.#read();
    });
  }
}
