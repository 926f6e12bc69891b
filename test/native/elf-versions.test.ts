import { describe, expect, test } from "bun:test";
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { newest } from "../../src/doctor/library-check.ts";
import { definedVersions, neededVersions } from "../../src/native/elf-versions.ts";
import { pythonWith } from "../support/python.ts";

const ROOT = join(import.meta.dir, "../..");
const zmq = (arch: string) =>
  join(ROOT, `node_modules/zeromq/build/linux/${arch}/node/glibc-127-Release/addon.node`);
const duckdb = join(ROOT, `node_modules/@duckdb/node-bindings-linux-${process.arch}/libduckdb.so`);
const LIBRARIES = [zmq("x64"), zmq("arm64"), duckdb];

/** Another reader of ELF files: what the library needs, and what it defines. */
const READ = `
import json, sys
from elftools.elf.elffile import ELFFile
from elftools.elf.gnuversions import GNUVerNeedSection, GNUVerDefSection
with open(sys.argv[1], "rb") as file:
    needed, defined = {}, set()
    for section in ELFFile(file).iter_sections():
        if isinstance(section, GNUVerNeedSection):
            for version, entries in section.iter_versions():
                needed.setdefault(version.name, set()).update(e.name for e in entries if not e["vna_flags"] & 2)
        if isinstance(section, GNUVerDefSection):
            for version, entries in section.iter_versions():
                defined.add(next(entries).name)
print(json.dumps([{name: sorted(versions) for name, versions in needed.items()}, sorted(defined)]))
`;

async function readElsewhere(path: string): Promise<[Record<string, string[]>, string[]]> {
  const python = await pythonWith(["pyelftools==0.32"]);
  const child = Bun.spawn([python, "-c", READ, path], { stdout: "pipe", stderr: "inherit" });
  const text = await new Response(child.stdout).text();
  return JSON.parse(text);
}

const sorted = (names: Iterable<string>) => [...names].sort();

describe("the versions of symbols in ELF files", () => {
  for (const path of LIBRARIES) {
    test(`of ${path.slice(ROOT.length + 1)}: as another reader sees them`, async () => {
      const bytes = readFileSync(path);
      const [needed, defined] = await readElsewhere(path);
      const own = Object.fromEntries(
        [...neededVersions(bytes)].map(([file, names]) => [file, sorted(names)]),
      );
      expect(own).toEqual(needed);
      expect(sorted(definedVersions(bytes))).toEqual(defined);
      expect(own["libc.so.6"]?.length).toBeGreaterThan(1);
    });
  }

  test("of the host's own libstdc++, which defines many", async () => {
    const directory = [
      "/usr/lib/x86_64-linux-gnu",
      "/usr/lib/aarch64-linux-gnu",
      "/usr/lib64",
      "/usr/lib",
    ].find((each) =>
      readdirSync(each, { withFileTypes: true }).some(({ name }) => name === "libstdc++.so.6"),
    );
    const path = `${directory}/libstdc++.so.6`;
    const [, defined] = await readElsewhere(path);
    expect(defined).toContain("GLIBCXX_3.4.22");
    expect(sorted(definedVersions(readFileSync(path)))).toEqual(defined);
  });

  test("other files are refused, complete or truncated", () => {
    expect(() => neededVersions(Buffer.from("#!/bin/sh\n"))).toThrow(RangeError);
    expect(() => neededVersions(readFileSync(zmq("x64")).subarray(0, 5000))).toThrow(RangeError);
  });
});

test("README and manual name the oldest glibc and libstdc++ with which everything that is carried works", () => {
  const names = LIBRARIES.flatMap((path) =>
    [...neededVersions(readFileSync(path)).values()].flatMap((set) => [...set]),
  );
  const oldest = (prefix: string) =>
    newest(names.filter((name) => name.startsWith(prefix)).map((name) => name.slice(prefix.length)));
  const [glibc, glibcxx, cxxabi] = [oldest("GLIBC_"), oldest("GLIBCXX_"), oldest("CXXABI_")];
  // CXXABI_1.3.11 came with GCC 7: https://gcc.gnu.org/onlinedocs/libstdc++/manual/abi.html
  expect({ glibc, glibcxx, cxxabi }).toEqual({ glibc: "2.25", glibcxx: "3.4.22", cxxabi: "1.3.11" });
  for (const page of ["README.md", "src/docs/operations.md"]) {
    const text = readFileSync(join(ROOT, page), "utf8");
    expect(text).toContain(`glibc ${glibc} or newer`);
    expect(text).toContain("libstdc++ 6 (GCC 7 or newer)");
  }
});
