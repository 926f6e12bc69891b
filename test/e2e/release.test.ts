import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { licenseList } from "../../scripts/build/licenses.ts";
import { COMPILED, ROOT, TemporaryDirectory } from "./support/fixtures.ts";

test("every package that may be inside is in the list of licenses, with its text", () => {
  const list = licenseList();
  for (const name of [
    "Bun",
    "libzmq",
    "zeromq",
    "@duckdb/node-api",
    "citty",
    "terminal-kit",
    "zod",
    "yaml",
  ]) {
    expect(list).toMatch(new RegExp(`^${name.replace("/", "\\/")} \\d[\\w.-]* +\\S`, "m"));
  }
  expect(list).toContain("licensed under MPL-2.0");
});

test.if(COMPILED)(
  "a release: an executable that knows what it was built from, checksums that are right, licenses",
  async () => {
    using directory = new TemporaryDirectory();
    const outdir = directory.path("release");
    const target = `linux-${process.arch}`;
    const release = Bun.spawn(
      [process.execPath, "scripts/release.ts", "--outdir", outdir, "--target", target],
      {
        cwd: ROOT,
        stdout: "pipe",
        stderr: "pipe",
      },
    );
    const [status, out, err] = await Promise.all([
      release.exited,
      new Response(release.stdout).text(),
      new Response(release.stderr).text(),
    ]);
    expect(`${status} ${out} ${err}`).toStartWith("0 ");
    const check = Bun.spawnSync(["sha256sum", "--check", "--strict", "SHA256SUMS"], { cwd: outdir });
    expect(check.stdout.toString()).toMatch(/^cdktr-\S+: OK\nTHIRD-PARTY-LICENSES\.txt: OK\n$/);
    const name = /cdktr-\S+/.exec(readFileSync(`${outdir}/SHA256SUMS`, "utf8"))?.[0] ?? "";
    const version = Bun.spawnSync([`${outdir}/${name}`, "version", "--json"]);
    const facts = JSON.parse(version.stdout.toString());
    expect(facts).toMatchObject({ target, compiled: true, platform: target, bun: Bun.version });
    expect(facts.libraries.zeromq).toMatch(/^\d+\.\d+/);
    const head = Bun.spawnSync(["git", "rev-parse", "HEAD"], { cwd: ROOT });
    if (head.exitCode === 0) expect(facts.commit).toBe(head.stdout.toString().trim());
  },
  300_000,
);
