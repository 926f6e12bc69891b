/**
 * The way in from plain Node: makes sure that node_modules is what package-lock.json says, then hands over to Bun.
 *
 *   node scripts/bootstrap.mjs scripts/X.ts args…
 *
 * Plain Node and nothing else, because it runs when nothing is installed yet.
 */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { constants } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const OLDEST_NODE = 18;
const OLDEST_NPM = 7;

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const modules = join(root, "node_modules");

/** Says why it cannot go on and what to do, and ends. */
function fail(message, hint) {
  console.error(`\n✗ ${message}`);
  if (hint) console.error(`  ${hint}`);
  process.exit(1);
}

function readJson(path) {
  try {
    return JSON.parse(readFileSync(path, "utf8"));
  } catch {
    return undefined;
  }
}

/** Why node_modules has to be installed anew, or undefined when it is as the lock file wants it. */
function whyInstall() {
  const wanted = readJson(join(root, "package-lock.json"));
  if (!wanted)
    fail("package-lock.json is missing or not JSON.", "Restore it: git checkout package-lock.json");
  const installed = readJson(join(modules, ".package-lock.json"));
  if (!installed) return "nothing is installed yet";
  // What was installed is compared by content: times of files say nothing in a fresh clone.
  for (const [path, entry] of Object.entries(wanted.packages ?? {})) {
    if (path === "") continue;
    const found = installed.packages?.[path];
    if (found === undefined) {
      // Packages of other platforms are optional and stay away.
      if (entry.optional || entry.peer) continue;
      return `${path} is missing`;
    }
    if (found.version !== entry.version || found.integrity !== entry.integrity)
      return `${path} is not ${entry.version}`;
    if (!existsSync(join(root, path))) {
      if (entry.optional) continue;
      return `${path} is missing`;
    }
  }
  for (const path of Object.keys(installed.packages ?? {})) {
    if (!wanted.packages[path]) return `${path} is not wanted any more`;
  }
  return undefined;
}

/** How npm is started: the one that runs us when there is one, else the one on the PATH. */
function npm(args, options) {
  const cli = process.env.npm_execpath;
  return cli && /npm-cli\.[cm]?js$/.test(cli) && existsSync(cli)
    ? spawnSync(process.execPath, [cli, ...args], options)
    : spawnSync("npm", args, options);
}

function install(reason) {
  const version = npm(["--version"], { encoding: "utf8" });
  if (version.error) {
    fail("npm was not found.", "Install Node.js with npm (https://nodejs.org), then run this again.");
  }
  const major = Number.parseInt(version.stdout, 10);
  if (!(major >= OLDEST_NPM)) {
    fail(
      `npm ${version.stdout.trim()} is too old: this project's lock file needs npm ${OLDEST_NPM} or newer.`,
      "Install a current Node.js, which brings a current npm.",
    );
  }
  console.error(`$ npm ci    # ${reason}`);
  const started = Date.now();
  const result = npm(["ci", "--no-audit", "--no-fund"], { cwd: root, stdio: ["ignore", 2, 2] });
  if (result.signal) process.exit(128 + (constants.signals[result.signal] ?? 0));
  if (result.status !== 0) {
    const reached = npm(["ping", "--fetch-retries=0", "--fetch-timeout=10000"], {
      cwd: root,
      stdio: "ignore",
    });
    if (reached.status === 0) {
      fail(`'npm ci' failed with status ${result.status}; its own message is above.`);
    }
    fail(
      "The packages could not be installed: the npm registry cannot be reached.",
      "Check the network and the proxy ('npm config get registry', 'npm ping'), then run this again.",
    );
  }
  console.error(`  installed in ${((Date.now() - started) / 1000).toFixed(1)} s`);
}

function works(bun) {
  return existsSync(bun) && spawnSync(bun, ["--version"], { stdio: "ignore" }).status === 0;
}

/** Path of Bun. The npm package puts the executable in place in a postinstall script, which npm may not have run. */
function findBun() {
  const bun = join(modules, ".bin", "bun");
  if (works(bun)) return bun;
  const postinstall = join(modules, "bun", "install.js");
  if (existsSync(postinstall)) {
    console.error("$ node node_modules/bun/install.js    # npm did not run it");
    spawnSync(process.execPath, [postinstall], { cwd: join(modules, "bun"), stdio: ["ignore", 2, 2] });
    if (works(bun)) return bun;
  }
  // The executable itself is in the platform's own package, whatever became of the link to it.
  for (const variant of ["", "-baseline", "-musl", "-musl-baseline"]) {
    const arch = process.arch === "arm64" ? "aarch64" : process.arch;
    const direct = join(modules, "@oven", `bun-${process.platform}-${arch}${variant}`, "bin", "bun");
    if (works(direct)) return direct;
  }
  return fail(
    `Bun does not run on this machine (${process.platform} ${process.arch}).`,
    "Remove node_modules and run this again; when it stays so, 'node_modules/.bin/bun --version' says why.",
  );
}

const nodeMajor = Number.parseInt(process.versions.node, 10);
if (nodeMajor < OLDEST_NODE) {
  fail(`Node.js ${process.versions.node} is too old: version ${OLDEST_NODE} or newer is needed.`);
}
const [script, ...args] = process.argv.slice(2);
if (!script) fail("Usage: node scripts/bootstrap.mjs scripts/X.ts [ARGS…]");
if (process.platform !== "linux") {
  fail(
    `cdktr is built for Linux; this is ${process.platform}.`,
    "Use a Linux machine, a container or a virtual one.",
  );
}

const reason = whyInstall();
if (reason !== undefined) install(reason);
const bun = findBun();

const child = spawn(bun, [script, ...args], {
  cwd: root,
  stdio: "inherit",
  env: { ...process.env, PATH: `${join(modules, ".bin")}${delimiter}${process.env.PATH ?? ""}` },
});
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"]) {
  process.on(signal, () => child.kill(signal));
}
child.on("error", (error) => fail(`Bun could not be started: ${error.message}`));
child.on("exit", (code, signal) => {
  process.exit(code ?? 128 + (constants.signals[signal] ?? 0));
});
