import { afterAll, beforeAll, expect, test } from "bun:test";
import { copyFileSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { ROOT, TemporaryDirectory } from "./support/fixtures.ts";

/** A clone in which nothing is installed, with a script that says what it got, and two of cdktr's packages. */
const clone = new TemporaryDirectory();

/** The real package.json and lock file, reduced to Bun and zod: whoever runs this suite has installed all. */
function reduced(): { manifest: unknown; lock: unknown } {
  const read = (file: string) => JSON.parse(readFileSync(join(ROOT, file), "utf8"));
  const dependencies = { zod: read("package.json").dependencies.zod };
  const devDependencies = { bun: read("package.json").devDependencies.bun };
  const lock = read("package-lock.json");
  const packages = Object.entries(lock.packages).filter(([path]) =>
    /^node_modules\/(zod|bun|@oven\/bun-[^/]+)$/.test(path),
  );
  const root = { ...lock.packages[""], dependencies, devDependencies };
  return {
    manifest: { ...read("package.json"), dependencies, devDependencies },
    lock: { ...lock, packages: { "": root, ...Object.fromEntries(packages) } },
  };
}

beforeAll(() => {
  mkdirSync(clone.path("scripts"));
  copyFileSync(join(ROOT, "scripts/bootstrap.mjs"), clone.path("scripts/bootstrap.mjs"));
  const { manifest, lock } = reduced();
  writeFileSync(clone.path("package.json"), JSON.stringify(manifest));
  writeFileSync(clone.path("package-lock.json"), JSON.stringify(lock));
  writeFileSync(
    clone.path("scripts/say.ts"),
    `const [what, ...rest] = process.argv.slice(2);
if (what === "wait") process.on("SIGTERM", () => process.exit(7));
console.log("bun", Bun.version, rest.join("|"));
if (what === "wait") {
  await new Promise(() => setInterval(() => {}, 1000));
}
process.exit(Number(what));
`,
  );
});
afterAll(() => clone[Symbol.dispose]());

function bootstrap(args: string[], env: Record<string, string> = {}) {
  const inherited = Object.entries(process.env).filter(
    ([name]) => !/^npm_(config|lifecycle|package)/i.test(name),
  );
  return Bun.spawn(["node", "scripts/bootstrap.mjs", "scripts/say.ts", ...args], {
    cwd: clone.root,
    env: { ...Object.fromEntries(inherited), ...env },
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
}

async function result(child: ReturnType<typeof bootstrap>) {
  const [code, out, err] = await Promise.all([
    child.exited,
    new Response(child.stdout).text(),
    new Response(child.stderr).text(),
  ]);
  return { code, out, err };
}

test("installs what package-lock.json says, once, and passes arguments and exit status on", async () => {
  const first = await result(bootstrap(["5", "a b", "c"]));
  expect(first.err).toContain("npm ci");
  expect(first.out).toBe(`bun ${Bun.version} a b|c\n`);
  expect(first.code).toBe(5);
  const second = await result(bootstrap(["0"]));
  expect(second.err).toBe("");
  expect(second.code).toBe(0);
}, 300_000);

test("passes signals on and returns the status that the script chose", async () => {
  const child = bootstrap(["wait", "there"]);
  const reader = child.stdout.getReader();
  expect(new TextDecoder().decode((await reader.read()).value)).toContain("there");
  child.kill("SIGTERM");
  expect(await child.exited).toBe(7);
}, 60_000);

test("npm that runs no install scripts is no obstacle", async () => {
  rmSync(clone.path("node_modules"), { recursive: true });
  const { code, out } = await result(bootstrap(["0"], { npm_config_ignore_scripts: "true" }));
  expect(out).toContain(`bun ${Bun.version}`);
  expect(code).toBe(0);
}, 300_000);

test("a missing package is reinstalled; without a network the reason is shown", async () => {
  rmSync(clone.path("node_modules/zod"), { recursive: true });
  const { code, out, err } = await result(
    bootstrap(["0"], {
      npm_config_registry: "http://127.0.0.1:9",
      npm_config_fetch_retries: "0",
      npm_config_cache: clone.path("empty-cache"),
    }),
  );
  expect(code).toBe(1);
  expect(out).toBe("");
  expect(err).toContain("node_modules/zod is missing");
  expect(err).toContain("the npm registry cannot be reached");
}, 120_000);
