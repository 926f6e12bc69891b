import { describe, expect, test } from "bun:test";
import { runCommand } from "citty";
import { readCommandLine } from "../../src/cli/support/argv.ts";
import {
  type Command,
  command,
  group,
  keyValues,
  lazy,
  repeated,
  wholeNumber,
} from "../../src/cli/support/command.ts";
import { jsonArg, principalArg } from "../../src/cli/support/globals.ts";
import { UsageError } from "../../src/errors.ts";

/** What the command saw when it ran. */
const seen: { args: Record<string, unknown>; rawArgs: string[] }[] = [];

const leaf = command({
  meta: { name: "list" },
  args: {
    first: { type: "positional", required: true },
    second: { type: "positional", required: false },
    number: { type: "string", alias: "n" },
    param: { type: "string", alias: "P" },
    scheduler: { type: "boolean", default: true },
    status: { type: "enum", alias: "s", options: ["FAILED", "COMPLETED"] },
    force: { type: "boolean", alias: "f" },
    quick: { type: "boolean", alias: "q" },
    "from-start": { type: "boolean" },
    ...jsonArg,
    ...principalArg,
  },
  extras: { repeatable: ["param"] },
  run({ args, rawArgs }) {
    seen.push({ args, rawArgs });
  },
});

const root: Command = command({
  meta: { name: "cdktr" },
  subCommands: {
    runs: lazy("Runs", async () => ({
      default: group("Runs", { list: lazy("List", async () => ({ default: leaf })) }),
    })),
    check: lazy("Check", async () => ({
      default: command({
        args: { path: { type: "positional", required: true } },
        extras: { rest: "PATH" },
        run: ({ args, rawArgs }) => {
          seen.push({ args, rawArgs });
        },
      }),
    })),
  },
});

async function run(...argv: string[]) {
  const invocation = await readCommandLine(root, argv);
  await runCommand(invocation.command, { rawArgs: invocation.rawArgs });
  const last = seen.pop();
  if (last === undefined) throw new Error("the command did not run");
  return last;
}

async function refused(...argv: string[]): Promise<UsageError> {
  try {
    await readCommandLine(root, argv);
  } catch (error) {
    if (error instanceof UsageError) return error;
    throw error;
  }
  throw new Error(`accepted: ${argv.join(" ")}`);
}

describe("options", () => {
  test.each([
    [["-n", "5"], "5"],
    [["-n5"], "5"],
    [["-n=5"], "5"],
    [["--number", "5"], "5"],
    [["--number=5"], "5"],
    [["-n", "-5"], "-5"],
    [["--number", "-5"], "-5"],
    [["--number=--no-scheduler"], "--no-scheduler"],
    [["-n", "1", "-n", "2"], "2"],
  ])("%p gives %p", async (argv, value) => {
    const { args } = await run("runs", "list", "x", ...argv);
    expect(args.number).toBe(value);
    expect(args.n).toBe(value);
    expect(args.scheduler).toBe(true);
  });

  test("a repeated option keeps all its values, in order, with = inside", async () => {
    const { rawArgs, args } = await run(
      "runs",
      "list",
      "-P",
      "a=1",
      "x",
      "-Pb=2=3",
      "--param=c=",
      "--param",
      "d=-1",
    );
    expect(repeated(rawArgs, "param")).toEqual(["a=1", "b=2=3", "c=", "d=-1"]);
    expect(keyValues(repeated(rawArgs, "param"), "-P")).toEqual({ a: "1", b: "2=3", c: "", d: "-1" });
    expect(args.first).toBe("x");
  });

  test("arguments after -- are not options", async () => {
    const { args, rawArgs } = await run("runs", "list", "--", "-P", "--param=x=1");
    expect(args.first).toBe("-P");
    expect(args.second).toBe("--param=x=1");
    expect(repeated(rawArgs, "param")).toEqual([]);
  });

  test("booleans: on, off, in a bunch, absent", async () => {
    expect((await run("runs", "list", "x", "--no-scheduler")).args.scheduler).toBe(false);
    expect((await run("runs", "list", "x", "--scheduler=false")).args.scheduler).toBe(false);
    const { args } = await run("runs", "list", "x", "-fqn", "3");
    expect([args.force, args.quick, args.number]).toEqual([true, true, "3"]);
    expect((await run("runs", "list", "x")).args.force).toBeUndefined();
    expect((await run("runs", "list", "x", "--from-start")).args["from-start"]).toBe(true);
  });

  test("choices in any case arrive as they are spelt", async () => {
    expect((await run("runs", "list", "x", "-s", "failed")).args.status).toBe("FAILED");
  });

  test("global options before the command reach it", async () => {
    const { args } = await run("--principal", "h:1", "runs", "--json", "list", "x");
    expect([args.principal, args.json, args.first]).toEqual(["h:1", true, "x"]);
    expect((await readCommandLine(root, ["--no-color", "runs", "list", "x"])).plain).toBe(true);
    expect((await readCommandLine(root, ["runs", "list", "x", "--no-color"])).plain).toBe(true);
  });

  test("a negative number is an argument", async () => {
    expect((await run("runs", "list", "-5")).args.first).toBe("-5");
  });

  test("further arguments go to a command that takes them", async () => {
    expect((await run("check", "a", "b", "c")).args._).toEqual(["a", "b", "c"]);
  });
});

describe("wrong usage says what was probably meant", () => {
  test.each([
    [["rums"], "'cdktr rums' is not a command.", "Did you mean 'runs'?"],
    [["runs", "lst"], "'cdktr runs lst' is not a command.", "Did you mean 'list'?"],
    [["toString"], "'cdktr toString' is not a command.", "Commands: runs, check."],
    [["runs", "list", "x", "--jsn"], "has no option --jsn.", "Did you mean '--json'?"],
    [
      ["runs", "list", "x", "--no-schedule"],
      "has no option --no-schedule.",
      "Did you mean '--no-scheduler'?",
    ],
    [["runs", "list", "x", "-z"], "has no option -z.", "--help"],
    [["runs", "list", "x", "--number"], "--number needs a value.", undefined],
    [["runs", "list", "x", "-n", "--json"], "-n needs a value.", "-n=--json"],
    [["runs", "list", "x", "--json=maybe"], "takes no value", "--no-json"],
    [["runs", "list", "x", "-s", "FALED"], "expected one of FAILED, COMPLETED", "Did you mean 'FAILED'?"],
    [["runs", "list"], "needs FIRST", "--help"],
    [["runs", "list", "a", "b", "c"], "takes no further argument 'c'", "quotes"],
    [["check"], "needs PATH", "--help"],
    [["--json", "check", "x"], "has no option --json", "--help"],
    [["--bogus", "runs"], "has no option --bogus", "--help"],
  ])("%p", async (argv, message, hint) => {
    const error = await refused(...argv);
    expect(error.message).toContain(message);
    expect(error.exitCode).toBe(2);
    if (hint !== undefined) expect(error.hint).toContain(hint);
  });

  test("values that are no numbers or pairs", () => {
    expect(wholeNumber("12", "-n")).toBe(12);
    expect(wholeNumber(undefined, "-n")).toBeUndefined();
    for (const text of ["", "x", "1.5", "1e3", "-1", "0x10", " 1"]) {
      expect(() => wholeNumber(text, "-n")).toThrow(UsageError);
    }
    expect(() => wholeNumber("11", "-n", { min: 1, max: 10 })).toThrow("from 1 to 10");
    for (const text of ["a", "=1", ""]) expect(() => keyValues([text], "-P")).toThrow("KEY=VALUE");
  });
});

describe("help", () => {
  test.each([
    [["--help"], ["cdktr"]],
    [
      ["runs", "--help"],
      ["cdktr", "runs"],
    ],
    [
      ["-h", "runs", "list"],
      ["cdktr", "runs", "list"],
    ],
    [
      ["runs", "list", "-n", "3", "--help"],
      ["cdktr", "runs", "list"],
    ],
    [
      ["runs", "--help", "nonsense"],
      ["cdktr", "runs"],
    ],
  ])("%p is that of %p", async (argv, path) => {
    const invocation = await readCommandLine(root, argv);
    expect(invocation.help).toBe(true);
    expect(invocation.path).toEqual(path);
  });

  test("is not asked for by a value or after --", async () => {
    expect((await readCommandLine(root, ["runs", "list", "--number=--help", "x"])).help).toBe(false);
    expect((await readCommandLine(root, ["runs", "list", "--", "--help"])).help).toBe(false);
  });
});
