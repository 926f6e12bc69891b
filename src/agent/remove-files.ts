import { chmod, lstat, opendir, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { errorMessage } from "../errors.ts";
import { log } from "../log.ts";

/** Removes a file or directory of a task. Never rejects. Off this thread: a task may have made a directory with any number of files. */
export async function removeFiles(path: string): Promise<void> {
  const removed = () => rm(path, { recursive: true, force: true });
  try {
    await removed().catch(async (error: NodeJS.ErrnoException) => {
      if (error.code !== "EACCES") throw error;
      // A task may have taken the permissions away, which would fail the tasks after it too.
      await chmod(dirname(path), 0o700);
      await openUp(path);
      await removed();
    });
  } catch (error) {
    log.warn(`${path}, a file of a task that has ended, cannot be removed: ${errorMessage(error)}.`);
  }
}

/** Gives the owner access to all directories in a directory: some tools take it away from what they leave (the module cache of Go). */
async function openUp(path: string): Promise<void> {
  if (!(await lstat(path)).isDirectory()) return;
  await chmod(path, 0o700);
  for await (const entry of await opendir(path))
    if (entry.isDirectory()) await openUp(join(path, entry.name));
}
