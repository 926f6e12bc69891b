/** Locates the extensions of DuckDB with which the history can be in a lake. */
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { loadConfig } from "../config.ts";
import { EMBEDDED } from "./embedded.ts";
import { NativeCacheError, unpack } from "./unpack.ts";

/** The extensions, in the order in which they are loaded. */
export const LAKE_EXTENSIONS = ["httpfs", "postgres_scanner", "ducklake"] as const;

/**
 * The files of the extensions, for `LOAD`: in a source checkout those that the build fetched; in the executable files in the
 * private cache (`CDKTR_CACHE_DIRECTORY`), unpacked and verified. Only who has a lake pays for that: 100 MB.
 * @param withS3 whether the one for S3 is among them
 * @throws NativeCacheError when the cache cannot be written, or there are no extensions
 */
export function lakeExtensionPaths(withS3: boolean): string[] {
  const directory =
    EMBEDDED === null
      ? builtDirectory()
      : unpack(embedded(), "lake", loadConfig().values.CDKTR_CACHE_DIRECTORY);
  return LAKE_EXTENSIONS.filter((name) => withS3 || name !== "httpfs").map((name) =>
    join(directory, `${name}.duckdb_extension`),
  );
}

/**
 * Where the build of a source checkout keeps the extensions.
 * @param version of DuckDB
 * @param arch as `process.arch` has it
 */
export function lakeExtensionDirectory(version: string, arch: string): string {
  return join(import.meta.dir, "../../.cache/native", `duckdb-${version}-extensions-${arch}`);
}

function embedded() {
  const files = EMBEDDED?.lake ?? [];
  if (files.length > 0) return files;
  throw new NativeCacheError(
    "This executable was built without the extensions of DuckDB that a lake needs (--without-lake).",
    { hint: "Use an executable of a release, or build one without that option: npm run build." },
  );
}

function builtDirectory(): string {
  const { version } = JSON.parse(
    readFileSync(Bun.resolveSync("@duckdb/node-api/package.json", import.meta.dir), "utf8"),
  ) as { version: string };
  const directory = lakeExtensionDirectory(version.split("-")[0] ?? "", process.arch);
  if (existsSync(directory)) return directory;
  throw new NativeCacheError(`The extensions of DuckDB are not in ${directory}.`, {
    hint: "'npm run build' fetches them from PyPI.",
  });
}
