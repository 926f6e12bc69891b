/** Executables built from these sources that simulate other versions of cdktr. */
import { mkdirSync, readdirSync, readFileSync, rmSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { BUN, ROOT } from "../../scripts/support/paths.ts";
import { run } from "../../scripts/support/run.ts";

const BUILDS = join(ROOT, ".cache", "upgrade-builds");
/** Builds that were not used for this long are removed, ms. */
const UNUSED_MS = 1_800_000;

/** A hash of the sources of the builds. */
function sourcesDigest(): string {
  const hash = new Bun.CryptoHasher("sha256");
  for (const directory of ["src", "scripts/build"]) {
    const files = readdirSync(join(ROOT, directory), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && !entry.parentPath.includes("__pycache__"))
      .map((entry) => join(entry.parentPath, entry.name))
      .sort();
    for (const file of files) hash.update(file.slice(ROOT.length)).update(readFileSync(file));
  }
  return hash
    .update(readFileSync(join(ROOT, "scripts/build.ts")))
    .update(readFileSync(join(ROOT, "package-lock.json")))
    .digest("hex")
    .slice(0, 16);
}

const sources = sourcesDigest();

/** Makes the file $0 with the command that follows, as a whole, unless it is there. */
const MAKE = '[ -e "$0" ] || { "$@" --outfile "$0.new" && mv "$0.new" "$0"; }';

/**
 * The path of an executable that says it is cdktr `version` and speaks the protocols `oldest` to `protocol`. It is made once for
 * these sources, also when two test files want it at once.
 */
export async function build(version: string, protocol: number, oldest: number): Promise<string> {
  mkdirSync(BUILDS, { recursive: true });
  for (const name of readdirSync(BUILDS)) {
    const path = join(BUILDS, name);
    if (!name.startsWith(sources) && Date.now() - Bun.file(path).lastModified > UNUSED_MS)
      rmSync(path, { force: true });
  }
  const path = join(BUILDS, `${sources}-${version}-${protocol}-${oldest}`);
  const build = [BUN, "scripts/build.ts", "--as", `${version}:${protocol}:${oldest}`];
  const { code, output } = await run(["flock", `${path}.lock`, "sh", "-c", MAKE, path, ...build], {
    cwd: ROOT,
  });
  if (code !== 0) throw new Error(`cdktr ${version} could not be built:\n${output}`);
  utimesSync(path, new Date(), new Date());
  return path;
}
