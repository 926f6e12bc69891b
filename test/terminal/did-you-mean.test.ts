import { describe, expect, test } from "bun:test";
import { didYouMean, editDistance, nearest } from "../../src/terminal/did-you-mean.ts";

describe("did you mean", () => {
  test("counts swaps as one", () => {
    expect(editDistance("depedns", "depends")).toBe(1);
    expect(editDistance("", "abc")).toBe(3);
    expect(editDistance("kitten", "sitting")).toBe(3);
    expect(editDistance("same", "same")).toBe(0);
    // Of two that are one step away: the one with the same letters, else the first.
    expect(nearest("rusn", ["run", "runs"])).toBe("runs");
    expect(nearest("bsh", ["bash", "zsh"])).toBe("bash");
  });

  test("finds the nearest, without regard to case, and nothing when nothing is near", () => {
    const keys = ["name", "description", "depends", "config", "retry", "timeout", "env"];
    expect(nearest("depend", keys)).toBe("depends");
    expect(nearest("NAME", keys)).toBe("name");
    expect(nearest("descripton", keys)).toBe("description");
    expect(nearest("tiemout", keys)).toBe("timeout");
    expect(nearest("schedule", keys)).toBeUndefined();
    expect(nearest("x", keys)).toBeUndefined();
    expect(nearest("b", ["a", "c"])).toBeUndefined();
    expect(nearest("", keys)).toBeUndefined();
    expect(nearest("aa", ["a", "aaa"])).toBe("a");
    expect(didYouMean("nmae", keys)).toBe('did you mean "name"?');
    expect(nearest("x".repeat(100_000), keys)).toBeUndefined();
  });
});
