/** What goes into the executable of a platform, for the build itself and for the list of what is inside. */
import { join } from "node:path";
import type { BunPlugin } from "bun";
import { ROOT } from "../support/paths.ts";
import { terminalKitPlugin } from "./terminal-kit.ts";

/** The entry and the way in which the sources become one bundle. */
export function bundleOptions(plugins: readonly BunPlugin[]): Omit<Bun.BuildConfig, "compile"> {
  return {
    entrypoints: [join(ROOT, "src/main.ts")],
    target: "bun",
    minify: { whitespace: true, syntax: true, identifiers: false },
    sourcemap: "none",
    // Each lazy import stays a chunk of its own, so that a command loads what it needs and nothing else.
    splitting: true,
    format: "esm",
    plugins: [...plugins, terminalKitPlugin()],
    throw: false,
  };
}

/**
 * The npm packages of which something is in the bundle, sorted.
 * @throws Error with the bundler's messages
 */
export async function bundledPackages(plugins: readonly BunPlugin[]): Promise<string[]> {
  const result = await Bun.build({ ...bundleOptions(plugins), metafile: true });
  if (!result.success || result.metafile === undefined) throw new Error(result.logs.join("\n"));
  const names = Object.values(result.metafile.outputs)
    .flatMap(({ inputs }) => Object.entries(inputs))
    .filter(([, { bytesInOutput }]) => bytesInOutput > 0)
    .map(([path]) => /.*node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(path)?.[1]);
  return [...new Set(names.filter((name) => name !== undefined))].sort();
}
