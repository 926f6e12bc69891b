/** The extensions of DuckDB that a lake needs: wheels from PyPI, whose versions and hashes are in lake-extensions.txt. */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { LAKE_EXTENSIONS, lakeExtensionDirectory } from "../../src/native/lake-extensions.ts";
import type { Target } from "./embed.ts";
import { lockedPackages } from "./facts.ts";

const REQUIREMENTS = join(import.meta.dir, "lake-extensions.txt");

/** A wheel that the executable carries a part of. */
export interface Wheel {
  readonly name: string;
  readonly version: string;
}

/** The wheels, as lake-extensions.txt names them. */
export function lakeWheels(): Wheel[] {
  const text = readFileSync(REQUIREMENTS, "utf8");
  return [...text.matchAll(/^([\w-]+)==(\S+)/gm)].map(([, name = "", version = ""]) => ({ name, version }));
}

/**
 * The files of the extensions for a platform, fetched on the first call and kept in the cache, where the sources find them too.
 * @throws Error when they cannot be had, do not have the hashes that they should, or are for another version of DuckDB
 */
export function lakeExtensionFiles(target: Target): string[] {
  const version = duckdbVersion();
  for (const wheel of lakeWheels()) {
    if (wheel.version !== version)
      throw new Error(
        `${REQUIREMENTS} has ${wheel.name} ${wheel.version}, but DuckDB is ${version}: raise them together.`,
      );
  }
  const directory = lakeExtensionDirectory(version, target.slice("linux-".length));
  const files = LAKE_EXTENSIONS.map((name) => join(directory, `${name}.duckdb_extension`));
  if (!files.every((file) => existsSync(file))) fetchInto(directory, version, target);
  return files;
}

/** The version of DuckDB: the npm package counts its own releases, and 1.5.5-r.5 carries DuckDB 1.5.5. */
export function duckdbVersion(): string {
  return lockedPackages()["@duckdb/node-api"]?.version.split("-")[0] ?? "";
}

function fetchInto(directory: string, version: string, target: Target): void {
  console.error(`fetching the extensions of DuckDB ${version} for ${target} from PyPI`);
  const staging = `${directory}.${process.pid}`;
  rmSync(staging, { recursive: true, force: true });
  mkdirSync(join(staging, "files"), { recursive: true });
  pip(staging, target);
  for (const name of LAKE_EXTENSIONS) {
    const file = `${name}.duckdb_extension`;
    renameSync(
      join(staging, "wheels", `duckdb_extension_${name}`, "extensions", `v${version}`, file),
      join(staging, "files", file),
    );
  }
  try {
    rmSync(directory, { recursive: true, force: true });
    renameSync(join(staging, "files"), directory);
  } catch (error) {
    // Somebody else may have been as quick.
    if (!existsSync(directory)) throw error;
  }
  rmSync(staging, { recursive: true, force: true });
}

/** Unpacks the wheels of a platform, which need not be this one. */
function pip(staging: string, target: Target): void {
  const wheels = join(staging, "wheels");
  const platform = `manylinux2014_${target === "linux-arm64" ? "aarch64" : "x86_64"}`;
  const result = Bun.spawnSync(
    [
      ...["python3", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input"],
      ...["--target", wheels, "--platform", platform, "--only-binary", ":all:", "--no-deps", "--no-compile"],
      ...["--require-hashes", "--requirement", REQUIREMENTS],
    ],
    { stdout: "pipe", stderr: "pipe" },
  );
  if (result.exitCode === 0) return;
  rmSync(staging, { recursive: true, force: true });
  throw new Error(
    `pip could not fetch the extensions of DuckDB for ${target}:\n${result.stderr.toString().trim()}\n` +
      "The build needs python3 with pip (Debian: apt install python3-pip) and PyPI, or a mirror of it (PIP_INDEX_URL). " +
      "'npm run build -- --without-lake' makes an executable that cannot keep its history in a lake.",
  );
}
