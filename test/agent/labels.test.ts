import { expect, test } from "bun:test";
import { availableParallelism, hostname } from "node:os";
import { automaticLabels, refuseAutomatic } from "../../src/agent/labels.ts";
import { UsageError } from "../../src/errors.ts";

test("every agent has the labels of its host", () => {
  expect(automaticLabels()).toEqual({
    host: hostname(),
    arch: process.arch,
    os: "linux",
    cores: String(availableParallelism()),
  });
});

test.each(["host", "arch", "os", "cores"])("%s cannot be given", (name) => {
  expect(() => refuseAutomatic({ zone: "b", [name]: "x" })).toThrow(UsageError);
  expect(() => refuseAutomatic({ zone: "b", [name]: "x" })).toThrow(
    `--label ${name}=x is refused: every agent has the label ${name} by itself.`,
  );
});

test("other names can, also those of an object", () => {
  refuseAutomatic({ zone: "b", hosts: "x", constructor: "y" } as Record<string, string>);
});
