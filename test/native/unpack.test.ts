import { afterAll, describe, expect, test } from "bun:test";
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { EmbeddedFile } from "../../src/native/embedded.ts";
import { NativeCacheError, unpack } from "../../src/native/unpack.ts";

const root = mkdtempSync(join(tmpdir(), "cdktr-unpack-"));
afterAll(() => rmSync(root, { recursive: true, force: true }));

function embed(name: string, contents: string): EmbeddedFile {
  const path = join(root, `${name}.zst`);
  writeFileSync(path, Bun.zstdCompressSync(Buffer.from(contents)));
  return { name, path, sha256: new Bun.CryptoHasher("sha256").update(contents).digest("hex") };
}

const files = [embed("a.so", "first library"), embed("b.node", "second library")];

describe("unpack", () => {
  test("writes the files, closed to others, and nothing else", () => {
    const cache = join(root, "fresh");
    const directory = unpack(files, "lib", cache);
    expect(readFileSync(join(directory, "a.so"), "utf8")).toBe("first library");
    expect(statSync(directory).mode & 0o777).toBe(0o700);
    expect(readdirSync(cache)).toHaveLength(1);
  });

  test("takes several files out of one that holds them together", () => {
    const sha256 = (text: string) => new Bun.CryptoHasher("sha256").update(text).digest("hex");
    const path = join(root, "together.zst");
    writeFileSync(path, Bun.zstdCompressSync(Buffer.from("firstsecond")));
    const both: EmbeddedFile[] = [
      { name: "1", path, sha256: sha256("first"), range: [0, 5] },
      { name: "2", path, sha256: sha256("second"), range: [5, 11] },
    ];
    const directory = unpack([...both, ...files], "lib", join(root, "both"));
    const read = (name: string) => readFileSync(join(directory, name), "utf8");
    expect(["1", "2", "a.so"].map(read)).toEqual(["first", "second", "first library"]);
  });

  test("keeps what is whole, replaces what is not", () => {
    const cache = join(root, "kept");
    const directory = unpack(files, "lib", cache);
    const { ino } = statSync(join(directory, "a.so"));
    expect(unpack(files, "lib", cache)).toBe(directory);
    expect(statSync(join(directory, "a.so")).ino).toBe(ino);

    chmodSync(join(directory, "a.so"), 0o700);
    writeFileSync(join(directory, "a.so"), "first librarY");
    unpack(files, "lib", cache);
    expect(readFileSync(join(directory, "a.so"), "utf8")).toBe("first library");

    rmSync(join(directory, "b.node"));
    unpack(files, "lib", cache);
    expect(readFileSync(join(directory, "b.node"), "utf8")).toBe("second library");
    expect(readdirSync(cache)).toHaveLength(1);
  });

  test("a directory that others may write to is not trusted", () => {
    const cache = join(root, "open");
    const directory = unpack(files, "lib", cache);
    chmodSync(directory, 0o777);
    unpack(files, "lib", cache);
    expect(statSync(directory).mode & 0o777).toBe(0o700);
  });

  test("a cache that cannot be written is a clear error", () => {
    const occupied = join(root, "occupied");
    writeFileSync(occupied, "");
    expect(() => unpack(files, "lib", occupied)).toThrow(NativeCacheError);
    try {
      unpack(files, "lib", occupied);
    } catch (error) {
      expect((error as NativeCacheError).hint).toContain("CDKTR_CACHE_DIRECTORY");
    }
  });

  test("damaged contents are refused", () => {
    const damaged = [{ ...embed("c.so", "third"), sha256: "0".repeat(64) }];
    expect(() => unpack(damaged, "lib", join(root, "damaged"))).toThrow("differ from what was written");
  });
});
