/** Compares the host's C and C++ libraries with what the bundled libraries were linked with. */
import { dlopen } from "bun:ffi";
import { readFileSync } from "node:fs";
import { errorMessage } from "../errors.ts";
import { definedVersions, type NeededVersions, neededVersions } from "../native/elf-versions.ts";
import { type NativeLibrary, nativeLibraryPath } from "../native/libraries.ts";
import { type Finding, failure, ok } from "./finding.ts";

const WHY_OLD = "The bundled libraries cannot be loaded, so neither a principal nor an agent can run here.";
const NEW_HOST =
  "Run cdktr on a newer release of the distribution, or in a container with one: Debian 10, Ubuntu 18.04, RHEL 8 or anything newer.";

/** What the host has. */
export interface HostLibraries {
  /** `2.36`; null when there is none. */
  readonly glibc: string | null;
  /** Versions of symbols that libstdc++ offers, such as `GLIBCXX_3.4.30`; null when there is none. */
  readonly libstdcxx: ReadonlySet<string> | null;
}

/**
 * Checks that the host's libraries are new enough, and that the bundled libraries can be loaded.
 * @param libraries those that this host needs: an agent does not use DuckDB
 */
export function checkLibraries(
  libraries: readonly NativeLibrary[],
  host: HostLibraries = hostLibraries(),
): Finding[] {
  const findings: Finding[] = [];
  const needed: NeededVersions[] = [];
  for (const library of libraries) {
    try {
      needed.push(neededVersions(readFileSync(nativeLibraryPath(library))));
    } catch (error) {
      findings.push(
        failure(
          "libraries",
          `${library} cannot be unpacked: ${errorMessage(error)}`,
          "Without it no principal can be contacted.",
          "Set CDKTR_CACHE_DIRECTORY to a directory that this user can write and that has 75 MB of free space.",
        ),
      );
    }
  }
  findings.push(judgeGlibc(host.glibc, needed), judgeLibstdcxx(host.libstdcxx, needed));
  if (findings.some(({ severity }) => severity === "error")) return findings;
  for (const library of libraries) {
    const symbol = library === "libzmq" ? "zmq_errno" : "duckdb_library_version";
    try {
      dlopen(nativeLibraryPath(library), { [symbol]: { args: [], returns: "ptr" } });
    } catch (error) {
      findings.push(
        failure(
          "libraries",
          `${library} cannot be loaded: ${errorMessage(error)}`,
          "Its file is in CDKTR_CACHE_DIRECTORY; libraries cannot be loaded from a directory that is mounted noexec.",
          "Set CDKTR_CACHE_DIRECTORY to a directory that is not mounted noexec (findmnt -T shows the mount options).",
        ),
      );
    }
  }
  return findings;
}

/** The installed versions. */
function hostLibraries(): HostLibraries {
  return { glibc: glibcVersion(), libstdcxx: libstdcxxVersions() };
}

function judgeGlibc(have: string | null, needed: readonly NeededVersions[]): Finding {
  if (have === null) return missing("glibc", "libc6");
  const least = newest(versions(needed, "GLIBC_"));
  if (newest([have, least]) === have) return ok("glibc", `glibc ${have} (${least} is needed)`);
  return failure("glibc", `glibc ${have} is too old: ${least} is needed.`, WHY_OLD, NEW_HOST);
}

function judgeLibstdcxx(have: ReadonlySet<string> | null, needed: readonly NeededVersions[]): Finding {
  if (have === null) return missing("libstdc++", "libstdc++6");
  const wanted = needed.flatMap((files) => [...(files.get("libstdc++.so.6") ?? [])]);
  const lacking = [...new Set(wanted)].filter((version) => !have.has(version));
  const least = newest(versions(needed, "GLIBCXX_"));
  const own = newest(versions([new Map([["", have]])], "GLIBCXX_"));
  if (lacking.length === 0) return ok("libstdc++", `libstdc++ ${own} (${least} is needed)`);
  return failure(
    "libstdc++",
    `libstdc++ ${own} is too old: it lacks ${lacking.sort().join(", ")}.`,
    WHY_OLD,
    NEW_HOST,
  );
}

function missing(check: string, debianPackage: string): Finding {
  return failure(
    check,
    `${check} was not found.`,
    "The bundled libraries need it. Alpine and other musl-based systems are not supported.",
    `Install it. Debian and Ubuntu: sudo apt-get install ${debianPackage}. Fedora and RHEL: sudo dnf install ${check}`,
  );
}

function glibcVersion(): string | null {
  try {
    const { symbols } = dlopen("libc.so.6", { gnu_get_libc_version: { args: [], returns: "cstring" } });
    return String(symbols.gnu_get_libc_version());
  } catch {
    return null;
  }
}

function libstdcxxVersions(): ReadonlySet<string> | null {
  try {
    dlopen("libstdc++.so.6", { __cxa_demangle: { args: ["ptr", "ptr", "ptr", "ptr"], returns: "ptr" } });
    const path = /\S*\/libstdc\+\+\.so\.6\S*$/m.exec(readFileSync("/proc/self/maps", "utf8"))?.[0];
    return path === undefined ? null : definedVersions(readFileSync(path));
  } catch {
    return null;
  }
}

/** The version numbers with a given prefix. */
function versions(needed: readonly NeededVersions[], prefix: "GLIBC_" | "GLIBCXX_"): string[] {
  return needed
    .flatMap((files) => [...files.values()].flatMap((names) => [...names]))
    .filter((name) => name.startsWith(prefix) && /\d$/.test(name))
    .map((name) => name.slice(prefix.length));
}

/** The highest of several dotted versions. */
export function newest(versions: readonly string[]): string {
  return versions.reduce((best, version) => (compareVersions(version, best) > 0 ? version : best), "0");
}

function compareVersions(a: string, b: string): number {
  const [left, right] = [a, b].map((version) => version.split(".").map(Number));
  for (let i = 0; i < 4; i++) {
    const difference = (left?.[i] ?? 0) - (right?.[i] ?? 0);
    if (difference !== 0) return difference;
  }
  return 0;
}
