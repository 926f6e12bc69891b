/**
 * `npm run release [-- --outdir DIR] [--target linux-x64|linux-arm64]`: the executables of a release, in dist/release. Beside each the
 * licenses of what is inside and its bill of materials (CycloneDX), and the checksums of all.
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { parseArgs } from "node:util";
import packageJson from "../package.json" with { type: "json" };
import { embedPlugin, type Target } from "./build/embed.ts";
import { buildFacts } from "./build/facts.ts";
import { thirdParty } from "./build/third-party.ts";
import { BUN, ROOT } from "./support/paths.ts";
import { run } from "./support/run.ts";

const { values } = parseArgs({
  args: process.argv.slice(2).filter((argument) => argument !== "--"),
  options: {
    outdir: { type: "string", default: join(ROOT, "dist", "release") },
    target: { type: "string", multiple: true, default: ["linux-x64", "linux-arm64"] },
  },
});
const outdir = resolve(values.outdir);
rmSync(outdir, { recursive: true, force: true });
mkdirSync(outdir, { recursive: true });

const files: string[] = [];
for (const target of values.target) {
  const { commit, modified } = buildFacts(target);
  if (modified) console.error(`! the sources differ from commit ${commit}: this is no release for others`);
  const file = join(outdir, `cdktr-${packageJson.version}-${target}`);
  const built = await run([BUN, "scripts/build.ts", "--target", target, "--outfile", file], {
    cwd: ROOT,
    output: "inherit",
  });
  if (built.code !== 0) process.exit(1);
  if (target === `linux-${process.arch}`) await mustTellItsVersion(file);
  const { licenses, sbom } = await thirdParty(target, [await embedPlugin(target as Target)]);
  writeFileSync(`${file}.licenses.txt`, licenses);
  writeFileSync(`${file}.cdx.json`, sbom);
  files.push(file, `${file}.licenses.txt`, `${file}.cdx.json`);
}

const sums = files.map((file) => {
  const digest = new Bun.CryptoHasher("sha256").update(readFileSync(file)).digest("hex");
  return `${digest}  ${basename(file)}`;
});
writeFileSync(join(outdir, "SHA256SUMS"), `${sums.join("\n")}\n`);
console.log(`${outdir}:\n${sums.join("\n")}\ncheck with: sha256sum -c SHA256SUMS`);

/** What does not even start is not released. */
async function mustTellItsVersion(file: string): Promise<void> {
  const { code, output } = await run([file, "version"]);
  if (code === 0 && output.trim() === packageJson.version) return;
  console.error(`${file} does not work (status ${code}):\n${output}`);
  process.exit(1);
}
