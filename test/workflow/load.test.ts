import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadWorkflowFile } from "../../src/workflow/load.ts";

const GOOD = "name: w\ntasks: {a: {name: a, config: !Subprocess {cmd: ls}}}\n";
let root: string;

beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), "cdktr-load-"));
  mkdirSync(join(root, "etl/dir.yml"), { recursive: true });
  writeFileSync(join(root, "etl/daily.yml"), GOOD);
  writeFileSync(join(root, "large.yml"), `# ${"x".repeat(1024 * 1024)}`);
  writeFileSync(join(root, "latin1.yml"), Buffer.from("name: caf\xe9\n", "latin1"));
  writeFileSync(join(root, "cut.yml"), Buffer.from([...Buffer.from("name: x"), 0xe2, 0x82]));
  symlinkSync("loop.yml", join(root, "loop.yml"));
  symlinkSync("etl/daily.yml", join(root, "link.yml"));
  Bun.spawnSync(["mkfifo", join(root, "pipe.yml")]);
});
afterAll(() => rmSync(root, { recursive: true }));

async function codeOf(path: string): Promise<string> {
  const result = loadWorkflowFile(root, path);
  return result.ok ? "ok" : result.diagnostics.map((found) => `${found.code} ${found.message}`).join("; ");
}

describe("loadWorkflowFile", () => {
  test("gives the definition with the id of the path, and the text", async () => {
    const result = loadWorkflowFile(root, "etl/daily.yml");
    expect(result).toMatchObject({ ok: true, definition: { id: "etl.daily" }, warnings: [], source: GOOD });
    expect(await codeOf("link.yml")).toBe("ok");
  });

  test("reports what is no readable text file, and does not wait for a pipe", async () => {
    expect(await codeOf("none.yml")).toBe("E008 cannot be read: it does not exist");
    expect(await codeOf("etl/dir.yml")).toBe("E008 is a directory");
    expect(await codeOf("pipe.yml")).toBe("E008 is not a regular file");
    expect(await codeOf("loop.yml")).toStartWith("E008 cannot be read");
    expect(await codeOf("large.yml")).toBe("E005 the file is larger than 1 MiB");
    expect(await codeOf("latin1.yml")).toStartWith("E004 the file is not UTF-8: the byte 0xe9");
    expect(await codeOf("cut.yml")).toStartWith("E004 the file is not UTF-8: the byte 0xe2");
    expect(await codeOf("bad name.yml")).toStartWith("E051");
  });

  test.skipIf(process.getuid?.() === 0)("reports a file that may not be read", async () => {
    writeFileSync(join(root, "secret.yml"), GOOD);
    chmodSync(join(root, "secret.yml"), 0);
    expect(await codeOf("secret.yml")).toBe("E008 cannot be read: permission denied");
  });

  test("keeps the text of an invalid file, and names it as asked", async () => {
    writeFileSync(join(root, "bad.yml"), "name: w\n");
    const result = loadWorkflowFile(root, "bad.yml", { displayPath: "flows/bad.yml" });
    expect(result).toMatchObject({
      ok: false,
      source: "name: w\n",
      diagnostics: [{ path: "flows/bad.yml" }],
    });
  });
});
