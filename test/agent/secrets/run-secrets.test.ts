import { describe, expect, test } from "bun:test";
import { chmodSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { RunAssignment } from "../../../src/contract/messages.ts";
import { assignmentOf, Bench, until, workflowOf } from "../support/bench.ts";

const PASSWORD = "hunter2-péage";
const isRoot = process.getuid?.() === 0;

type Source = NonNullable<RunAssignment["workflow"]["secrets"]>[string];

/** The end of a task that uses the secret PASSWORD, which is there. */
async function tried(
  source: Source,
  options: {
    readonly run?: string;
    readonly bench?: Bench;
    readonly assignment?: Partial<RunAssignment>;
  } = {},
) {
  using own =
    options.bench === undefined ? new Bench({ environment: { ...process.env, PROD_KEY: PASSWORD } }) : null;
  const bench = options.bench ?? own;
  if (bench === null) throw new Error("there is no bench");
  const outcome = await bench.run(
    { t: { run: options.run ?? 'printf "%s" "$PASSWORD" | wc -c', secrets: { PASSWORD: "PASSWORD" } } },
    { secrets: { PASSWORD: source } },
    options.assignment,
  );
  return { error: outcome.last("t").error, log: outcome.log("t").map((line) => line.trim()) };
}

describe("a secret comes from", () => {
  test("a file, without its last line break", async () => {
    using bench = new Bench();
    writeFileSync(join(bench.directory, "db"), `${PASSWORD}\n`);
    symlinkSync("db", join(bench.directory, "link"));
    for (const file of ["db", join(bench.directory, "db"), "./link"])
      expect(await tried({ file }, { bench })).toEqual({ error: null, log: ["INFO 14"] });
  });

  test("a variable of the agent", async () => {
    expect(await tried({ env: "PROD_KEY" })).toEqual({ error: null, log: ["INFO 14"] });
  });

  test("the output of a command, which runs without a shell in the agent's environment", async () => {
    expect(await tried({ command: ["printenv", "PROD_KEY"] })).toEqual({ error: null, log: ["INFO 14"] });
    expect(await tried({ command: ["printf", "%s", "a;b $c"] })).toEqual({ error: null, log: ["INFO 6"] });
  });

  test("the principal's store", async () => {
    const assignment = { stored_secrets: { db: { value: PASSWORD } } };
    expect(await tried({ store: "db" }, { assignment })).toEqual({ error: null, log: ["INFO 14"] });
  });

  test("its place anew for each try", async () => {
    using bench = new Bench();
    const file = join(bench.directory, "db");
    writeFileSync(file, "first-secret");
    const outcome = await bench.run(
      {
        t: {
          run: `echo "$CDKTR_ATTEMPT \${#PASSWORD} $PASSWORD"; printf second-secret-longer > db; cat db; exit $((2 - CDKTR_ATTEMPT))`,
          secrets: { PASSWORD: "DB" },
          retry: { max_attempts: 2, delay_ms: 0, backoff: 1 },
        },
      },
      { secrets: { DB: { file } } },
    );
    expect(outcome.end).toBe("COMPLETED");
    expect(outcome.log("t").filter((line) => line.startsWith("INFO"))).toEqual([
      "INFO 1 12 ***",
      // It is a secret as soon as it is read.
      "INFO second-secret-longer",
      "INFO 2 20 ***",
      "INFO ***",
    ]);
  });
});

describe("a task that cannot have its secret does not start:", () => {
  test.each([
    ["no file", { file: "/no/such" }, " cannot be read from /no/such: there is no such file"],
    ["a directory", { file: "/etc" }, " cannot be read from /etc: it is a directory"],
    ["a device", { file: "/dev/zero" }, " cannot be read from /dev/zero: it is not a regular file"],
    ["no variable", { env: "NO_SUCH" }, " cannot be read: there is no environment variable NO_SUCH"],
    [
      "a command that fails",
      { command: ["sh", "-c", "echo $PROD_KEY >&2; exit 3"] },
      ': its command "sh" ended with status 3',
    ],
    [
      "a command that is killed",
      { command: ["sh", "-c", "kill -9 $$"] },
      ': its command "sh" was ended by SIGKILL',
    ],
    [
      "no command",
      { command: ["no-such-program"] },
      / has a command that cannot be started: "no-such-program" was not found; PATH was searched: .*/,
    ],
    ["a silent command", { command: ["true"] }, ' is empty: its command "true" prints nothing'],
    [
      "too much",
      { command: ["sh", "-c", "yes | head -c 70000"] },
      ': its command "sh" prints more than 64 KiB',
    ],
    [
      "something short",
      { command: ["echo", "abc"] },
      " has fewer than 4 characters: it could not be hidden in the log",
    ],
    [
      "a NUL",
      { command: ["printf", "hunter2\\0more"] },
      " contains a NUL character, which no environment variable can hold",
    ],
    ["no text", { command: ["printf", "hunter2\\377"] }, " is not UTF-8 text"],
    ["nothing in the store", { store: "db" }, ' cannot be read: the principal has no secret "db"'],
    [
      "an unknown place",
      { vault: "x" } as Source,
      /^Cannot start: this agent does not know where the secret PASSWORD is\.$/,
    ],
  ] as [string, Source, string | RegExp][])("%s", async (_, source, reason) => {
    const { error, log } = await tried(source);
    if (typeof reason === "string") expect(error).toBe(`Cannot start: the secret PASSWORD${reason}.`);
    else expect(error).toMatch(reason);
    expect(log[0]).toBe(`ERROR ${error}`);
    expect(JSON.stringify(log)).not.toContain("hunter2");
  });

  test.skipIf(isRoot)("a file that the agent may not read", async () => {
    using bench = new Bench();
    const file = join(bench.directory, "db");
    writeFileSync(file, PASSWORD);
    chmodSync(file, 0);
    expect((await tried({ file }, { bench })).error).toBe(
      `Cannot start: the secret PASSWORD cannot be read from ${file}: permission denied.`,
    );
  });

  test("it is stopped, and the command with it, while that runs", async () => {
    using bench = new Bench();
    const assignment = assignmentOf(
      workflowOf(
        { t: { run: "true", secrets: { PASSWORD: "PASSWORD" } } },
        {
          secrets: {
            PASSWORD: { command: ["sh", "-c", `echo $$ > ${join(bench.directory, "pid")}; sleep 60 & wait`] },
          },
        },
      ),
    );
    const run = bench.prepare(assignment);
    run.start();
    await until(() => bench.has("pid"), "the command runs");
    run.stop("cancelled");
    expect(await run.over).toBe("CANCELLED");
    const pid = readFileSync(join(bench.directory, "pid"), "utf8").trim();
    await until(() => {
      try {
        process.kill(-Number(pid), 0);
        return false;
      } catch {
        return true;
      }
    }, "the command and its children are gone");
  });

  test("it times out while its secret is read", async () => {
    using bench = new Bench();
    const outcome = await bench.run(
      { t: { run: "true", timeout_ms: 50, secrets: { PASSWORD: "PASSWORD" } } },
      { secrets: { PASSWORD: { command: ["sleep", "60"] } } },
    );
    expect(outcome.last("t")).toMatchObject({ status: "FAILED", error: "timed out after 50ms" });
  });
});

describe("a secret is hidden in", () => {
  const secrets = { PASSWORD: "PASSWORD" };

  test("the output of every task of the run, once it was read", async () => {
    using bench = new Bench({ environment: { ...process.env, PROD_KEY: PASSWORD } });
    const outcome = await bench.run(
      {
        one: { run: `printf %s "$PASSWORD" > left; echo "it is $PASSWORD." >&2; exit 7`, secrets },
        two: {
          run: "while [ ! -e left ]; do sleep 0.01; done; cat left; echo; base64 left; exec xxd -p left || true",
        },
      },
      { secrets: { PASSWORD: { env: "PROD_KEY" } } },
    );
    expect(outcome.log("one")).toEqual(["ERROR it is ***."]);
    expect(outcome.last("one").error).toBe("exit status 7: it is ***.");
    expect(outcome.log("two").slice(0, 2)).toEqual(["INFO ***", "INFO ***="]);
    expect(JSON.stringify([outcome.reports, outcome.lines])).not.toContain("hunter2");
  });

  test("output that is written in pieces, coloured or rewritten", async () => {
    using bench = new Bench({ environment: { ...process.env, PROD_KEY: PASSWORD } });
    const outcome = await bench.run(
      {
        t: {
          run: [
            `printf "%.4s" "$PASSWORD"; sleep 0.05; printf "%s\\n" "\${PASSWORD#????}"`,
            'printf "hunt\\033[1;31mer2-\\033[0mpéage\\n"',
            'printf "progress\\rhunter2-péage\\r\\n"',
            'printf "%s" "$PASSWORD"',
          ].join("; "),
          secrets,
        },
      },
      { secrets: { PASSWORD: { env: "PROD_KEY" } } },
    );
    expect(outcome.log("t")).toEqual(["INFO ***", "INFO ***", "INFO ***", "INFO ***"]);
  });

  test("what it publishes, except names, which must not have one", async () => {
    using bench = new Bench({ environment: { ...process.env, PROD_KEY: "87654321" } });
    const outcome = await bench.run(
      {
        values: {
          run: `printf '{"url": "http://u:%s@h", "deep": [{"x": "%s"}], "number": %s, "rows": 3}' $PASSWORD $PASSWORD $PASSWORD > "$CDKTR_OUTPUT"`,
          secrets,
        },
        names: { run: `printf '{"deep": {"a%s": 1}}' $PASSWORD > "$CDKTR_OUTPUT"`, secrets },
      },
      { secrets: { PASSWORD: { env: "PROD_KEY" } } },
    );
    expect(outcome.last("values").outputs).toEqual({
      url: "http://u:***@h",
      deep: [{ x: "***" }],
      number: "***",
      rows: 3,
    });
    expect(outcome.last("names").error).toBe("its outputs cannot be published: a secret is part of a name");
  });

  test("messages of the agent, such as the name of a process that was left running", async () => {
    using bench = new Bench({ environment: { ...process.env, PROD_KEY: "hunter2" } });
    mkdirSync(join(bench.directory, "bin"));
    symlinkSync("/bin/sleep", join(bench.directory, "bin", "hunter2"));
    const outcome = await bench.run(
      { t: { run: "bin/hunter2 60 & exit 0", secrets } },
      { secrets: { PASSWORD: { env: "PROD_KEY" } } },
    );
    expect(outcome.log("t").join("\n")).toContain("left processes running: *** (pid");
  });
});

test("variables that hold secrets of the workflow override those of the same name, but not cdktr's own", async () => {
  using bench = new Bench({
    environment: { ...process.env, NAME: "of the agent", PROD_KEY: "the secret one" },
  });
  const outcome = await bench.run(
    { t: { run: `test "$NAME" = "the secret one" && echo "\${#NAME}"`, secrets: { NAME: "KEY" } } },
    { env: { NAME: "of the workflow" }, secrets: { KEY: { env: "PROD_KEY" } } },
  );
  expect(outcome.log("t")).toEqual(["INFO 14"]);
});

test("a task of a run with secrets leaves no core dump; others keep their limit", async () => {
  using bench = new Bench({ environment: { ...process.env, PROD_KEY: PASSWORD } });
  const limit = "grep core.file /proc/self/limits | tr -s ' ' | cut -d' ' -f5";
  const before = (await bench.run({ t: { run: limit } })).log("t");
  const with_secrets = await bench.run(
    { t: { run: limit, secrets: { PASSWORD: "PASSWORD" } } },
    { secrets: { PASSWORD: { env: "PROD_KEY" } } },
  );
  const hasNone =
    before[0] === "INFO 0" && (await bench.run({ t: { run: "ulimit -Hc" } })).log("t")[0] === "INFO 0";
  expect(with_secrets.log("t")).toEqual([hasNone ? "INFO 0" : "INFO 1"]);
  expect((await bench.run({ t: { run: limit } })).log("t")).toEqual(before);
});

describe("values that a place gives only once", () => {
  const signal = new AbortController().signal;
  /** The secrets T and U of a run, and a function that reads a new value of one. */
  function rotating(bench: Bench) {
    const files = { T: join(bench.directory, "t"), U: join(bench.directory, "u") };
    const secrets = bench.secretsOf(
      assignmentOf(
        workflowOf({ t: { run: "true" } }, { secrets: { T: { file: files.T }, U: { file: files.U } } }),
      ),
    );
    const next = async (value: string, name: "T" | "U" = "T") => {
      writeFileSync(files[name], value);
      return secrets.read({ V: name }, signal);
    };
    return { secrets, next };
  }

  test("are looked for while a try uses them, and the latest of them afterwards", async () => {
    using bench = new Bench();
    const { secrets, next } = rotating(bench);
    const used = await next("token-in-use");
    await next("of-another-secret", "U");
    for (let n = 100; n < 130; n++) secrets.release(await next(`token-${n}`));
    for (const known of ["token-in-use", "of-another-secret", "token-129", "token-122"])
      expect(secrets.mask(known)).toBe("***");
    expect(secrets.mask("token-100")).toBe("token-100");
    secrets.release(used);
  });

  test("may have 256 KiB together at any time, and one that is refused does not count", async () => {
    using bench = new Bench();
    const { secrets, next } = rotating(bench);
    const long = (letter: string) => letter.repeat(60_000);
    const used = [];
    for (const letter of "abcd") used.push(await next(long(letter)));
    await expect(next(long("e"))).rejects.toThrow("more than 256 KiB together");
    secrets.release(await next("a-short-one", "U"));
    for (const values of used) secrets.release(values);
    secrets.release(await next(long("f")));
    expect(secrets.mask(long("f"))).toBe("***");
  });
});
