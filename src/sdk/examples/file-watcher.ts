/**
 * Runs a workflow for every file that is created or changed in a directory, once it has been quiet for a moment: editors and
 * programs write in bursts.
 *
 *     WATCH_DIRECTORY=inbox WORKFLOW=hello cdktr listen file-watcher.ts
 */
import { type Stats, watch } from "node:fs";
import { mkdir, stat } from "node:fs/promises";
import { join, resolve } from "node:path";
import { EventListener } from "cdktr";

const DIRECTORY = resolve(process.env.WATCH_DIRECTORY ?? "inbox");
const WORKFLOW = process.env.WORKFLOW ?? "hello";
const SETTLE_MS = Number(process.env.SETTLE_MS ?? 200);

export default class FileWatcher extends EventListener {
  #quiet = new Map<string, ReturnType<typeof setTimeout>>();

  async startListening(): Promise<void> {
    await mkdir(DIRECTORY, { recursive: true });
    const watcher = watch(DIRECTORY, (_event, name) => {
      if (name === null) return;
      clearTimeout(this.#quiet.get(name));
      this.#quiet.set(
        name,
        setTimeout(() => void this.#settled(name), SETTLE_MS),
      );
    });
    console.log(`watching ${DIRECTORY}`);
    await new Promise<void>((ended) => this.signal.addEventListener("abort", () => ended(), { once: true }));
    watcher.close();
    for (const timer of this.#quiet.values()) clearTimeout(timer);
  }

  async #settled(name: string): Promise<void> {
    this.#quiet.delete(name);
    const path = join(DIRECTORY, name);
    const state: Stats | undefined = await stat(path).catch(() => undefined);
    if (!state?.isFile()) return;
    try {
      // A version of a file is one event, however many notifications arrive.
      await this.runWorkflow(WORKFLOW, {
        params: { who: name },
        dedupeKey: `${path}:${state.ino}:${state.mtimeMs}:${state.size}`,
      });
    } catch (error) {
      console.error(`${name}: ${error instanceof Error ? error.message : error}`);
    }
  }
}
