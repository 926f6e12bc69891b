/** What an executable is made of: each part with its license, and the license's text. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import packageJson from "../../package.json" with { type: "json" };
import { ROOT } from "../support/paths.ts";
import { lockedPackages } from "./facts.ts";
import { duckdbVersion, lakeWheels, type Wheel } from "./lake-extensions.ts";

/** A part of the executable. */
export interface Part {
  readonly name: string;
  /** Undefined where the part that carries it does not tell. */
  readonly version?: string;
  /** An expression of SPDX where there is one that says it, else words. */
  readonly license: string;
  /** https://github.com/package-url/purl-spec; undefined for what is only a part of a part. */
  readonly purl?: string;
  /** Subresource integrity of the package it came in, as package-lock.json has it: `sha512-…`. */
  readonly integrity?: string;
  /** The texts of its licenses, or where they are. */
  readonly text: string;
  /** What it carries itself. */
  readonly parts?: readonly Part[];
}

/** Namespaces of DuckDB's `third_party` directory that the symbols of libduckdb.so show, with their licenses. */
const IN_DUCKDB: Readonly<Record<string, string>> = {
  adbc: "Apache-2.0",
  "apache thrift": "Apache-2.0",
  brotli: "MIT",
  fast_float: "MIT",
  fastpforlib: "Apache-2.0",
  fmt: "MIT",
  fsst: "MIT",
  hyperloglog: "BSD-3-Clause",
  httplib: "MIT",
  icu: "Unicode-3.0",
  jaro_winkler: "MIT",
  libpg_query: "BSD-3-Clause AND PostgreSQL",
  lz4: "BSD-2-Clause",
  mbedtls: "Apache-2.0",
  miniz: "MIT",
  moodycamel: "BSD-2-Clause",
  nanoarrow: "Apache-2.0",
  parquet: "Apache-2.0",
  pcg: "Apache-2.0 OR MIT",
  pdqsort: "Zlib",
  re2: "BSD-3-Clause",
  ska_sort: "BSL-1.0",
  skiplist: "MIT",
  snappy: "BSD-3-Clause",
  tdigest: "Apache-2.0",
  utf8proc: "MIT",
  vergesort: "MIT",
  yyjson: "MIT",
  zstd: "BSD-3-Clause",
};

const LIBSODIUM = `ISC License

Copyright (c) 2013-2024
Frank Denis <j at pureftpd dot org>

Permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby granted, provided that
the above copyright notice and this permission notice appear in all copies.

THE SOFTWARE IS PROVIDED "AS IS" AND THE AUTHOR DISCLAIMS ALL WARRANTIES WITH REGARD TO THIS SOFTWARE INCLUDING ALL IMPLIED WARRANTIES OF
MERCHANTABILITY AND FITNESS. IN NO EVENT SHALL THE AUTHOR BE LIABLE FOR ANY SPECIAL, DIRECT, INDIRECT, OR CONSEQUENTIAL DAMAGES OR ANY
DAMAGES WHATSOEVER RESULTING FROM LOSS OF USE, DATA OR PROFITS, WHETHER IN AN ACTION OF CONTRACT, NEGLIGENCE OR OTHER TORTIOUS ACTION,
ARISING OUT OF OR IN CONNECTION WITH THE USE OR PERFORMANCE OF THIS SOFTWARE.`;

/** What DuckDB's extensions link, as their symbols and texts show, with its licenses; each carries parts of DuckDB itself too. */
const IN_EXTENSIONS: Readonly<Record<string, Readonly<Record<string, string>>>> = {
  "duckdb-extension-ducklake": { CRoaring: "Apache-2.0 OR MIT" },
  "duckdb-extension-httpfs": { curl: "curl", OpenSSL: "Apache-2.0", zlib: "Zlib" },
  "duckdb-extension-postgres-scanner": { libpq: "PostgreSQL", OpenSSL: "Apache-2.0" },
};

/**
 * The parts of an executable, those that are no packages of npm first.
 * @param packages npm packages of which something is in the bundle
 * @param target `linux-x64` or `linux-arm64`
 * @throws Error when one has no license
 */
export function partsOf(packages: readonly string[], target: string): Part[] {
  const bindings = packagePart(`@duckdb/node-bindings-${target}`, "@duckdb/node-bindings");
  const duckdb = duckdbVersion();
  return [
    bun(),
    {
      name: "libzmq",
      version: "4.3.5",
      license: "MPL-2.0",
      purl: "pkg:github/zeromq/libzmq@v4.3.5",
      text: `In libzmq.so, unchanged, as the package zeromq has it. Its source: https://github.com/zeromq/libzmq/releases/tag/v4.3.5

${licenseText("MPL-2.0")}`,
    },
    {
      name: "libsodium",
      license: "ISC",
      purl: "pkg:github/jedisct1/libsodium",
      text: `In libzmq.so. Its source: https://github.com/jedisct1/libsodium\n\n${LIBSODIUM}`,
    },
    {
      name: "DuckDB",
      version: duckdb,
      license: "MIT",
      purl: `pkg:github/duckdb/duckdb@v${duckdb}`,
      text: `In libduckdb.so. Its license is with the package ${bindings.name} below; it carries parts of others, whose licenses are in
https://github.com/duckdb/duckdb/tree/v${duckdb}/third_party`,
      parts: inner(IN_DUCKDB),
    },
    ...lakeWheels().map(extension),
    packagePart("zeromq"),
    packagePart("node-addon-api"),
    bindings,
    ...packages.map((name) => packagePart(name)),
  ];
}

/** An extension of DuckDB: its makers put it under the license of DuckDB, and others into a wheel. */
function extension({ name, version }: Wheel): Part {
  const linked = IN_EXTENSIONS[name];
  if (linked === undefined) throw new Error(`what ${name} links, parts.ts does not say`);
  const texts = ["curl", "PostgreSQL"].filter((id) => Object.values(linked).includes(id)).map(licenseText);
  return {
    name,
    version,
    license: "MIT",
    purl: `pkg:pypi/${name}@${version}`,
    text: [
      `An extension of DuckDB, unchanged, as the package has it. Its makers, the Stichting DuckDB Foundation and DuckDB Labs, publish it
under DuckDB's license, which is with the package @duckdb/node-api below. The license of OpenSSL, Apache-2.0, is with Bun above.`,
      ...texts,
    ].join("\n\n"),
    parts: inner(linked),
  };
}

function inner(licenses: Readonly<Record<string, string>>): Part[] {
  return Object.entries(licenses).map(([name, license]) => ({ name, license, text: "" }));
}

/** @param textOf the package whose text counts, for one that is not installed here */
function packagePart(name: string, textOf = name): Part {
  const locked = lockedPackages()[name];
  if (locked?.license === undefined) throw new Error(`package-lock.json has no ${name}, or no license of it`);
  const { version, license, integrity } = locked;
  const text = licenseTexts(join(ROOT, "node_modules", textOf));
  return {
    name,
    version,
    license,
    purl: `pkg:npm/${name.replace("@", "%40")}@${version}`,
    ...(integrity === undefined ? {} : { integrity }),
    text: text || "The package has no text of its license; its package.json names it.",
  };
}

function licenseTexts(directory: string): string {
  if (!existsSync(directory)) return "";
  return readdirSync(directory)
    .filter((file) => /^(licen[cs]e|copying|notice)/i.test(file))
    .sort()
    .map((file) => readFileSync(join(directory, file), "utf8").replaceAll("\r", "").trim())
    .join("\n\n");
}

/** The runtime: its page about licenses comes with its types, and names what it links. */
function bun(): Part {
  const version = packageJson.devDependencies.bun;
  const page = readFileSync(join(ROOT, "node_modules/bun-types/docs/project/license.mdx"), "utf8").replace(
    /^---\n.*?\n---\n/s,
    "",
  );
  const parts = [...page.matchAll(/^\| (.+?) +\| (.+?) +\|$/gm)]
    .map(([, name = "", license = ""]): Part => ({ name: plain(name), license: plain(license), text: "" }))
    .filter(({ name }) => !/^(Library|Package|-+)$/.test(name) && !name.includes("on Windows)"));
  if (parts.length < 20)
    throw new Error("Bun's page about licenses is written in another way: look at parts.ts");
  const texts = ["LGPL-2.0", "LGPL-2.1", "Apache-2.0"].map(licenseText);
  return {
    name: "Bun",
    version,
    license: "MIT",
    purl: `pkg:github/oven-sh/bun@bun-v${version}`,
    text: `The runtime, unchanged. It says of itself:\n\n${page.trim()}\n\n${texts.join("\n\n")}`,
    parts: [{ name: "JavaScriptCore and WebCore (WebKit)", license: "LGPL-2.0-only", text: "" }, ...parts],
  };
}

/** The text of a license that its users must get, and that comes with no package. */
function licenseText(id: string): string {
  return `--- ${id} ---\n\n${readFileSync(join(import.meta.dir, "licenses", `${id}.txt`), "utf8")}`;
}

/** The text of a cell of a Markdown table. */
function plain(cell: string): string {
  return cell
    .replace(/\[([^\]]*)\]\([^)]*\)/g, "$1")
    .replaceAll("`", "")
    .trim();
}
