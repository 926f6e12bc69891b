/** What a build tells about itself: `cdktr version --json`. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { BuildFacts } from "../../src/build-facts.ts";
import { ROOT } from "../support/paths.ts";

/** Packages whose versions somebody who reads a bug report wants to know. */
const LIBRARIES = ["zeromq", "@duckdb/node-api", "terminal-kit", "yaml", "zod"];

/** The facts of a build of the sources as they are now. */
export function buildFacts(target: string): BuildFacts {
  const status = git("status", "--porcelain", "--", "src", "scripts", "package-lock.json");
  return {
    commit: git("rev-parse", "HEAD"),
    modified: status !== null && status !== "",
    commit_time: git("log", "-1", "--format=%cI"),
    target,
    libraries: Object.fromEntries(
      LIBRARIES.map((name) => [name, lockedPackages()[name]?.version ?? "unknown"]),
    ),
  };
}

/** A package of package-lock.json. */
export interface LockedPackage {
  readonly version: string;
  readonly license?: string;
  readonly integrity?: string;
}

/** What package-lock.json names, by package; of one in several versions the version that cdktr itself uses. */
export function lockedPackages(): Record<string, LockedPackage> {
  const lock = JSON.parse(readFileSync(join(ROOT, "package-lock.json"), "utf8")) as {
    packages: Record<string, LockedPackage>;
  };
  const packages = Object.entries(lock.packages).filter(([path]) => path.lastIndexOf("node_modules/") === 0);
  return Object.fromEntries(packages.map(([path, entry]) => [path.replace("node_modules/", ""), entry]));
}

function git(...args: string[]): string | null {
  const result = Bun.spawnSync(["git", ...args], { cwd: ROOT, stdout: "pipe", stderr: "ignore" });
  return result.exitCode === 0 ? result.stdout.toString().trim() : null;
}
