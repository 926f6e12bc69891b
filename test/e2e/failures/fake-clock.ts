/** A wall clock that a test can set for the processes it starts, using libfaketime. */
import { existsSync, renameSync, writeFileSync } from "node:fs";
import { installed } from "../../support/debian.ts";

const LIBRARY = "/usr/lib/$ARCH/faketime/libfaketimeMT.so.1";

/** The library's path; Debian's package is installed when it is missing. */
async function library(): Promise<string> {
  const arch = process.arch === "arm64" ? "aarch64-linux-gnu" : "x86_64-linux-gnu";
  const path = LIBRARY.replace("$ARCH", arch);
  const missing = await installed("faketime", () => existsSync(path));
  if (missing === undefined) return path;
  throw new Error(`This test sets the clock of cdktr with libfaketime: ${missing}`);
}

const HOUR_MS = 3_600_000;

/** A wall clock that jumps when the test says so. The monotonic clock stays as it is. */
export class FakeClock {
  /** Settings of the processes that see it. */
  readonly env: Readonly<Record<string, string>>;
  readonly #file: string;
  readonly #startS: number;
  #offsetS = 0;

  private constructor(file: string, path: string, startS: number) {
    this.#file = file;
    this.#startS = startS;
    this.env = {
      LD_PRELOAD: path,
      FAKETIME_TIMESTAMP_FILE: file,
      FAKETIME_NO_CACHE: "1",
      FAKETIME_DONT_FAKE_MONOTONIC: "1",
      DONT_FAKE_MONOTONIC: "1",
    };
    this.set(0);
  }

  /** A clock that begins with the present time. */
  static async create(file: string): Promise<FakeClock> {
    return new FakeClock(file, await library(), 0);
  }

  /** A clock that begins at half past an hour, so that no full hour comes by itself. */
  static async createHalfPast(file: string): Promise<FakeClock> {
    return new FakeClock(file, await library(), Math.round((HOUR_MS / 2 - (Date.now() % HOUR_MS)) / 1000));
  }

  /** What it shows now, ms since the epoch. */
  now(): number {
    return Date.now() + this.#offsetS * 1000;
  }

  /** Makes it jump: from now on it is so many seconds ahead of where it began, or behind when negative. */
  set(seconds: number): void {
    this.#offsetS = this.#startS + seconds;
    // In one step: half a file would be another time.
    writeFileSync(`${this.#file}.new`, `${this.#offsetS < 0 ? "-" : "+"}${Math.abs(this.#offsetS)}\n`);
    renameSync(`${this.#file}.new`, this.#file);
  }
}
