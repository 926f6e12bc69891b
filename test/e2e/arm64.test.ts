import { expect, test } from "bun:test";
import { closeSync, openSync, readFileSync, readSync, statSync } from "node:fs";
import { join } from "node:path";
import { COMPILED, ROOT, TemporaryDirectory } from "./support/fixtures.ts";

/** `e_machine` of an ELF file. */
const MACHINE = { x64: 62, arm64: 183 };

function machine(bytes: Uint8Array): number {
  expect([...bytes.subarray(0, 4)]).toEqual([0x7f, 0x45, 0x4c, 0x46]);
  return (bytes[18] ?? 0) | ((bytes[19] ?? 0) << 8);
}

test.if(COMPILED)(
  "the arm64 executable that x64 builds is an arm64 program with arm64 libraries inside",
  async () => {
    using directory = new TemporaryDirectory();
    const outfile = directory.path("cdktr-arm64");
    const build = Bun.spawn(
      [process.execPath, "scripts/build.ts", "--target", "linux-arm64", "--outfile", outfile],
      {
        cwd: ROOT,
        stdout: "pipe",
        stderr: "pipe",
      },
    );
    const [status, out, err] = await Promise.all([
      build.exited,
      new Response(build.stdout).text(),
      new Response(build.stderr).text(),
    ]);
    expect(`${status} ${err}`).toStartWith("0 ");
    expect(out).toContain("linux-arm64");

    const head = new Uint8Array(20);
    const file = openSync(outfile, "r");
    readSync(file, head, 0, 20, 0);
    closeSync(file);
    expect(machine(head)).toBe(MACHINE.arm64);
    expect(statSync(outfile).size).toBeLessThan(160e6);

    // Every compressed library that the build has in stock, by platform, and whether the executable holds it.
    const executable = readFileSync(outfile);
    const held = new Set<number>();
    let libraries = 0;
    for (const name of new Bun.Glob("*.zst").scanSync({ cwd: join(ROOT, ".cache/native") })) {
      const compressed = readFileSync(join(ROOT, ".cache/native", name));
      if (!executable.includes(compressed)) continue;
      const carried = Bun.zstdDecompressSync(compressed);
      // The SDK that it carries as well is a script.
      if (carried[0] !== 0x7f) continue;
      libraries++;
      held.add(machine(carried));
    }
    expect(libraries).toBe(3);
    expect([...held]).toEqual([MACHINE.arm64]);
  },
  10 * 60_000,
);
