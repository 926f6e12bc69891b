/** Debian's packages for tests: installed, or only unpacked if a single program is needed. */
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { APT_LOCK } from "../../scripts/support/paths.ts";

/** Cache directory that persists between test runs. */
const CACHE = join(import.meta.dir, "../../.cache");

const IS_ROOT = process.getuid?.() === 0;

interface Ended {
  readonly code: number;
  readonly output: string;
}

async function run(command: readonly string[]): Promise<Ended> {
  try {
    const child = Bun.spawn([...command], {
      stdout: "pipe",
      stderr: "pipe",
    });
    const [code, ...texts] = await Promise.all([
      child.exited,
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
    ]);
    return { code, output: texts.join("") };
  } catch (error) {
    return { code: -1, output: String(error) };
  }
}

/** apt-get that asks nothing and starts none of the services that it installs: invoke-rc.d(8). */
const APT = `
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  trap 'rm -f "$policy"' EXIT
  printf '#!/bin/sh\\nexit 101\\n' > "$policy"
  chmod 755 "$policy"
fi
apt-get -o DPkg::Lock::Timeout=120 "$@"
`;

function apt(...args: readonly string[]): Promise<Ended> {
  const asRoot = IS_ROOT ? [] : ["sudo", "-n"];
  return run([...asRoot, "flock", APT_LOCK, "sh", "-c", APT, "sh", ...args]);
}

/**
 * Installs a Debian package unless `present` finds what it is for.
 * @returns why it is not there, or undefined when it is
 */
export async function installed(packageName: string, present: () => boolean): Promise<string | undefined> {
  if (present()) return undefined;
  if (Bun.which("apt-get") === null)
    return `${packageName} is missing, and this system has no apt-get to install it with`;
  const install = ["install", "-y", "--no-install-recommends", packageName];
  let { output } = await apt(...install);
  if (present()) return undefined;
  await apt("update");
  ({ output } = await apt(...install));
  return present() ? undefined : `${packageName} could not be installed:\n${output.trim().slice(-2000)}`;
}

/** Downloads the packages of `argv[2]…` and unpacks them into the directory `argv[1]`, as a whole or not at all. */
const UNPACK = `
set -e
target=$1; shift
[ -e "$target" ] && exit 0
staging=$target.$$
trap 'rm -rf "$staging"' EXIT
mkdir -p "$staging/debs" "$staging/files"
cd "$staging/debs"
apt-get download "$@"
for deb in *.deb; do dpkg-deb -x "$deb" ../files; done
mv "$staging/files" "$target"
`;

/**
 * The files of Debian packages below a directory that is kept in `.cache`: nothing is installed, no service starts, nobody needs to
 * be root.
 * @throws Error with the reason when they cannot be had
 */
export async function unpacked(packages: readonly string[]): Promise<string> {
  const hash = createHash("sha256").update(packages.join(" ")).digest("hex").slice(0, 12);
  const target = join(CACHE, `debian-${hash}`);
  if (existsSync(target)) return target;
  if (Bun.which("apt-get") === null)
    throw new Error(`This test needs Debian's packages ${packages.join(", ")}, and there is no apt-get.`);
  const unpack = ["flock", APT_LOCK, "sh", "-c", UNPACK, "sh", target, ...packages];
  let ended = await run(unpack);
  if (ended.code !== 0) {
    await apt("update");
    ended = await run(unpack);
  }
  if (ended.code === 0) return target;
  throw new Error(`${packages.join(", ")} cannot be had from Debian:\n${ended.output.trim().slice(-2000)}`);
}

/** Whether a test goes without what is missing: it says why. In CI it does not go without, and fails. */
export function skipWithout(missing: string | undefined): boolean {
  if (missing === undefined) return false;
  console.error(missing);
  return process.env.CI === undefined;
}
