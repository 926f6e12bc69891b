import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdirSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { completeAnswers } from "../../../src/cli/init/complete.ts";
import type { Given } from "../../../src/cli/init/given.ts";
import { type Done, type Plan, planOf, setUp } from "../../../src/cli/init/set-up.ts";
import { crontabLines, doneLines, nextLines, planLines } from "../../../src/cli/init/show.ts";
import type { Decision } from "../../../src/project/plan.ts";
import { TemporaryDirectory } from "../../support/temporary-directory.ts";

let directory: TemporaryDirectory;
beforeEach(() => {
  directory = new TemporaryDirectory();
});
afterEach(() => directory[Symbol.dispose]());

function write(path: string, text: string): string {
  const file = directory.path(path);
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(file, text);
  return file;
}

async function planned(given: Given = {}): Promise<Plan> {
  const answers = await completeAnswers({ directory: directory.path("project"), kind: "try", ...given });
  return planOf(answers, undefined, false);
}

const NONE: ReadonlyMap<string, Decision> = new Map();
const jobs = (count: number) =>
  Array.from({ length: count }, (_, i) => `${i} 3 * * * echo job ${i}`).join("\n");
const crontabOf = (text: string) =>
  ({ from: write("jobs", `${text}\n`), format: "user", user: undefined }) as const;

/** Signs of the lines by their paths. */
function signs(lines: readonly string[]): Record<string, string> {
  return Object.fromEntries(lines.map((line) => [line.split(/ +/)[1] ?? "", line.charAt(0)]));
}

describe("the plan", () => {
  test("has a line for each file: new, unchanged, or different with what will become of it", async () => {
    const before = await planned({ example: true });
    expect(signs(planLines(before, NONE))).toMatchObject({ ".env": "+", "workflows/hello.yml": "+" });
    await setUp(before, NONE);
    write("project/workflows/hello.yml", "name: mine\n");
    const after = await planned({ example: true });
    const open = planLines(after, NONE);
    expect(signs(open)).toMatchObject({ ".env": "=", "workflows/hello.yml": "!" });
    const line = (decision: Decision) =>
      planLines(after, new Map([["workflows/hello.yml", decision]])).find((each) => each.startsWith("!"));
    expect(line("keep")).toContain("kept");
    expect(line("overwrite")).toContain("OVERWRITTEN");
  });

  test("tells actions after the files", async () => {
    const lines = planLines(await planned({ keys: true }), NONE);
    expect(lines.at(-1)).toStartWith("* keys: ");
    expect(planLines(await planned(), NONE).some((line) => line.startsWith("*"))).toBe(false);
  });

  test("counts the workflows of a crontab when they are many, unless all are wanted", async () => {
    const few = planLines(await planned({ crontab: crontabOf(jobs(5)) }), NONE);
    expect(few.filter((line) => line.includes("workflows/cron/"))).toHaveLength(5);
    const many = await planned({ crontab: crontabOf(jobs(6)) });
    const counted = planLines(many, NONE).filter((line) => line.includes("workflows/cron/"));
    expect(counted).toHaveLength(1);
    expect(counted[0]).toContain("6 workflows");
    expect(planLines(many, NONE, true).filter((line) => line.includes("workflows/cron/"))).toHaveLength(6);
  });
});

describe("a crontab", () => {
  test("is not mentioned if there is none", async () => {
    expect(crontabLines((await planned()).answers, 4)).toEqual([]);
  });

  test("is shown with the lines that could not be translated, limited in number and without control sequences", async () => {
    const bad = ["@sometimes x", "61 * * * * x", `* * * * ${"y".repeat(100)}\x1b[2J`];
    const { answers } = await planned({ crontab: crontabOf([jobs(2), "#0 4 * * * off", ...bad].join("\n")) });
    const all = crontabLines(answers, 4).join("\n");
    expect(all).toContain("2 jobs of ");
    expect(all).toContain("1 more");
    expect(all).toContain("  4: @sometimes x");
    expect(all).not.toContain("\x1b");
    expect(Math.max(...all.split("\n").map((line) => (/^ {2}\d/.test(line) ? line.length : 0)))).toBeLessThan(
      70,
    );
    const short = crontabLines(answers, 1).join("\n");
    expect(short).toContain("  … and 2 more");
    expect(short).not.toContain("  5: ");
  });
});

describe("what was done", () => {
  const done = (more: Partial<Done> = {}): Done => ({
    written: ["a", "b"],
    kept: [],
    unchanged: [],
    joinToken: undefined,
    next: [],
    ...more,
  });

  test("counts the files, and names those that were kept", async () => {
    const plan = await planned();
    expect(doneLines(plan, done())).toEqual([expect.stringContaining("2 files")]);
    expect(doneLines(plan, done({ kept: ["x.yml"] })).join("\n")).toContain("x.yml");
    // Then not all that was chosen is in force.
    expect(doneLines(plan, done({ kept: [".env"] }))).toHaveLength(3);
  });

  test("warns of a variable of the shell that wins over what was written", async () => {
    const plan = await planned({ ports: { api: 6100 } });
    const name = "CDKTR_PRINCIPAL_PORT";
    const before = process.env[name];
    try {
      process.env[name] = "6100";
      expect(doneLines(plan, done())).toHaveLength(1);
      process.env[name] = "7100";
      expect(doneLines(plan, done()).at(-1)).toStartWith(`${name} `);
    } finally {
      if (before === undefined) delete process.env[name];
      else process.env[name] = before;
    }
  });

  test("is followed by the next commands, below what each does", () => {
    const next = [{ command: "cdktr start principal", does: "starts it" }];
    expect(nextLines(done({ next }), (text) => `<${text}>`)).toEqual([
      "<# starts it>",
      "cdktr start principal",
    ]);
  });
});
