/** The file helper where its child process cannot be started: under an emulator, or with the executable gone. */
import { afterAll, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { FileHelper } from "../../src/host/file-helper/file-helper.ts";

const directory = mkdtempSync(join(tmpdir(), "cdktr-helper-"));
afterAll(() => rmSync(directory, { recursive: true, force: true }));
const file = join(directory, "a.yml");
writeFileSync(file, "text");
const foreign = join(directory, "program-of-another-machine");
writeFileSync(foreign, Uint8Array.of(0x7f, 0x45, 0x4c, 0x46, 0, 0, 0, 0));
chmodSync(foreign, 0o755);

for (const [what, command] of [
  ["is missing", [join(directory, "missing")]],
  ["is for another kind of machine", [foreign]],
  ["exits at once", ["/bin/false"]],
] as const) {
  test(`a helper program that ${what}: files are read all the same, and a warning says what that means`, async () => {
    const helper = new FileHelper(command);
    const warnings: string[] = [];
    helper.signals.on("warning", (text) => warnings.push(text));
    try {
      const replies = await Promise.all([
        helper.ask("read", { paths: [file], maxBytes: 100 }),
        helper.ask("read", { paths: [join(directory, "none")], maxBytes: 100 }),
      ]);
      expect(replies).toMatchObject([
        [{ kind: "file", base64: Buffer.from("text").toString("base64") }],
        [{ kind: "failed", code: "ENOENT" }],
      ]);
      expect(warnings).toHaveLength(1);
      expect(warnings[0]).toMatch(/^No child process can be started to access files \(.+\): a mount/);
      const changed = new Promise((resolve) => helper.signals.on("changed", resolve));
      await helper.ask("tree", { key: "t", root: directory, endings: [".yml"], skip: [] });
      writeFileSync(join(directory, "b.yml"), "new");
      expect(await changed).toBe("t");
    } finally {
      helper.close();
    }
  });
}
