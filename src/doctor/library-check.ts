/** The C and C++ libraries of the host, against what the libraries that cdktr carries were linked with. */
import { dlopen } from "bun:ffi";
import { readFileSync } from "node:fs";
import { errorMessage } from "../errors.ts";
import { type NativeLibrary, nativeLibraryPath } from "../native/libraries.ts";
import { type Finding, failure, ok } from "./finding.ts";

const LIBRARIES: readonly NativeLibrary[] = ["libzmq", "libduckdb"];

/** What the host has: `2.36`, `3.4.30`; null when the library is not there. */
export interface HostLibraries {
  readonly glibc: string | null;
  readonly libstdcxx: string | null;
}

/** Looks whether the host's libraries are new enough, and whether what cdktr carries can be loaded. */
export function checkLibraries(host: HostLibraries = hostLibraries()): Finding[] {
  const findings: Finding[] = [];
  let glibcNeeded = "0";
  let libstdcxxNeeded = "0";
  for (const library of LIBRARIES) {
    try {
      const bytes = readFileSync(nativeLibraryPath(library));
      glibcNeeded = newest([glibcNeeded, ...versionsIn(bytes, "GLIBC_")]);
      libstdcxxNeeded = newest([libstdcxxNeeded, ...versionsIn(bytes, "GLIBCXX_")]);
    } catch (error) {
      findings.push(
        failure(
          "libraries",
          errorMessage(error),
          "Set CDKTR_CACHE_DIRECTORY to a directory of this user that can be written and holds 75 MB.",
        ),
      );
    }
  }
  findings.push(compare("glibc", host.glibc, glibcNeeded, "libc6"));
  findings.push(compare("libstdc++", host.libstdcxx, libstdcxxNeeded, "libstdc++6"));
  if (findings.some(({ severity }) => severity === "error")) return findings;
  for (const library of LIBRARIES) {
    const symbol = library === "libzmq" ? "zmq_errno" : "duckdb_library_version";
    try {
      dlopen(nativeLibraryPath(library), { [symbol]: { args: [], returns: "ptr" } });
    } catch (error) {
      findings.push(
        failure(
          "libraries",
          `${library} cannot be loaded: ${errorMessage(error)}`,
          "If the directory is mounted noexec, set CDKTR_CACHE_DIRECTORY to one that is not.",
        ),
      );
    }
  }
  return findings;
}

/** What is installed here. */
export function hostLibraries(): HostLibraries {
  return { glibc: glibcVersion(), libstdcxx: libstdcxxVersion() };
}

function compare(check: string, have: string | null, needed: string, debianPackage: string): Finding {
  if (have === null) {
    return failure(
      check,
      `${check} was not found.`,
      `Install it (Debian, Ubuntu: apt-get install ${debianPackage}). Alpine and other musl systems are not supported.`,
    );
  }
  const needs = needed === "0" ? "" : ` (${needed} is needed)`;
  if (newest([have, needed]) === have) return ok(check, `${check} ${have}${needs}`);
  return failure(
    check,
    `${check} ${have} is too old: ${needed} is needed.`,
    "Run cdktr on a newer release of the distribution, or in a container of one (debian:12 is new enough).",
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

/** libstdc++ names no version of its own: the newest set of symbols that it defines counts. */
function libstdcxxVersion(): string | null {
  try {
    dlopen("libstdc++.so.6", { __cxa_demangle: { args: ["ptr", "ptr", "ptr", "ptr"], returns: "ptr" } });
    const path = /\S*\/libstdc\+\+\.so\.6\S*$/m.exec(readFileSync("/proc/self/maps", "utf8"))?.[0];
    if (path === undefined) return null;
    return newest(versionsIn(readFileSync(path), "GLIBCXX_"));
  } catch {
    return null;
  }
}

/** The versions of symbols that a shared library names. */
function versionsIn(bytes: Buffer, prefix: "GLIBC_" | "GLIBCXX_"): string[] {
  const found = new Set<string>();
  for (let at = bytes.indexOf(prefix); at !== -1; at = bytes.indexOf(prefix, at + prefix.length)) {
    const text = bytes.toString("latin1", at + prefix.length, at + prefix.length + 12);
    const version = /^\d+(\.\d+)+/.exec(text)?.[0];
    if (version !== undefined) found.add(version);
  }
  return [...found];
}

/** The highest of dotted versions. */
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
