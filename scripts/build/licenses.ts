/** The licenses of everything that is inside the executable, with their texts. */
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import packageJson from "../../package.json" with { type: "json" };
import { ROOT } from "../support/paths.ts";
import { lockedPackages } from "./facts.ts";

const NO_TEXT = "The package has no text of its license; its package.json names it.";

interface Part {
  readonly name: string;
  readonly version: string;
  readonly license: string;
  /** The texts of its licenses, or where they are. */
  readonly text: string;
}

/** What is inside, but is no package of npm of its own. */
const CARRIED: readonly Part[] = [
  {
    name: "Bun",
    version: packageJson.devDependencies.bun,
    license: "MIT; its JavaScriptCore LGPL-2.0-or-later",
    text: "The runtime. Its license and those of what it links: https://bun.com/docs/project/license",
  },
  {
    name: "libzmq",
    version: "4.3.5",
    license: "MPL-2.0",
    text: "Part of the package zeromq, with libsodium (ISC). Source: https://github.com/zeromq/libzmq",
  },
];

/**
 * The list for people: a table, then the texts.
 * @throws Error when a package has no license
 */
export function licenseList(): string {
  const parts = [...CARRIED, ...packages()];
  const width = Math.max(...parts.map(({ name, version }) => name.length + version.length + 1));
  const table = parts.map(
    ({ name, version, license }) => `${`${name} ${version}`.padEnd(width)}  ${license}`,
  );
  const texts = parts.map(
    ({ name, version, text }) => `${"=".repeat(78)}\n${name} ${version}\n\n${text.trim()}\n`,
  );
  return `cdktr ${packageJson.version} is under the MIT license. It carries, or was built from:\n\n${table.join("\n")}\n\n${texts.join("\n")}`;
}

/** The packages that a build may take something from: the runtime dependencies, and theirs. */
function packages(): Part[] {
  return Object.entries(lockedPackages())
    .filter(([, { dev, optional }]) => dev !== true && optional !== true)
    .map(([name, { version, license }]) => {
      const directory = join(ROOT, "node_modules", name);
      const text = licenseTexts(directory);
      if (license === undefined && text === "") {
        // The author of this one published it with a word in its read-me.
        if (name !== "node-bitmap") throw new Error(`${name} ${version} has no license`);
        return { name, version, license: "not stated; not in the executable (images of terminal-kit)", text };
      }
      return { name, version, license: license ?? "see its text", text: text || NO_TEXT };
    })
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

function licenseTexts(directory: string): string {
  if (!existsSync(directory)) return "";
  return readdirSync(directory)
    .filter((file) => /^(licen[cs]e|copying|notice)/i.test(file))
    .sort()
    .map((file) => readFileSync(join(directory, file), "utf8").trim())
    .join("\n\n");
}
