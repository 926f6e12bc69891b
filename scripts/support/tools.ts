/**
 * Tools from PyPI: uv, which runs Python tasks, and the packages with which tests look at cdktr from outside.
 * Nothing of it has to be on the machine before, except python3.
 */
import { existsSync, mkdirSync, renameSync, rmSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { TOOLS } from "./paths.ts";
import { type Finished, run } from "./run.ts";

/** What foreign peers are made of: a ZeroMQ and a DuckDB that are not ours. */
const TEST_PACKAGES = ["pyzmq>=26", "duckdb>=1.5"];

/**
 * Directory of a `uv` that works: the one on the PATH, or one installed from PyPI below `.cache/tools`.
 * @throws Error with what to do when there is none and it cannot be installed
 */
export async function ensureUv(say: (line: string) => void = console.log): Promise<string> {
  const present = Bun.which("uv");
  if (present !== null && (await works([present, "--version"]))) return dirname(present);
  for (const directory of [join(TOOLS, "uv", "bin"), join(TOOLS, "uv-target", "bin")]) {
    if (await works([join(directory, "uv"), "--version"])) return directory;
  }
  const venv = join(TOOLS, "uv");
  say("$ python3 -m venv .cache/tools/uv && .cache/tools/uv/bin/pip install uv");
  const made = await create(venv, async (directory) => {
    const created = await run(["python3", "-m", "venv", directory]);
    // Not `bin/pip`: its first line names the directory, which gets its final name only afterwards.
    return created.code === 0
      ? await run([join(directory, "bin", "python"), "-m", "pip", "install", "--quiet", "uv"])
      : created;
  });
  if (made.code === 0) return join(venv, "bin");
  const target = join(TOOLS, "uv-target");
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

/**
 * Path of a Python that has pyzmq and duckdb.
 * @throws Error when they cannot be installed
 */
export async function ensurePython(say: (line: string) => void = console.log): Promise<string> {
  const venv = join(TOOLS, "python");
  const python = join(venv, "bin", "python");
  if (await works([python, "-c", "import zmq, duckdb"])) return python;
  const uv = join(await ensureUv(say), "uv");
  say(`$ uv venv .cache/tools/python && uv pip install ${TEST_PACKAGES.join(" ")}`);
  const made = await create(venv, async (directory) => {
    const created = await run([uv, "venv", "--quiet", directory]);
    return created.code === 0
      ? await run([
          uv,
          "pip",
          "install",
          "--quiet",
          "--python",
          join(directory, "bin", "python"),
          ...TEST_PACKAGES,
        ])
      : created;
  });
  if (made.code === 0) return python;
  throw new Error(`${TEST_PACKAGES.join(", ")} could not be installed from PyPI:\n${made.output.trim()}`);
}

/** `environment` with uv on the PATH and, in CDKTR_TEST_PYTHON, the Python that has pyzmq and duckdb. */
export async function toolsEnvironment(
  environment: Record<string, string | undefined>,
): Promise<Record<string, string | undefined>> {
  const uv = await ensureUv();
  const python = await ensurePython();
  return {
    ...environment,
    PATH: `${uv}${delimiter}${environment.PATH ?? ""}`,
    CDKTR_TEST_PYTHON: python,
  };
}

/** Makes a directory as a whole: others see it complete or not at all, also when two make it at once. */
async function create(directory: string, fill: (temporary: string) => Promise<Finished>): Promise<Finished> {
  mkdirSync(dirname(directory), { recursive: true });
  const temporary = `${directory}.${process.pid}.tmp`;
  rmSync(temporary, { recursive: true, force: true });
  const result = await fill(temporary);
  if (result.code === 0) {
    rmSync(directory, { recursive: true, force: true });
    renameSync(temporary, directory);
  } else {
    rmSync(temporary, { recursive: true, force: true });
  }
  return result;
}

async function works(command: readonly [string, ...string[]]): Promise<boolean> {
  return existsSync(command[0]) && (await run(command)).code === 0;
}
