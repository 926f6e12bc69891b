/** Access to the files of the workflow directory, which may be on a mount that does not respond. */
import type { ConsolaInstance } from "consola";
import { CdktrError } from "../../errors.ts";
import { type FileHelper, PathSilentError } from "../../host/file-helper/file-helper.ts";
import type { TreeListing } from "../../host/file-helper/tree.ts";
import type { RegularFile } from "../../host/regular-file.ts";
import { MAX_FILE_BYTES } from "../../workflow/parse.ts";
import { WORKFLOW_ENDINGS } from "../../workflow/workflow-id.ts";

const KEY = "workflows";

/** Lists, reads and watches the files through a helper process with a deadline. */
export class WorkflowFiles {
  readonly #root: string;
  readonly #changed: () => void;
  readonly #helper: FileHelper;
  /** Paths that do not respond, with the reason. They are not accessed until they do. */
  readonly #silent = new Map<string, string>();

  /** @param changed called after files may have changed */
  constructor(root: string, helper: FileHelper, log: ConsolaInstance, changed: () => void) {
    this.#root = root;
    this.#helper = helper;
    this.#changed = changed;
    this.#helper.signals.on("changed", (key) => {
      if (key === KEY) changed();
    });
    this.#helper.signals.on("warning", (text) => log.warn(text));
    // A new helper only watches what it has listed.
    this.#helper.signals.on("restarted", changed);
  }

  /**
   * Lists the workflow files and reports later changes. Paths that do not respond are listed as unreadable.
   * @throws the error of reading the directory itself
   */
  async list(): Promise<TreeListing> {
    for (;;) {
      try {
        const skip = [...this.#silent];
        const found = await this.#helper.ask("tree", {
          key: KEY,
          root: this.#root,
          endings: WORKFLOW_ENDINGS,
          skip,
        });
        return {
          files: new Map(found.files),
          unreadable: new Map(found.unreadable),
          devices: new Map(found.devices),
        };
      } catch (error) {
        if (!(error instanceof PathSilentError)) throw error;
        this.#isSilent(error.path, error);
      }
    }
  }

  /** Reads some of the listed files. */
  async read(paths: readonly string[]): Promise<Map<string, RegularFile>> {
    const found = new Map<string, RegularFile>();
    for (;;) {
      const left = paths.filter((path) => !found.has(path));
      if (left.length === 0) return found;
      try {
        const read = await this.#helper.ask("read", {
          paths: left.map((path) => `${this.#root}/${path}`),
          maxBytes: MAX_FILE_BYTES,
        });
        for (const [i, path] of left.entries()) {
          const file = read[i];
          if (file !== undefined)
            found.set(
              path,
              file.kind === "file" ? { kind: "file", bytes: Buffer.from(file.base64, "base64") } : file,
            );
        }
      } catch (error) {
        if (!(error instanceof CdktrError)) throw error;
        const at = error instanceof PathSilentError ? error.path.slice(this.#root.length + 1) : undefined;
        const path = at !== undefined && left.includes(at) ? at : left[0];
        if (path === undefined) throw error;
        if (error instanceof PathSilentError) this.#isSilent(path, error);
        found.set(path, { kind: "failed", code: "", message: error.message });
      }
    }
  }

  #isSilent(path: string, error: PathSilentError): void {
    this.#silent.set(path, error.message);
    void error.answers.then(() => {
      this.#silent.delete(path);
      this.#changed();
    });
  }
}
