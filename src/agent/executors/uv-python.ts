import { readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import type { UvPythonConfig } from "../../workflow/kinds/uv-python.ts";
import { CannotStartError, type ExecutionContext, type Executor } from "./executor.ts";
import { checkDirectory, expandHome, kindOf, workingDirectory } from "./paths.ts";

const GET_UV = "pip install uv, or see https://docs.astral.sh/uv/getting-started/installation/";

/** Where uv's own installers put it, below the home directory: often not in the PATH of a service. */
const USUAL_PLACES = [".local/bin/uv", ".cargo/bin/uv"];

/** The start of inline metadata (PEP 723) at the beginning of a line. */
const INLINE_METADATA = /^# \/\/\/ script\s*$/m;

/**
 * `!UvPython`: `uv run --with PKG… SCRIPT ARGS…`. A script outside a uv project is isolated from any project that happens to be in a
 * parent directory (`--no-project`): otherwise uv would install that project and write into its directory.
 */
export const uvPython: Executor<UvPythonConfig> = {
  script: ({ script }) => (script === undefined ? null : { text: script, ending: ".py", isAmongFiles: true }),
  startsInRunDirectory: ({ script }) => script !== undefined,
  touches(config, context) {
    const { environment } = context;
    const cwd = workingDirectory(config.working_directory, context);
    const script = context.script ?? resolve(cwd, expandHome(config.script_path, environment));
    const usual = USUAL_PLACES.map((place) => join(environment.HOME || "/", place));
    const projects = config.is_uv_project ? [] : projectFilesAround(cwd);
    return [cwd, script, expandHome(config.uv_path ?? "uv", environment), ...usual, ...projects];
  },
  command(config, context) {
    const cwd = workingDirectory(config.working_directory, context);
    checkDirectory(cwd);
    const script = context.script ?? expandHome(config.script_path, context.environment);
    const path = resolve(cwd, script);
    const kind = kindOf(path);
    if (kind !== "file") {
      throw new CannotStartError(
        kind === "directory"
          ? `The script ${path} is a directory.`
          : kind === "missing"
            ? `The script ${path} does not exist.`
            : kind === "special"
              ? `The script ${path} is not a regular file.`
              : `The script ${path} cannot be read: permission denied.`,
        { hint: "script_path is relative to the working directory of the task." },
      );
    }
    const uv = findUv(config.uv_path, cwd, context);
    const options = config.packages.flatMap((requirement) => ["--with", requirement]);
    if (
      !config.is_uv_project &&
      projectFilesAround(cwd).some((file) => kindOf(file) === "file") &&
      !hasInlineMetadata(path)
    )
      options.unshift("--no-project");
    if (config.python !== undefined) options.unshift(`--python=${config.python}`);
    // uv treats a name that does not end in .py as a command.
    if (!/\.pyw?$/.test(script)) options.push("--script");
    return {
      argv: [uv, "run", ...options, script.startsWith("-") ? `./${script}` : script, ...config.args],
      cwd,
      env: { PYTHONUNBUFFERED: "1", UV_NO_PROGRESS: "1", ...context.environment },
    };
  },
};

function findUv(configured: string | null, cwd: string, context: ExecutionContext): string {
  const { environment } = context;
  if (configured?.includes("/")) {
    const path = resolve(cwd, expandHome(configured, environment));
    const kind = kindOf(path);
    if (kind === "file") return path;
    throw new CannotStartError(
      kind === "directory" ? `uv_path is a directory: ${path}.` : `uv_path does not exist: ${path}.`,
      { hint: `Correct uv_path, or omit it to search the PATH. To get uv: ${GET_UV}` },
    );
  }
  const name = configured ?? "uv";
  const found =
    configured === null ? uvOfHost(environment, cwd) : Bun.which(name, { PATH: environment.PATH ?? "", cwd });
  if (found !== null) return found;
  throw new CannotStartError(
    `"${name}" was not found in ${environment.PATH || "(PATH is empty)"} or in ~/.local/bin.`,
    { hint: `To get uv: ${GET_UV}. Or set uv_path to its location.` },
  );
}

/** The default uv: from PATH, or where its installers put it. */
export function uvOfHost(
  environment: Readonly<Record<string, string | undefined>>,
  cwd: string,
): string | null {
  const found = Bun.which("uv", { PATH: environment.PATH ?? "", cwd });
  if (found !== null || !environment.HOME) return found;
  const usual = USUAL_PLACES.map((place) => join(environment.HOME ?? "", place));
  return usual.find((path) => kindOf(path) === "file") ?? null;
}

/** Where uv would look for a project: pyproject.toml in the working directory, then in each directory above it. */
function projectFilesAround(cwd: string): string[] {
  const files: string[] = [];
  for (let at = cwd; ; at = dirname(at)) {
    files.push(join(at, "pyproject.toml"));
    if (dirname(at) === at) return files;
  }
}

function hasInlineMetadata(script: string): boolean {
  try {
    return INLINE_METADATA.test(readFileSync(script, "utf8"));
  } catch {
    return false;
  }
}
