/** The two lists of what an executable carries, and the plugin that puts them into it: `cdktr version --licenses` and `--sbom`. */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { BunPlugin } from "bun";
import { ROOT } from "../support/paths.ts";
import { bundledPackages } from "./bundle.ts";
import { buildFacts } from "./facts.ts";
import { licenseList } from "./licenses.ts";
import { partsOf } from "./parts.ts";
import { sbom } from "./sbom.ts";

/** The lists. */
export interface ThirdParty {
  /** For people, with the texts of the licenses. */
  readonly licenses: string;
  /** CycloneDX, JSON. */
  readonly sbom: string;
}

/**
 * Finds out what the bundle of a platform is made of.
 * @param plugins those of the build
 */
export async function thirdParty(target: string, plugins: readonly BunPlugin[]): Promise<ThirdParty> {
  const parts = partsOf(await bundledPackages(plugins), target);
  return { licenses: licenseList(parts), sbom: sbom(parts, buildFacts(target)) };
}

/** Embeds the lists; their files are needed until the build is over. */
export function thirdPartyPlugin(lists: ThirdParty): BunPlugin & { discard(): void } {
  const directory = join(ROOT, ".cache", "third-party", String(process.pid));
  mkdirSync(directory, { recursive: true });
  const imports = (["licenses", "sbom"] as const).map((name) => {
    const path = join(directory, `${name}.txt`);
    writeFileSync(path, lists[name]);
    return `import ${name} from ${JSON.stringify(path)} with { type: "text" };`;
  });
  const contents = `${imports.join("\n")}\nexport const THIRD_PARTY = { licenses, sbom };`;
  return {
    name: "cdktr-third-party",
    setup(build) {
      build.onLoad({ filter: /src\/third-party\.ts$/ }, () => ({ contents, loader: "ts" }));
    },
    discard: () => rmSync(directory, { recursive: true, force: true }),
  };
}
