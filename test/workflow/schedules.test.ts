/** `cron` as a text, a mapping and a list. */
import { describe, expect, test } from "bun:test";
import { readDefinition, type WorkflowDefinition } from "../../src/workflow/model.ts";
import { entryFacts, entryInWords } from "../../src/workflow/schedule-words.ts";
import { schedulesOf } from "../../src/workflow/schedules.ts";
import { definitionOf, diagnosticsOf } from "./support.ts";

const TASKS = "tasks: {a: {run: ls}}\n";
const PARAMS = `params:
  region: {enum: [eu, us], default: eu}
  full: {type: bool, default: false}
  days: {type: int, min: 1, max: 31, default: 7}
  tables: {type: json, default: []}
`;

const of = (lines: string): WorkflowDefinition => definitionOf(`${lines}\n${PARAMS}${TASKS}`);

/** What a file says about its schedules, as it is stored. */
function stored(lines: string) {
  const { cron, timezone, start_time_ms, catchup, schedules } = of(lines);
  return { cron, timezone, start_time_ms, catchup, schedules };
}

const NONE = { cron: null, timezone: null, start_time_ms: null, catchup: "latest" } as const;
const ENTRY = { cron: "0 2 * * *", timezone: null, start_time_ms: null, catchup: "latest" } as const;
const START = "2026-01-01T00:00:00Z";
const START_MS = Date.parse(START);
const END = "2027-01-01T00:00:00+01:00";
const END_MS = Date.parse(END);

describe("one schedule that uses nothing new is stored as a text is", () => {
  const text = (lines: string) => JSON.stringify(of(`cron: "0 2 * * *"\n${lines}`));
  for (const [lines, same] of [
    ['cron: ["0 2 * * *"]', ""],
    ["cron: [0  2 * *   *]", ""],
    ['cron: {cron: "0 2 * * *"}', ""],
    ['cron: [{cron: "0 2 * * *"}]', ""],
    ['cron: [{cron: "0 2 * * *", params: {}}]', ""],
    ['cron: [{cron: "0 2 * * *", timezone: Europe/London}]', "timezone: Europe/London"],
    ['cron: {cron: "0 2 * * *", timezone: Europe/London}\ntimezone: UTC', "timezone: Europe/London"],
    ['cron: ["0 2 * * *"]\ntimezone: UTC', "timezone: UTC"],
    [`cron: {cron: "0 2 * * *", start_time: ${START}}`, `start_time: ${START}`],
    [`cron: ["0 2 * * *"]\nstart_time: ${START}`, `start_time: ${START}`],
    ['cron: {cron: "0 2 * * *", catchup: all}', "catchup: all"],
    ['cron: ["0 2 * * *"]\ncatchup: none', "catchup: none"],
    ['cron: {cron: "0 2 * * *", catchup: all}\ncatchup: none', "catchup: all"],
    ['cron: {cron: "0 2 * * *", catchup: }', ""],
    [
      'cron: {cron: "0 2 * * *", catchup: all}\ncatchup: all\non: {workflow: {id: b}}',
      "catchup: all\non: {workflow: {id: b}}",
    ],
  ] as const) {
    test(lines.replaceAll("\n", "; "), () => expect(JSON.stringify(of(lines))).toBe(text(same)));
  }
});

describe("all others are stored as entries", () => {
  for (const [lines, entries] of [
    [`cron: {cron: "0 2 * * *", end_time: ${END}}`, [{ ...ENTRY, end_time_ms: END_MS }]],
    ['cron: {cron: "0 2 * * *", jitter: 5m}', [{ ...ENTRY, jitter_ms: 300_000 }]],
    ['cron: {cron: "0 2 * * *", jitter: 1d}', [{ ...ENTRY, jitter_ms: 86_400_000 }]],
    ['cron: {cron: "0 2 * * *", calendar: workdays}', [{ ...ENTRY, calendar: "workdays" }]],
    ['cron: {cron: "0 2 * * *", calendar: a.b-c_2}', [{ ...ENTRY, calendar: "a.b-c_2" }]],
    ['cron: {cron: "0 2 * * *", catchup_window: 6h}', [{ ...ENTRY, catchup_window_ms: 21_600_000 }]],
    ['cron: {cron: "0 2 * * *", params: {region: us}}', [{ ...ENTRY, params: { region: "us" } }]],
    ['cron: {cron: "0 2 * * *", params: {full: True}}', [{ ...ENTRY, params: { full: "true" } }]],
    ['cron: {cron: "0 2 * * *", params: {days: 07}}', [{ ...ENTRY, params: { days: "7" } }]],
    [
      'cron: {cron: "0 2 * * *", params: {tables: [a, 1, {b: true}]}}',
      [{ ...ENTRY, params: { tables: '["a",1,{"b":true}]' } }],
    ],
    ['cron: {cron: "0 2 * * *", params: {tables: a}}', [{ ...ENTRY, params: { tables: '"a"' } }]],
    ["cron: [0 2 * * *, 0 3 * * *]", [ENTRY, { ...ENTRY, cron: "0 3 * * *" }]],
    ['cron: [0 2 * * *, {cron: "0 2 * * *", timezone: UTC}]', [ENTRY, { ...ENTRY, timezone: "UTC" }]],
  ] as const) {
    test(lines, () => expect(stored(lines)).toEqual({ ...NONE, schedules: [...entries] }));
  }

  test("with what the workflow says where they say nothing", () => {
    const lines = `timezone: Asia/Tehran\nstart_time: ${START}\ncatchup: none\ncron:
  - 0 2 * * *
  - {cron: "0 3 * * *", timezone: UTC, catchup: all}
  - {cron: "0 4 * * *", start_time: ${END}}`;
    const common = { timezone: "Asia/Tehran", start_time_ms: START_MS, catchup: "none" } as const;
    expect(stored(lines)).toEqual({
      cron: null,
      ...common,
      schedules: [
        { cron: "0 2 * * *", ...common },
        { cron: "0 3 * * *", ...common, timezone: "UTC", catchup: "all" },
        { cron: "0 4 * * *", ...common, start_time_ms: END_MS },
      ],
    });
  });

  test("if the catchup of the only one differs from that of its workflow, which is about its events", () => {
    const lines = 'cron: {cron: "0 2 * * *", catchup: all}\non: {workflow: {id: b}}';
    expect(stored(lines)).toEqual({ ...NONE, schedules: [{ ...ENTRY, catchup: "all" }] });
  });

  test("in the order of the file, and read back as they are", () => {
    const definition = of('cron: [0 5 * * *, 0 1 * * *, {cron: "0 3 * * *", jitter: 5m}]');
    expect(schedulesOf(definition).map(({ cron }) => cron)).toEqual(["0 5 * * *", "0 1 * * *", "0 3 * * *"]);
    expect(readDefinition(JSON.stringify(definition))).toEqual(definition);
  });

  test("and what a newer cdktr adds to them is kept", () => {
    const definition = of('cron: {cron: "0 2 * * *", jitter: 5m}');
    const [entry] = definition.schedules ?? [];
    const newer = { ...definition, schedules: [{ ...entry, moon: "full", catchup: "some" }] };
    expect(readDefinition(JSON.stringify(newer)).schedules as unknown).toEqual(newer.schedules);
  });
});

describe("what is wrong with them", () => {
  for (const [what, lines, expected] of [
    [
      "entries that are the same",
      "cron: [0 2 * * *, 0 3 * * *, 0  2 * * *]",
      'E044 1: entries 1 and 3 of "cron" are the same',
    ],
    [
      "that differ in what happens to missed firings",
      'cron: [0 2 * * *, {cron: "0 2 * * *", catchup: all, catchup_window: 1h}]',
      'E044 1: entries 1 and 2 of "cron" are the same',
    ],
    [
      "with equal parameters in other spellings",
      'cron: [{cron: "0 2 * * *", params: {full: true}}, {cron: "0 2 * * *", params: {full: "True"}}]',
      'E044 1: entries 1 and 2 of "cron" are the same',
    ],
    [
      "an end before the start",
      `cron: {cron: "0 2 * * *", start_time: ${END}, end_time: ${START}}`,
      'E044 1: "end_time" of "cron" is not after its start_time',
    ],
    [
      "an end before the start of the workflow",
      `start_time: ${END}\ncron: [{cron: "0 2 * * *", end_time: ${END}}]`,
      'E044 2: "end_time" of entry 1 of "cron" is not after its start_time',
    ],
    [
      "too many",
      `cron: [${Array.from({ length: 51 }, (_, n) => `${n} 2 * * *`).join(", ")}]`,
      'E044 1: "cron" has 51 entries',
    ],
    [
      "a parameter that does not exist",
      'cron: {cron: "0 2 * * *", params: {regoin: eu}}',
      'E063 1: there is no parameter "regoin"',
    ],
    [
      "a value that a parameter does not allow",
      'cron: [{cron: "0 2 * * *", params: {region: uk}}]',
      'E071 1: parameter "region" must be one of eu, us, not "uk"',
    ],
    [
      "a value of another type",
      'cron: {cron: "0 2 * * *", params: {days: x}}',
      'E071 1: parameter "days" must be a whole number, not "x"',
    ],
    [
      "a list for a text",
      'cron: {cron: "0 2 * * *", params: {region: [eu]}}',
      'E012 1: "region" in params of cron must be a string, not a list',
    ],
    [
      "an expression",
      'cron: {cron: "0 2 * * *", params: {region: "${{ run.id }}"}}',
      'E064 1: expressions are not allowed in "region"',
    ],
    [
      "a jitter that is too long",
      'cron: {cron: "0 2 * * *", jitter: 25h}',
      'E043 1: "jitter" in cron must not be longer than 1d',
    ],
    [
      "a window without catchup",
      'cron: {cron: "0 2 * * *", catchup: none, catchup_window: 1h}',
      'W002 1: "catchup_window" has no effect with catchup: none',
    ],
    [
      "a window without catchup, from the workflow",
      'catchup: none\ncron: [{cron: "0 2 * * *", catchup_window: 1h}]',
      'W002 2: "catchup_window" has no effect with catchup: none',
    ],
    [
      "a jitter longer than the distance of firings",
      'cron: {cron: "0 * * * *", jitter: 2h}',
      "W020 1: jitter 2h is longer than the time between two firings (1h)",
    ],
    [
      "a jitter longer than some distances",
      'cron: {cron: "0 2,3 * * *", jitter: 90m}',
      "W020 1: jitter 1h30m is longer than the time between two firings (1h)",
    ],
    ["a jitter as long as the distance", 'cron: {cron: "0 * * * *", jitter: 1h}', undefined],
    [
      "a zone that no entry uses",
      'timezone: UTC\ncron: [{cron: "0 2 * * *", timezone: Asia/Tehran}, {cron: "0 3 * * *", timezone: Asia/Tehran}]',
      'W002 1: "timezone" has no effect: every entry of cron has its own',
    ],
    [
      "a zone that one uses",
      'timezone: UTC\ncron: [0 2 * * *, {cron: "0 2 * * *", timezone: Asia/Tehran}]',
      undefined,
    ],
    [
      "a catchup of the workflow",
      'catchup: all\ncron: [0 2 * * *, {cron: "0 2 * * *", jitter: 5m}]',
      undefined,
    ],
  ] as const) {
    test(what, () => {
      const found = diagnosticsOf(`${lines}\n${PARAMS}${TASKS}`);
      const told = found.map(({ code, line, message }) => `${code} ${line}: ${message}`);
      expect(told.slice(0, 1)).toEqual(expected === undefined ? [] : [expected]);
    });
  }

  test("a parameter that has to be given, and is not", () => {
    const text = `params: {day: , region: eu}\ncron:\n  - 0 2 * * *\n  - {cron: "0 3 * * *", params: {day: x}}\n${TASKS}`;
    expect(diagnosticsOf(text)).toMatchObject([
      {
        code: "W003",
        line: 3,
        message: 'entry 1 of "cron" can never run this workflow: parameter "day" has no default',
        help: "give it with the entry: params: {day: …}",
      },
    ]);
  });
});

test("in words: what an entry says beyond its expression", () => {
  const iso = (ms: number) => new Date(ms).toISOString();
  const [plain, full] = schedulesOf(
    of(`cron:
  - 0 2 * * *
  - {cron: "0 6 * * MON", timezone: Europe/London, params: {region: us, days: 3}, start_time: ${START}, end_time: ${END},
     catchup: all, catchup_window: 6h, calendar: workdays, jitter: 5m}`),
  );
  if (plain === undefined || full === undefined) throw new Error("two entries");
  expect(entryInWords(plain, "UTC")).toBe("every day at 02:00 (UTC)");
  expect(entryInWords(full, undefined)).toBe("at 06:00, Monday (Europe/London)");
  expect(entryFacts("etl.daily", plain, "latest", iso)).toEqual([]);
  expect(entryFacts("etl.daily", plain, null, iso)).toEqual(["catchup latest"]);
  expect(entryFacts("etl.daily", full, "latest", iso)).toEqual([
    "calendar workdays",
    "jitter 5m (here 4m19s)",
    "from 2026-01-01T00:00:00.000Z",
    "until 2026-12-31T23:00:00.000Z",
    "catchup all for 6h",
    "region=us",
    "days=3",
  ]);
});
