/**
 * Builds the executable: `npm run build [-- --target linux-x64|linux-arm64] [--outfile FILE]`.
 * Without a target: the platform of this machine, into dist/cdktr.
 * `--without-lake` leaves out the extensions of DuckDB, which come from PyPI: such an executable cannot keep its history in a lake.
 *
 * With `--as VERSION:PROTOCOL:OLDEST` the executable says that it is that version of cdktr and speaks the wire protocols OLDEST to
 * PROTOCOL: the tests of upgrades have older and newer ones at hand in this way.
 */
import { mkdirSync, statSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import type { Pretence } from "../src/build-facts.ts";
import { bundleOptions } from "./build/bundle.ts";
import { embedPlugin, type Target } from "./build/embed.ts";
import { buildFacts } from "./build/facts.ts";
import { thirdParty, thirdPartyPlugin } from "./build/third-party.ts";

const root = dirname(import.meta.dir);
const TARGETS: readonly Target[] = ["linux-x64", "linux-arm64"];

const { values } = parseArgs({
  args: process.argv.slice(2),
  options: {
    target: { type: "string" },
    outfile: { type: "string" },
    as: { type: "string" },
    "without-lake": { type: "boolean", default: false },
  },
});
const host: Target = process.arch === "arm64" ? "linux-arm64" : "linux-x64";
const target = TARGETS.find((name) => name === (values.target ?? host));
if (target === undefined) {
  console.error(`unknown target "${values.target}": choose one of ${TARGETS.join(", ")}`);
  process.exit(2);
}
const outfile = resolve(
  values.outfile ?? join(root, "dist", target === host && !values.target ? "cdktr" : `cdktr-${target}`),
);
const pretence = pretenceOf(values.as);
mkdirSync(dirname(outfile), { recursive: true });

const started = performance.now();
const embed = await embedPlugin(target, !values["without-lake"]);
const lists = thirdPartyPlugin(await thirdParty(target, [embed]));
const result = await Bun.build({
  ...bundleOptions([embed, lists]),
  bytecode: true,
  define: {
    "process.env.NODE_ENV": '"production"',
    CDKTR_BUILD_FACTS: JSON.stringify(buildFacts(target)),
    CDKTR_PRETENCE: JSON.stringify(pretence),
  },
  compile: {
    target: target === "linux-arm64" ? "bun-linux-arm64" : "bun-linux-x64",
    outfile,
    // What lies in an operator's working directory must not change what the executable is.
    autoloadDotenv: false,
    autoloadBunfig: false,
    autoloadTsconfig: false,
    autoloadPackageJson: false,
  },
});
lists.discard();
if (!result.success) {
  for (const message of result.logs) console.error(String(message));
  process.exit(1);
}
function pretenceOf(text: string | undefined): Pretence {
  if (text === undefined) return {};
  const [version = "", newest, oldest] = text.split(":");
  return { version, protocol: { version: Number(newest), oldest: Number(oldest) } };
}

const megabytes = (statSync(outfile).size / 1e6).toFixed(1);
console.log(
  `built ${outfile} (${target}, ${megabytes} MB) in ${((performance.now() - started) / 1000).toFixed(1)} s`,
);
