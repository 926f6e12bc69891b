import { expect, test } from "bun:test";
import { formatSize } from "../../src/workflow/size.ts";
import { definitionOf } from "./support.ts";

test.each([
  ["2GiB", 2 * 1024 ** 3, "2GiB"],
  ["1.5 GiB", 1.5 * 1024 ** 3, "1.5GiB"],
  ["512MiB", 512 * 1024 ** 2, "512MiB"],
  ["2048MiB", 2 * 1024 ** 3, "2GiB"],
  ["1536KiB", 1536 * 1024, "1.5MiB"],
  ["1TiB", 1024 ** 4, "1TiB"],
])("%s is %d bytes, and shown as %s", (text, bytes, shown) => {
  const [task] = definitionOf(`tasks:\n  a:\n    run: x\n    limits: {memory: ${text}}\n`).tasks;
  expect(task?.limits).toEqual({ memory_bytes: bytes });
  expect(formatSize(bytes)).toBe(shown);
});
