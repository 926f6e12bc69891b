/** A wall clock that a test can set for the processes it starts: libfaketime, in front of the C library. */
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

/** A clock that is some time ahead of, or behind, the real one. Time that only moves forward stays as it is. */
export class FakeClock {
  /** Settings of the processes that see it. */
  readonly env: Readonly<Record<string, string>>;
  readonly #file: string;

  private constructor(file: string, path: string) {
    this.#file = file;
    this.env = {
      LD_PRELOAD: path,
      FAKETIME_TIMESTAMP_FILE: file,
      FAKETIME_NO_CACHE: "1",
      FAKETIME_DONT_FAKE_MONOTONIC: "1",
      DONT_FAKE_MONOTONIC: "1",
    };
    this.set(0);
  }

  /** @param file keeps the offset */
  static async create(file: string): Promise<FakeClock> {
    return new FakeClock(file, await library());
  }

  /** Makes it jump: from now on it is so many seconds ahead, or behind when negative. */
  set(seconds: number): void {
    // In one step: half a file would be another time.
    writeFileSync(`${this.#file}.new`, `${seconds < 0 ? "-" : "+"}${Math.abs(seconds)}\n`);
    renameSync(`${this.#file}.new`, this.#file);
  }
}
