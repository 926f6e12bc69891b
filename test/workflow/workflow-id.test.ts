import { describe, expect, test } from "bun:test";
import { InvalidInputError } from "../../src/errors.ts";
import { findDuplicateIds, workflowIdOf } from "../../src/workflow/workflow-id.ts";

describe("workflowIdOf", () => {
  test("joins the parts of the path with dots", () => {
    expect(workflowIdOf("hello.yml")).toBe("hello");
    expect(workflowIdOf("etl/daily.yml")).toBe("etl.daily");
    expect(workflowIdOf("a/b/c_d-e.yaml")).toBe("a.b.c_d-e");
    expect(workflowIdOf("etl.daily.yml")).toBe("etl.daily");
  });

  test("E051: refuses what gives no legal id, and says why", () => {
    for (const path of [
      "my flow.yml",
      "a//b.yml",
      "/a.yml",
      "../a.yml",
      ".hidden.yml",
      ".yml",
      "ä.yml",
      "-a.yml",
      "a\x01.yml",
      "a\n.yml",
      "a..yml",
      "__proto__.yml",
      "a:b.yml",
    ]) {
      expect(() => workflowIdOf(path)).toThrow(InvalidInputError);
    }
    expect(() => workflowIdOf("etl/my flow.yml")).toThrow(
      '"my flow" in the path is not valid in a workflow id',
    );
    expect(() => workflowIdOf("notes.txt")).toThrow("is not a workflow file");
    expect(() => workflowIdOf(`${"d/".repeat(150)}a.yml`)).toThrow("longer than 200 characters");
  });
});

test("E052: files that want the same id", () => {
  expect(findDuplicateIds(["etl/a.yml", "etl.a.yaml", "b.yml", "etl/a.yaml", "bad name.yml"])).toMatchObject([
    { code: "E052", path: "etl/a.yaml", message: 'the id "etl.a" is already used by etl.a.yaml' },
    { code: "E052", path: "etl/a.yml" },
  ]);
  expect(findDuplicateIds(["a.yml", "b.yml"])).toEqual([]);
});
