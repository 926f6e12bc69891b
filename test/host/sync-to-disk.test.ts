import { expect, test } from "bun:test";
import { readdirSync, writeFileSync } from "node:fs";
import { syncToDisk } from "../../src/host/sync-to-disk.ts";
import { TemporaryDirectory } from "../support/temporary-directory.ts";

test("syncs files and directories, says what is missing, and keeps no descriptor", () => {
  using directory = new TemporaryDirectory();
  writeFileSync(directory.path("file"), "x");
  const descriptors = () => readdirSync("/proc/self/fd").length;
  syncToDisk(directory.root);
  const before = descriptors();
  for (let i = 0; i < 20; i++) {
    syncToDisk(directory.path("file"));
    syncToDisk(directory.root);
    expect(() => syncToDisk(directory.path("missing"))).toThrow("ENOENT");
  }
  expect(descriptors()).toBe(before);
});
