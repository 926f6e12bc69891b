/** The native files of a platform, compressed, and the module that embeds them into the executable. */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { constants, zstdCompressSync } from "node:zlib";
import type { BunPlugin } from "bun";
import type { EmbeddedFile, EmbeddedGroup } from "../../src/native/embedded.ts";
import { lakeExtensionFiles } from "./lake-extensions.ts";

/** A platform for which an executable can be built. */
export type Target = "linux-x64" | "linux-arm64";

interface NativeFile {
  readonly library: Exclude<EmbeddedGroup, "lake">;
  readonly name: string;
  readonly source: string;
}

const root = dirname(dirname(import.meta.dir));
const cache = join(root, ".cache", "native");

/**
 * Fetches what `target` needs, compresses it into the cache, and returns the plugin that embeds it.
 * @param withLake false leaves out the extensions of DuckDB that a lake needs
 * @throws Error when a package cannot be had or does not match the lockfile
 */
export async function embedPlugin(target: Target, withLake = true): Promise<BunPlugin> {
  const runner = await listenerRunner();
  const groups: Record<EmbeddedGroup, EmbeddedFile[]> = { libzmq: [], libduckdb: [], sdk: [], lake: [] };
  for (const { library, name, source } of [...nativeFiles(target), runner])
    groups[library].push({ name, ...compress(source) });
  if (withLake) groups.lake = compressTogether(lakeExtensionFiles(target));
  rmSync(runner.source);
  const paths = [...new Set(Object.values(groups).flatMap((files) => files.map(({ path }) => path)))];
  const imports = paths.map(
    (path, i) => `import file${i} from ${JSON.stringify(path)} with { type: "file" };`,
  );
  const table = (files: readonly EmbeddedFile[]) =>
    files
      .map(({ path, ...file }) => `{ ...${JSON.stringify(file)}, path: file${paths.indexOf(path)} }`)
      .join(", ");
  const tables = Object.entries(groups).map(([group, files]) => `${group}: [${table(files)}]`);
  const contents = `${imports.join("\n")}\nexport const EMBEDDED = { ${tables.join(", ")} };`;
  return {
    name: "cdktr-native",
    setup(build) {
      build.onLoad({ filter: /src\/native\/embedded\.ts$/ }, () => ({ contents, loader: "ts" }));
      // The binding is loaded from the cache directory: its run path ($ORIGIN) finds libduckdb.so beside it there.
      build.onLoad({ filter: /@duckdb\/node-bindings\/duckdb\.js$/ }, () => ({
        contents: `import { dirname, join } from "node:path";
import { nativeLibraryPath } from ${JSON.stringify(join(root, "src/native/libraries.ts"))};
const addon = { exports: {} };
process.dlopen(addon, join(dirname(nativeLibraryPath("libduckdb")), "duckdb.node"));
module.exports = addon.exports;`,
        loader: "js",
      }));
    },
  };
}

function nativeFiles(target: Target): NativeFile[] {
  const arch = target.slice("linux-".length);
  const duckdb = packageDirectory(`@duckdb/node-bindings-${target}`);
  const zmq = join(root, "node_modules/zeromq/build/linux", arch, "node/glibc-127-Release/addon.node");
  return [
    { library: "libzmq", name: "libzmq.so", source: zmq },
    { library: "libduckdb", name: "libduckdb.so", source: join(duckdb, "libduckdb.so") },
    { library: "libduckdb", name: "duckdb.node", source: join(duckdb, "duckdb.node") },
  ];
}

/**
 * The program that runs a user's listener, as one file: it runs outside the executable's own file system, so it
 * can import nothing from there. Where libzmq is, its starter says.
 */
async function listenerRunner(): Promise<NativeFile> {
  const result = await Bun.build({
    entrypoints: [join(root, "src/sdk/typescript/runner.ts")],
    target: "bun",
    format: "esm",
    minify: { whitespace: true, syntax: true, identifiers: false },
    define: { "process.env.NODE_ENV": '"production"' },
    plugins: [
      {
        name: "cdktr-libzmq",
        setup(build) {
          build.onLoad({ filter: /src\/native\/libraries\.ts$/ }, () => ({
            contents: "export const nativeLibraryPath = () => process.env.CDKTR_LIBZMQ;",
            loader: "ts",
          }));
        },
      },
    ],
  });
  const [output] = result.outputs;
  if (output === undefined) throw new Error("the listener's program was not built");
  const source = join(cache, `runner-${process.pid}.js`);
  mkdirSync(cache, { recursive: true });
  writeFileSync(source, await output.text());
  return { library: "sdk", name: "runner.js", source };
}

/** The installed package, or, for a platform that is not this one, the package of the lockfile's version from the registry. */
function packageDirectory(name: string): string {
  const installed = join(root, "node_modules", name);
  if (existsSync(installed)) return installed;
  const lock = JSON.parse(readFileSync(join(root, "package-lock.json"), "utf8")) as {
    packages: Record<string, { version: string; integrity?: string } | undefined>;
  };
  const locked = lock.packages[`node_modules/${name}`];
  if (locked === undefined) throw new Error(`package-lock.json does not name ${name}: run npm install.`);
  const directory = join(cache, `${basename(name)}-${locked.version}`);
  if (existsSync(directory)) return directory;
  mkdirSync(cache, { recursive: true });
  console.error(`fetching ${name}@${locked.version} from the npm registry`);
  const archive = join(cache, run(["npm", "pack", "--silent", `${name}@${locked.version}`], cache).trim());
  const integrity = `sha512-${new Bun.CryptoHasher("sha512").update(readFileSync(archive)).digest("base64")}`;
  if (locked.integrity !== undefined && integrity !== locked.integrity) {
    throw new Error(`${name}@${locked.version} does not match package-lock.json (${integrity}).`);
  }
  const staging = `${directory}.${process.pid}`;
  mkdirSync(staging, { recursive: true });
  run(["tar", "-xzf", archive, "-C", staging, "--strip-components=1"], cache);
  renameSync(staging, directory);
  return directory;
}

/** Compresses a file once; the result is kept under the name of its content. */
function compress(source: string): Omit<EmbeddedFile, "name"> {
  const bytes = readFileSync(source);
  const path = kept(bytes, basename(source), () => Bun.zstdCompressSync(bytes, { level: 19 }));
  return { path, sha256: sha256(bytes) };
}

/**
 * Compresses files as one: each of the extensions has much of DuckDB in it, which is found again over their whole length. That makes
 * them smaller (21 MB) than the highest level makes each by itself (27 MB), and takes a tenth of the time.
 */
function compressTogether(sources: readonly string[]): EmbeddedFile[] {
  const contents = sources.map((source) => readFileSync(source));
  const together = Buffer.concat(contents);
  const path = kept(together, sources.map((source) => basename(source)).join(", "), () =>
    zstdCompressSync(together, {
      params: {
        [constants.ZSTD_c_compressionLevel]: 12,
        [constants.ZSTD_c_enableLongDistanceMatching]: 1,
        [constants.ZSTD_c_windowLog]: 27,
      },
    }),
  );
  let end = 0;
  return contents.map((bytes, i) => {
    const begin = end;
    end += bytes.length;
    return { name: basename(sources[i] ?? ""), path, sha256: sha256(bytes), range: [begin, end] };
  });
}

/** The file in the cache with the compressed form of `bytes`. */
function kept(bytes: Uint8Array, name: string, compressed: () => Uint8Array): string {
  const path = join(cache, `${sha256(bytes).slice(0, 32)}.zst`);
  if (!existsSync(path)) {
    mkdirSync(cache, { recursive: true });
    console.error(`compressing ${name} (${Math.round(bytes.length / 1e6)} MB)`);
    writeFileSync(`${path}.${process.pid}`, compressed());
    renameSync(`${path}.${process.pid}`, path);
  }
  return path;
}

function sha256(bytes: Uint8Array): string {
  return new Bun.CryptoHasher("sha256").update(bytes).digest("hex");
}

function run(command: string[], cwd: string): string {
  const result = Bun.spawnSync(command, { cwd, stdout: "pipe", stderr: "pipe" });
  if (result.exitCode !== 0)
    throw new Error(`${command.join(" ")} failed: ${result.stderr.toString().trim()}`);
  return result.stdout.toString();
}
