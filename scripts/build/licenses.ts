/** The licenses of everything that is inside the executable, for people. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import packageJson from "../../package.json" with { type: "json" };
import { ROOT } from "../support/paths.ts";
import type { Part } from "./parts.ts";

/** A table of the parts, then the texts. */
export function licenseList(parts: readonly Part[]): string {
  const rows = parts.flatMap((part) => [
    [titleOf(part), part.license],
    ...(part.parts ?? []).map((inner) => [`  ${titleOf(inner)}`, inner.license]),
  ]);
  const width = Math.max(...rows.map(([title = ""]) => title.length));
  const table = rows.map(([title = "", license = ""]) => `${title.padEnd(width)}  ${license}`);
  const texts = parts.map((part) => `${"=".repeat(78)}\n${titleOf(part)}\n\n${part.text.trim()}\n`);
  const own = readFileSync(join(ROOT, "LICENSE"), "utf8").trim();
  return `cdktr ${packageJson.version} is under the MIT license. It carries:\n\n${table.join("\n")}\n\n${"=".repeat(78)}\ncdktr itself\n\n${own}\n\n${texts.join("\n")}`;
}

function titleOf({ name, version }: Part): string {
  return version === undefined ? name : `${name} ${version}`;
}
