import { describe, expect, test } from "bun:test";
import { readCommand } from "../../src/project/crontab/command-text.ts";
import { readTimes } from "../../src/project/crontab/cron-fields.ts";
import { guessFormat, isTableHead } from "../../src/project/crontab/crontab-file.ts";
import { readEnvironmentLine } from "../../src/project/crontab/environment-line.ts";
import { type CrontabImport, importCrontab, leftLines } from "../../src/project/crontab/import-crontab.ts";
import { importReport } from "../../src/project/crontab/import-report.ts";
import { jobName } from "../../src/project/crontab/job-name.ts";
import { withChannels } from "../../src/project/crontab/mail-channels.ts";
import { firingsBetween } from "../../src/workflow/firings.ts";
import type { WorkflowDefinition } from "../../src/workflow/model.ts";
import { parseWorkflow } from "../../src/workflow/parse.ts";
import { checkCron } from "../../src/workflow/schedule.ts";
import { parseSettings } from "../../src/workflow/settings-file.ts";
import { Random } from "../chaos/random.ts";
import { entryOf, runsBetween } from "./vixie.ts";

const FROM = Date.UTC(2027, 11, 15);
const YEAR = 366 * 86_400_000;
const half = () => 0.5;

/** The firings of the workflow's expression, in UTC. */
function firings(expression: string, fromMs: number, untilMs: number): number[] {
  return firingsBetween(
    { cron: expression, timezone: "UTC", start_time_ms: null, catchup: "none" },
    { zone: "UTC", calendar: null, offsetMs: 0 },
    fromMs - 1,
    untilMs - 1,
    1e6,
  );
}

function imported(
  text: string,
  options: { format?: "user" | "system"; user?: string; settings?: string } = {},
): CrontabImport {
  return importCrontab(new TextEncoder().encode(text), {
    format: options.format ?? "user",
    source: "the crontab of alice",
    user: options.user ?? "alice",
    home: "/home/alice",
    seed: "host",
    zone: "Europe/Berlin",
    nowMs: Date.UTC(2027, 0, 1),
    schemaPath: "../../.cdktr/workflow.schema.json",
    settings: options.settings,
  });
}

/** The definitions that a crontab gives, each parsed as the principal would. */
function definitions(text: string, options: Parameters<typeof imported>[1] = {}): WorkflowDefinition[] {
  return imported(text, options).workflows.map(({ file, text: yaml }) => {
    const parsed = parseWorkflow(yaml, { path: file, id: file.replace(".yml", "") });
    if (!parsed.ok) throw new Error(`${JSON.stringify(parsed.diagnostics)}\n${yaml}`);
    return parsed.definition;
  });
}

function shellOf(definition: WorkflowDefinition | undefined): { cmd: string; args: readonly string[] } {
  const config = definition?.tasks[0]?.config;
  if (config?.type !== "Subprocess") throw new Error("no job");
  return { cmd: config.cmd, args: config.args };
}

describe("times", () => {
  const CASES = [
    "0 0 * * *",
    "*/5 3 * * *",
    "0 0 13 * 5",
    "0 0 13 * FRI",
    // Both day fields begin with a star, or one does: then both must be met.
    "0 0 */2 * 1",
    "0 0 */2 * mon-fri",
    "0 0 1-7 * */2",
    "0 0 */3 * */2",
    "0 0 1-31 * 1",
    "0 0 * * 7",
    "0 0 * * 0-7",
    "0 0 5 * 1-7",
    "0 0 * * 5-7",
    "0 0 * * 1-7/2",
    "0 0 * * */7",
    "0 0 * * */5",
    "0 0 * * */3",
    "0 0 */31 * *",
    "0 0 29 2 *",
    "0 0 31 * *",
    "0 0 30 2 1",
    "*/60 4 * * *",
    "*/45 4 * * *",
    "*/99 */48 * * *",
    "10-20/30 4 * * *",
    "0 9-17/4 * jan,Jul *",
    "00 05 01 01 *",
    "0,0,0 0,12 1,15 */5 sat,sun",
    "*,5 4 * * *",
    "0 0 1 1-12/11 0,7",
  ];
  test.each(CASES)("%s fires as Vixie cron runs it, for a year", (line) => {
    const { expression } = readTimes(line.split(" "), half);
    expect(checkCron(expression)).toBeNull();
    expect(firings(expression, FROM, FROM + YEAR)).toEqual(runsBetween(entryOf(line), FROM, FROM + YEAR));
  });

  test("60 random lines fire as Vixie cron runs them, for a year", () => {
    const source = new Random(20_250_101);
    const random = () => source.next();
    const below = (limit: number) => Math.floor(random() * limit);
    const pick = <T>(items: readonly T[]) => items[below(items.length)] as T;
    const element = (low: number, high: number, names: string[] = []) => {
      const word = (value: number) =>
        names[value - low] && random() < 0.3 ? (names[value - low] ?? "") : String(value);
      const from = low + below(high - low + 1);
      const to = from + below(high - from + 1);
      const step = random() < 0.4 ? `/${1 + below((high - low) * 1.2)}` : "";
      return pick([`*${step}`, word(from), `${word(from)}-${word(to)}${step}`]);
    };
    const field = (low: number, high: number, names?: string[]) =>
      Array.from({ length: 1 + (random() < 0.3 ? below(3) : 0) }, () => element(low, high, names)).join(",");
    let compared = 0;
    for (let i = 0; i < 60; i++) {
      // A few minutes a day: a year of every minute would be compared for nothing.
      const minutes = random() < 0.5 ? String(below(60)) : `${below(30)},${30 + below(30)}`;
      const hours = random() < 0.5 ? String(below(24)) : `${below(12)}-${12 + below(12)}/${5 + below(19)}`;
      const wide = random() < 0.1;
      const line = [
        wide ? field(0, 59) : minutes,
        wide ? field(0, 23) : hours,
        random() < 0.3 ? "*" : field(1, 31),
        random() < 0.5 ? "*" : field(1, 12, "jan feb mar apr may jun jul aug sep oct nov dec".split(" ")),
        random() < 0.3 ? "*" : field(0, 7, "sun mon tue wed thu fri sat".split(" ")),
      ].join(" ");
      const until = FROM + (wide ? 12 * 86_400_000 : YEAR);
      const { expression } = readTimes(line.split(" "), half);
      const expected = runsBetween(entryOf(line), FROM, until);
      if (checkCron(expression) !== null) {
        expect({ line, expected: runsBetween(entryOf(line), FROM, FROM + 9 * YEAR) }).toEqual({
          line,
          expected: [],
        });
        continue;
      }
      expect({ line, expression, at: firings(expression, FROM, until) }).toEqual({
        line,
        expression,
        at: expected,
      });
      compared += expected.length;
    }
    expect(compared).toBeGreaterThan(2000);
  });

  test("a difference caused by clock changes is reported, but only if there is one", () => {
    const notes = (lines: string) => imported(lines).lines.map((line) => line.notes);
    // Berlin skips 2:00 to 3:00 in March, and has it twice in October.
    expect(notes("0,30 2 * * * x")).toEqual([
      [expect.stringMatching(/in Europe\/Berlin, 02:00, 02:30 are skipped/)],
    ]);
    expect(notes("15 1-4,20-23,5-10 * * * x")).toEqual([[expect.stringMatching(/, 02:15 is skipped/)]]);
    // One time that is skipped: each time is a schedule of its own, which fires once a day as with cron.
    expect(notes("15 1-4 * * * x")).toEqual([[expect.stringMatching(/^Each time of day is a schedule/)]]);
    // What was skipped is made up for at 3:00: both would be one run.
    expect(notes("0 2,3 * * * x")).toEqual([[expect.stringMatching(/, 02:00 is skipped/)]]);
    const [made] = imported("15 1-4 * * 1-6 x").workflows;
    expect(made?.text).toContain(
      'cron:\n  - "15 1 * * 1-6"\n  - "15 2 * * 1-6"\n  - "15 3 * * 1-6"\n  - "15 4 * * 1-6"\ncatchup: none\n',
    );
    const [off] = imported("# 15 1,2 * * * x").workflows;
    expect(off?.text).toContain('# cron:\n#   - "15 1 * * *"\n#   - "15 2 * * *"\n# catchup: none\n');
    for (const same of [
      "30 2 * * * x",
      "*/10 2 * * * x",
      "0 * * * * x",
      "0 */2 * * * x",
      "0 1,3 * * * x",
      "59 1,3 * * * x",
    ])
      expect(notes(same)).toEqual([[]]);
    expect(notes("CRON_TZ=UTC\n0,30 2 * * * x")).toEqual([[], []]);
    // New York changes at 2:00 to 3:00 in spring, and repeats 1:00 to 2:00 in autumn; Lord Howe moves by half an hour.
    const [, newYork] = notes("CRON_TZ=America/New_York\n0,30 0-4 * * * x");
    expect(newYork?.[0]).toMatch(/, 01:00, 01:30, 02:00, 02:30 are/);
    const [, lordHowe] = notes("CRON_TZ=Australia/Lord_Howe\n0,30 0-4 * * * x");
    expect(lordHowe?.[0]).toMatch(/, 01:30, 02:00 are/);
  });

  test("a random value of cron is chosen once, within its range, and reported", () => {
    for (let i = 0; i < 50; i++) {
      const line = `${i}~59 ~ 1~10 * ~ cmd ${i}`;
      const [definition] = definitions(line);
      const [minute, hour, day, , weekday] = (definition?.cron ?? "").split(" ").map(Number);
      expect(minute).toBeWithin(i, 60);
      expect(hour).toBeWithin(0, 24);
      expect(day).toBeWithin(1, 11);
      expect(weekday).toBeWithin(0, 7);
      expect(definitions(line)[0]?.cron).toBe(definition?.cron as string);
    }
    expect(imported("~ 1 * * * x").lines[0]?.notes[0]).toMatch(
      /^The minute was ~: cron picks a random value/,
    );
  });

  test.each([
    ["5/10 * * * *", /minute "5\/10": a step after a single value/],
    ["60 * * * *", /60 is not between 0 and 59/],
    ["* 24 * * *", /24 is not between 0 and 23/],
    ["* * 0 * *", /0 is not between 1 and 31/],
    ["* * * 13 *", /13 is not between 1 and 12/],
    ["* * * * 8", /8 is not between 0 and 7/],
    ["* * * * fri-sun", /runs backwards/],
    ["30-10 * * * *", /runs backwards/],
    ["*/0 * * * *", /step of 0/],
    ["* * * foo *", /"foo" is not a month/],
    ["* * L * *", /"L" is not a day of the month/],
    ["* * ? * *", /does not support this syntax/],
    ["1,,2 * * * *", /does not support this syntax/],
    ["0 0 31 2 *", /never fires/],
    ["0~59/5 * * * *", /read differently by different cron programs/],
  ])("%s is listed with the reason", (times, why) => {
    const [left] = leftLines(imported(`${times} cmd`));
    expect(left?.detail).toMatch(why);
  });

  test("the short forms", () => {
    const crons = definitions(
      ["@yearly a", "@annually b", "@monthly c", "@weekly d", "@daily e", "@midnight f", "@hourly g"].join(
        "\n",
      ),
    ).map(({ cron }) => cron);
    expect(crons).toEqual([
      "0 0 1 1 *",
      "0 0 1 1 *",
      "0 0 1 * *",
      "0 0 * * 0",
      "0 0 * * *",
      "0 0 * * *",
      "0 * * * *",
    ]);
    expect(
      leftLines(imported("@reboot a\n@600 b\n@every 5m c\n@HOURLY d\n* * * * * * e")).map(
        ({ number, detail }) => [number, detail],
      ),
    ).toEqual([
      [1, expect.stringContaining("start of the host")],
      [2, "cdktr has no equivalent of @600"],
      [3, "cdktr has no equivalent of @every"],
      [4, "cron accepts @HOURLY only in lower case"],
      [5, expect.stringContaining("one field too many")],
    ]);
  });
});

test.each([
  ["A=b", "A", "b"],
  ["  A = b c  ", "A", "b c"],
  ['A=" b "', "A", " b "],
  ["A='x=y'", "A", "x=y"],
  ['"A B" = c', "A B", "c"],
  ["MAILTO=", "MAILTO", ""],
  ['MAILTO=""', "MAILTO", ""],
  ["PATH=/bin:$PATH # no comment", "PATH", "/bin:$PATH # no comment"],
  ["A\t=\tb", "A", "b"],
])("environment line %s", (line, name, value) => {
  expect(readEnvironmentLine(line)).toEqual({ name, value });
});

test.each(["* * * * * A=b cmd", "@daily A=b", "0 0 * * * test x = y", 'A="b', 'A="b" c', "A b=c", "=b"])(
  "%s is no environment line",
  (line) => {
    expect(readEnvironmentLine(line)).toBeUndefined();
  },
);

test.each([
  ["echo a", "echo a", undefined],
  ["date +\\%F", "date +%F", undefined],
  ["cat%one%two", "cat", "one\ntwo\n"],
  ["cat%", "cat", ""],
  ["cat%a\\%b", "cat", "a%b\n"],
  ["cat%a\\\\b\\n", "cat", "a\\\\b\\n\n"],
  ["printf a\\\\%in", "printf a\\\\", "in\n"],
  ["a \\", "a \\", undefined],
])("the command %s", (text, command, input) => {
  expect(readCommand(text)).toEqual({ command, input });
});

test.each([
  ["/usr/local/bin/backup.sh --full > /dev/null 2>&1", "backup"],
  ["cd /srv/app && ./bin/rake db:prune", "rake"],
  ["python3 -u /opt/etl/load_orders.py", "load_orders"],
  ["FOO=bar sudo -u postgres pg_dump x", "pg_dump"],
  ["flock -n /tmp/l /usr/bin/sync-all", "sync-all"],
  ["timeout 5m nice -n 10 curl -s https://example.org", "curl"],
  ["test -x /usr/sbin/anacron || { cd / && run-parts --report /etc/cron.daily; }", "run-parts"],
  ["[ -f x ] && php -q /var/www/cron.php", "cron"],
  ["sh -c 'rsync -a a b'", "rsync"],
  ["/opt/Größe.sh", "gro-e"],
  ['"/opt/My Job/run it.sh"', "run-it"],
  ["$HOME/x", "x"],
  ["> /tmp/x", "job"],
  ["***", "job"],
])("the file of %s is %s.yml", (command, name) => {
  expect(jobName(command)).toBe(name);
});

const CRONTAB = `# Edit this file to introduce tasks to be run by cron.
# 0 5 * * 1 tar -zcf /var/backups/home.tgz /home/
# m h  dom mon dow   command
SHELL = /bin/bash
PATH="/opt/bin:/usr/bin"
MAILTO=ops@example.org

# Nightly backup
30 2 * * * /opt/bin/backup.sh
CRON_TZ=Europe/Berlin
API_TOKEN=abc
# Twice as often
# since March.
*/10 * * * * /opt/bin/backup.sh --quick
#0 4 * * 7 /opt/bin/weekly
@reboot /opt/bin/hello
0 1 * * * mail -s hi bob%Dear Bob,%100\\% well
nonsense
-5 1 * * * quiet
`;

test("a typical crontab: every line is in a workflow or in the list", () => {
  const all = imported(CRONTAB);
  expect(all.lines.map(({ number }) => number)).toEqual(
    CRONTAB.trimEnd()
      .split("\n")
      .map((_, i) => i + 1),
  );
  expect(all.lines.map(({ text }) => text).join("\n")).toBe(CRONTAB.trimEnd());
  expect(all.lines.map(({ outcome }) => outcome)).toEqual([
    "comment",
    "comment",
    "comment",
    "environment",
    "environment",
    "environment",
    "blank",
    "comment",
    "workflow",
    "environment",
    "environment",
    "comment",
    "comment",
    "workflow",
    "disabled",
    "left",
    "workflow",
    "left",
    "workflow",
  ]);
  expect(all.workflows.map(({ file }) => file)).toEqual([
    "backup.yml",
    "backup-2.yml",
    "weekly.yml",
    "mail.yml",
    "quiet.yml",
  ]);

  const [backup, quick, weekly, mail] = definitions(CRONTAB);
  expect(backup).toMatchObject({
    name: "Nightly backup",
    description: "Nightly backup",
    cron: "30 2 * * *",
    timezone: null,
    catchup: "none",
    failover: "never",
    env: { SHELL: "/bin/bash", PATH: "/opt/bin:/usr/bin" },
  });
  expect(shellOf(backup)).toEqual({ cmd: "/bin/bash", args: ["-c", "/opt/bin/backup.sh"] });
  expect(backup?.tasks[0]?.config).toMatchObject({ working_directory: "/home/alice" });
  expect(quick).toMatchObject({
    name: "backup",
    description: "Twice as often\nsince March.",
    timezone: "Europe/Berlin",
    env: { SHELL: "/bin/bash", PATH: "/opt/bin:/usr/bin", API_TOKEN: "abc" },
  });
  expect(weekly?.cron).toBeNull();
  expect(all.workflows[2]?.text).toContain('# cron: "0 4 * * 0"');
  expect(shellOf(mail).args.slice(2)).toEqual(["/bin/bash", "Dear Bob,\n100% well\n", "mail -s hi bob"]);

  const report = importReport(all, "workflows/cron");
  for (const line of CRONTAB.trimEnd().split("\n")) expect(report).toContain(line);
  expect(report).toContain("Line 6:\n\n    MAILTO=ops@example.org\n\nCron mails what jobs print.");
  expect(report).toContain("   6  receiver of mail");
  expect(all.channels).toEqual([{ name: "cron", to: ["ops@example.org"], from: undefined }]);
  expect(definitions(CRONTAB).map(({ notify }) => notify)).toEqual(
    all.workflows.map(() => [{ on: ["failed", "recovered"], to: ["cron"] }]),
  );
  expect(report).toContain(
    "4 jobs became workflows in `workflows/cron/`, 1 commented-out job a workflow that never fires. 2 lines could not",
  );
  expect(report).toMatch(/It looks like a secret/);
});

test("the shell gets the command and its input as cron gives them", async () => {
  const lines = [
    '0 0 * * * cat; echo "it\'s $((1+1)) $0"%a \'b\' "c"%$d \\%e',
    "0 0 * * * echo '\\%s' \"\\\\n\"",
    "0 0 * * * exit 7%unread",
  ];
  const outputs = [];
  for (const definition of definitions(lines.join("\n"))) {
    const { cmd, args } = shellOf(definition);
    const child = Bun.spawn([cmd, ...args], { stdout: "pipe", stdin: "ignore" });
    outputs.push([await new Response(child.stdout).text(), await child.exited]);
  }
  const expected = [];
  // What cron does: the shell with -c, and the input in a pipe.
  for (const [command, input] of [
    ['cat; echo "it\'s $((1+1)) $0"', "a 'b' \"c\"\n$d %e\n"],
    ["echo '%s' \"\\\\n\"", ""],
    ["exit 7", "unread\n"],
  ] as const) {
    const child = Bun.spawn(["/bin/sh", "-c", command], { stdout: "pipe", stdin: new Blob([input]) });
    expected.push([await new Response(child.stdout).text(), await child.exited]);
  }
  expect(outputs).toEqual(expected);
});

test("a system crontab: the column of the user, other users' jobs are listed", () => {
  const text =
    "17 * * * * root cd / && run-parts --report /etc/cron.hourly\n0 0 * * * www-data php x.php\n1 1 * * * root\n";
  const all = imported(text, { format: "system", user: "root" });
  expect(all.workflows.map(({ file }) => file)).toEqual(["run-parts.yml"]);
  expect(leftLines(all).map(({ number, detail }) => [number, detail])).toEqual([
    [2, expect.stringMatching(/runs as www-data, .*here root/)],
    [3, "it has no user or no command"],
  ]);
  const users = (name: string) => ["root", "www-data", "mail"].includes(name);
  const programs = (name: string) => name === "mail";
  const guess = (crontab: string) => guessFormat(new TextEncoder().encode(crontab), users, programs);
  expect(guess(text)).toBe("system");
  expect(guess("* * * * * mail -s x y")).toBe("user");
  expect(guess("* * * * * mail mail -s x y\n* * * * * root x")).toBe("system");
  expect(guess("* * * * * root x\n* * * * * ls")).toBe("user");
  expect(guess("# nothing\n")).toBe("user");
});

test("commented-out jobs are distinguished from prose", () => {
  const outcomes = (text: string) => imported(text).lines.map(({ outcome }) => outcome);
  expect(outcomes("#0 5 * * * cmd\n## */5 * * * 1-5 cmd\n#@daily cmd")).toEqual([
    "disabled",
    "disabled",
    "disabled",
  ]);
  expect(
    outcomes(
      "# m h dom mon dow command\n# run the two big jobs now\n# see PATH=x\n#99 5 * * * cmd\n# @bob please look at this\n#5 4",
    ),
  ).toEqual(["comment", "comment", "comment", "comment", "comment", "comment"]);
});

test("a line that is not UTF-8, a CR at the end, no line feed at the end", () => {
  const bytes = new Uint8Array([
    ...Buffer.from("0 0 * * * one\r\n0 1 * * * caf"),
    0xe9,
    ...Buffer.from("\n0 2 * * * two"),
  ]);
  const all = importCrontab(bytes, {
    format: "user",
    source: "x",
    user: "alice",
    home: "/",
    seed: "",
    zone: "UTC",
    nowMs: 0,
    schemaPath: "s",
  });
  expect(all.lines.map(({ outcome, detail }) => [outcome, detail])).toEqual([
    ["workflow", "one.yml"],
    ["left", "it is not UTF-8"],
    ["workflow", "two.yml"],
  ]);
});

test("120 random crontabs: every line is accounted for, every workflow is valid, commands arrive as they were", () => {
  const source = new Random(7);
  const random = () => source.next();
  const below = (limit: number) => Math.floor(random() * limit);
  const ALPHABET = "aZ09 /-_.:;,|&<>()[]{}$`\"'\\#!*?~^@+=%\t\u00e9\u20ac\u{1f600}\u0007\u2028";
  const characters = [...ALPHABET];
  const noise = (length: number) =>
    Array.from({ length: below(length) }, () => characters[below(characters.length)]).join("");
  for (let i = 0; i < 120; i++) {
    const lines = Array.from({ length: below(12) }, () => {
      switch (below(6)) {
        case 0:
          return `#${noise(30)}`;
        case 1:
          return `${["A", "PATH", "SHELL", "MAILTO", "CRON_TZ", "HOME"][below(6)]}=${noise(20)}`;
        case 2:
          return noise(40);
        case 3:
          return "";
        default:
          return `${below(60)} ${below(24)} * * ${below(8)} x${noise(40)}`;
      }
    });
    const text = lines.map((line) => `${line}\n`).join("");
    const all = imported(text);
    expect(all.lines.map((line) => line.text)).toEqual(lines);
    const files = all.workflows.map(({ file }) => file);
    expect(new Set(files).size).toBe(files.length);
    for (const line of all.lines) {
      if (line.outcome === "workflow" || line.outcome === "disabled") expect(files).toContain(line.detail);
      if (line.outcome === "left") expect(line.detail).not.toBe("");
    }
    for (const [index, definition] of definitions(text).entries()) {
      const from = lines[(all.workflows[index]?.line ?? 0) - 1] ?? "";
      if (from.startsWith("#")) continue;
      const written = /^\s*-?(?:\S+\s+){5}(.*)$/su.exec(from)?.[1]?.trimEnd() ?? "";
      const { command } = readCommand(written);
      if (/^\d+ \d+ \* \* /.test(from)) expect(shellOf(definition).args).toContain(command);
    }
  }
});

test("the head of a table of jobs is not the name of the first job", () => {
  const heads = [
    "m h  dom mon dow   command",
    "m h dom mon dow cmd",
    "│ │ │ │ └─ day of week (0-6)",
    "|  |  |  |  .---- day of week (0 - 6) (Sunday=0 or 7) OR sun,mon,tue,wed,thu,fri,sat",
    "*  *  *  *  * user-name  command to be executed",
    "┌───────────── minute (0 - 59)",
  ];
  for (const head of heads) expect([head, isTableHead(head)]).toEqual([head, true]);
  for (const says of ["every hour", "Month", "Run the job", "nightly backup", "sun and moon"])
    expect([says, isTableHead(says)]).toEqual([says, false]);
});

test("guesses, drops and changes are reported, and match what happens", () => {
  const text = [
    "CRON_TZ=Europe/Paris",
    "0 1 * * * /bin/paris",
    "CRON_TZ=Nowhere/Land",
    "0 2 * * * /bin/nowhere",
    "CRON_TZ=JST-9",
    "-0 3 * * * /bin/quiet",
    "0 4 * * * -n /bin/unmailed\r",
    "0 5 * * * /bin/last",
  ].join("\n");
  const all = imported(text);
  expect(definitions(text).map(({ name, timezone }) => [name, timezone])).toEqual([
    ["paris", "Europe/Paris"],
    ["nowhere", null],
    ["quiet", "Etc/GMT-9"],
    ["unmailed", "Etc/GMT-9"],
    ["last", "Etc/GMT-9"],
  ]);
  expect(leftLines(all).map(({ number, detail }) => [number, detail])).toEqual([
    [3, expect.stringContaining("the jobs below use the principal's")],
  ]);
  expect(all.lines.flatMap(({ number, notes }) => notes.map((note) => [number, note]))).toEqual([
    [5, "The zone JST-9 is written as Etc/GMT-9."],
    [6, expect.stringContaining("The - before the times is dropped")],
    [7, expect.stringContaining("-n is dropped")],
  ]);
  expect(all.notes).toEqual([
    expect.stringContaining("carriage returns"),
    expect.stringContaining("does not end with a newline"),
  ]);
  const report = importReport(all, "workflows/cron");
  for (const note of all.notes) expect(report).toContain(note);
  expect(report).toContain("in the time zone of this host (Europe/Berlin)");

  const group = imported("0 0 * * * root:daemon /bin/x\n", { format: "system", user: "root" });
  expect(group.lines[0]?.notes).toEqual([expect.stringContaining('":daemon" after the user is dropped')]);
});

describe("MAILTO", () => {
  const channelsOf = (text: string) => {
    const all = imported(text);
    return {
      channels: all.channels.map(({ name, to, from }) => [name, to.join(" "), from]),
      told: all.workflows.map(({ channel }) => channel),
    };
  };
  const JOB = "0 0 * * * true\n";

  test.each([
    ["", [], [undefined]],
    ['MAILTO=""\n', [], [undefined]],
    ["MAILTO=root\n", [["cron", "root", undefined]], ["cron"]],
    [
      "MAILTO=a@example.org, b@example.org,a@example.org\n",
      [["cron", "a@example.org b@example.org", undefined]],
      ["cron"],
    ],
    [
      "MAILTO=a@example.org\nMAILFROM=cron@example.org\n",
      [["cron", "a@example.org", "cron@example.org"]],
      ["cron"],
    ],
    ["MAILFROM=cron@example.org\n", [], [undefined]],
  ])("%j", (text, channels, told) => {
    expect(channelsOf(`${text}${JOB}`)).toEqual({ channels, told } as never);
  });

  test("counts for the jobs below it, until the next one", () => {
    const text = ["", "MAILTO=a@b.c", "MAILTO=d@e.f", "MAILTO=", "MAILTO=a@b.c"]
      .map((line) => `${line}\n${JOB}`)
      .join("");
    expect(channelsOf(text)).toEqual({
      channels: [
        ["cron", "a@b.c", undefined],
        ["cron-2", "d@e.f", undefined],
      ],
      told: [undefined, "cron", "cron-2", undefined, "cron"],
    });
  });

  test("of a second crontab tells nobody whom the first one named", () => {
    const named = (text: string, settings: string) =>
      imported(`${text}\n${JOB}`, { settings }).channels.map(({ name, to }) => [name, to.join()]);
    const first = withChannels(undefined, imported(`MAILTO=a@b.c\n${JOB}`).channels);
    expect(named("MAILTO=d@e.f", first)).toEqual([["cron-2", "d@e.f"]]);
    // The same one again, also where its channel was replaced.
    expect(named("MAILTO=a@b.c", first)).toEqual([["cron", "a@b.c"]]);
    expect(named("MAILTO=a@b.c", "channels: {cron: {command: [page]}}\n")).toEqual([["cron", "a@b.c"]]);
    expect(named("MAILTO=a@b.c", "pools: 7\n")).toEqual([["cron", "a@b.c"]]);
  });

  test("that is no address is listed, and changes nothing", () => {
    const text = `MAILTO=ops@example.org\nMAILTO="not an address"\n${JOB}`;
    expect(channelsOf(text).told).toEqual(["cron"]);
    expect(leftLines(imported(text))).toMatchObject([
      { number: 2, detail: expect.stringContaining("it cannot be a channel") },
    ]);
  });

  describe("in _cdktr.yml", () => {
    const cron = { name: "cron", to: ["ops@example.org", "root"], from: undefined };
    const other = { name: "cron-2", to: ["a@example.org"], from: "cron <cron@example.org>" };
    const settings = (text: string) => {
      const result = parseSettings(text, "_cdktr.yml", true);
      return result.ok ? Object.entries(result.settings.channels ?? {}) : result.diagnostics;
    };
    const MADE = [
      ["cron", { mail: { to: cron.to, smtp: { host: "localhost" } } }],
      ["cron-2", { mail: { to: other.to, from: other.from, smtp: { host: "localhost" } } }],
    ];

    test("there is a channel for each, and what is there stays", () => {
      expect(settings(withChannels(undefined, [cron, other]))).toEqual(MADE as never);
      for (const before of ["pools: {a: 1}\n", "pools: {a: 1}", "# mine\npools:\n  a: 1\n"]) {
        const text = withChannels(before, [cron, other]);
        expect(text).toStartWith(before);
        expect(settings(text)).toEqual(MADE as never);
        expect(withChannels(text, [cron, other])).toBe(text);
      }
      const text = withChannels("channels: # mine\n    page: {command: [x]}\npools: {a: 1}\n", [cron, other]);
      expect(settings(text)).toEqual([...MADE, ["page", { command: ["x"] }]] as never);
    });

    test("a channel of the same name, a file with mistakes, and one that cannot be added to stay as they are", () => {
      for (const text of [
        "channels: {cron: {command: [x]}}\n",
        "pools: 7\n",
        "channels: {page: {command: [x]}}\n",
      ])
        expect(withChannels(text, [cron])).toBe(text);
    });
  });
});
