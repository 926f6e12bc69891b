import { createHash } from "node:crypto";
import { join } from "node:path";

/** The version of pyzmq for tests; a single one, so that all share one environment. */
export const PYZMQ = "pyzmq==27.3.0";

/** The definitions of OTLP, as OpenTelemetry publishes them. */
export const OTLP_PYTHON = ["opentelemetry-proto==1.45.2"];

/** Cache directory that persists between test runs. */
const CACHE = join(import.meta.dir, "../../.cache");

/**
 * Makes the environment in `argv[1]` with the packages that follow. The lock is the kernel's, so it ends with its
 * process however that ends, and a half-made environment is made again.
 */
const MAKE = `
import fcntl, os, shutil, subprocess, sys
target, packages = sys.argv[1], sys.argv[2:]
python, marker = os.path.join(target, "bin", "python"), os.path.join(target, "complete")
pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"]
os.makedirs(os.path.dirname(target), exist_ok=True)
with open(target + ".lock", "w") as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    if os.path.exists(marker):
        sys.exit(0)
    shutil.rmtree(target, ignore_errors=True)
    # The pip of the host installs into it: a pip of its own would take four seconds of a processor.
    here = [sys.executable, "-m", "pip", "--python", python, *pip[2:], "--no-compile"]
    bare = subprocess.run([sys.executable, "-m", "venv", "--without-pip", target], capture_output=True)
    if bare.returncode == 0 and subprocess.run([*here, *packages], capture_output=True).returncode == 0:
        open(marker, "w").close()
        sys.exit(0)
    # Hosts whose pip is older than 22.3, or is none.
    shutil.rmtree(target, ignore_errors=True)
    made = subprocess.run([sys.executable, "-m", "venv", target], capture_output=True, text=True)
    if made.returncode == 0:
        subprocess.run([python, *pip, *packages], check=True)
    else:
        # Hosts without ensurepip: a folder of packages and a python that knows it.
        shutil.rmtree(target, ignore_errors=True)
        site = os.path.join(target, "site")
        os.makedirs(os.path.join(target, "bin"))
        subprocess.run([sys.executable, *pip, "--target", site, *packages], check=True)
        with open(python, "w") as wrapper:
            wrapper.write('#!/bin/sh\\nPYTHONPATH="%s" exec "%s" "$@"\\n' % (site, sys.executable))
        os.chmod(python, 0o755)
        scripts = os.path.join(site, "bin")
        for name in os.listdir(scripts) if os.path.isdir(scripts) else []:
            os.symlink(os.path.join(scripts, name), os.path.join(target, "bin", name))
    open(marker, "w").close()
`;

const environments = new Map<string, Promise<string>>();

/**
 * The path of a Python that has the packages (`["pyzmq==27.1.0"]`), in an environment that is made once and kept in
 * `.cache`; the programs of the packages are beside it. Safe when several processes ask at once.
 */
export function pythonWith(packages: string[]): Promise<string> {
  const wanted = [...packages].sort();
  const hash = createHash("sha256").update(JSON.stringify(wanted)).digest("hex").slice(0, 12);
  const made = environments.get(hash) ?? make(join(CACHE, `venv-${hash}`), wanted);
  environments.set(hash, made);
  return made;
}

/** The words with which pip is called for a Python of {@link pythonWith}: its own one, or the host's. */
export async function pipOf(python: string): Promise<string[]> {
  const own = Bun.spawn([python, "-c", "import pip"], { stdout: "ignore", stderr: "ignore" });
  return [(await own.exited) === 0 ? python : "python3", "-m", "pip"];
}

async function make(target: string, packages: string[]): Promise<string> {
  if (!(await Bun.file(join(target, "complete")).exists())) {
    const maker = Bun.spawn(["python3", "-c", MAKE, target, ...packages], { stdout: "pipe", stderr: "pipe" });
    const [status, out, err] = await Promise.all([
      maker.exited,
      new Response(maker.stdout).text(),
      new Response(maker.stderr).text(),
    ]);
    if (status !== 0) throw new Error(`no Python with ${packages.join(", ")}:\n${out}${err}`);
  }
  return join(target, "bin", "python");
}
