/** uv, which runs Python tasks: from the PATH, or from PyPI. Nothing has to be on the machine before, except python3. */
import { existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { TOOLS } from "./paths.ts";
import { type Finished, run } from "./run.ts";

/**
 * Directory of a `uv` that works: the one on the PATH, or one installed from PyPI below `.cache/tools`.
 * @throws Error with what to do when there is none and it cannot be installed
 */
export async function ensureUv(say: (line: string) => void = console.log): Promise<string> {
  const present = Bun.which("uv");
  if (present !== null && (await works([present, "--version"]))) return dirname(present);
  const venv = join(TOOLS, "uv");
  const target = join(TOOLS, "uv-target");
  for (const directory of [venv, target]) {
    if (await works([join(directory, "bin", "uv"), "--version"])) return join(directory, "bin");
  }
  if (Bun.which("python3") === null) {
    throw new Error(
      "python3 was not found: uv, which runs Python tasks, is installed with it. Install python3 or uv.",
    );
  }
  say("$ python3 -m venv .cache/tools/uv && .cache/tools/uv/bin/pip install uv");
  const made = await create(venv, async (directory) => {
    const created = await run(["python3", "-m", "venv", directory]);
    // Not `bin/pip`: its first line names the directory, which gets its final name only afterwards.
    return created.code === 0
      ? await run([join(directory, "bin", "python"), "-m", "pip", "install", "--quiet", "uv"])
      : created;
  });
  if (made.code === 0) return join(venv, "bin");
  // Debian's python3 has no ensurepip unless python3-venv is installed, but may have pip.
  say("$ python3 -m pip install --target .cache/tools/uv-target uv");
  const fallback = await create(target, (directory) =>
    run(["python3", "-m", "pip", "install", "--quiet", "--target", directory, "uv"]),
  );
  if (fallback.code === 0) return join(target, "bin");
  throw new Error(
    `uv could not be installed.\n${made.output.trim()}\n${fallback.output.trim()}\n` +
      "Install uv yourself, or python3 with its venv or pip module (Debian: apt install python3-venv), and check the network.",
  );
}

/** Makes a directory as a whole: others see it complete or not at all, also when two make it at once. */
async function create(directory: string, fill: (temporary: string) => Promise<Finished>): Promise<Finished> {
  mkdirSync(dirname(directory), { recursive: true });
  const temporary = `${directory}.${process.pid}.tmp`;
  const result = await fill(temporary);
  if (result.code === 0) {
    if (!existsSync(join(directory, "bin", "uv"))) rmSync(directory, { recursive: true, force: true });
    try {
      renameSync(temporary, directory);
    } catch {
      // Somebody else was faster, and theirs is as good.
    }
  }
  rmSync(temporary, { recursive: true, force: true });
  return result;
}

async function works(command: readonly [string, ...string[]]): Promise<boolean> {
  return existsSync(command[0]) && (await run(command)).code === 0;
}
