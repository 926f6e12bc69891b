import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** A directory that is removed at the end of the scope: `using directory = new TemporaryDirectory()`. */
export class TemporaryDirectory implements Disposable {
  readonly root = mkdtempSync(join(tmpdir(), "cdktr-test-"));

  /** The path of something inside. */
  path(...parts: string[]): string {
    return join(this.root, ...parts);
  }

  [Symbol.dispose](): void {
    rmSync(this.root, { recursive: true, force: true });
  }
}
