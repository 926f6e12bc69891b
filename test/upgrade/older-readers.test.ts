/**
 * Definitions travel to command lines, terminal UIs and listeners of an older cdktr. Whatever a file uses, they must be able to read its
 * definition: what existed before has the type that it had, and what is new is a key of its own.
 */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { definitionOf } from "../workflow/support.ts";

const text = z.string();
const texts = z.array(text);
const byName = z.record(text, text);
const whole = z.number().int();

/** The definitions of protocol 2, as its reader demanded them; it passed over other keys and kinds. */
const Task = z.looseObject({
  id: text.regex(/^[A-Za-z0-9_][A-Za-z0-9_.-]*$/),
  name: text,
  description: text.nullable(),
  depends: texts,
  config: z.union([
    z.looseObject({
      type: z.literal("Subprocess"),
      cmd: text,
      args: texts,
      working_directory: text.nullable(),
    }),
    z.looseObject({
      type: z.literal("UvPython"),
      script_path: text,
      args: texts,
      packages: texts,
      is_uv_project: z.boolean(),
      working_directory: text.nullable(),
      uv_path: text.nullable(),
    }),
    z.looseObject({ type: text.refine((type) => type !== "Subprocess" && type !== "UvPython") }),
  ]),
  retry: z.looseObject({ max_attempts: whole.min(1), delay_ms: whole.min(0), backoff: z.number().min(1) }),
  timeout_ms: whole.min(1).nullable(),
  background: text.optional(),
  runs_on: byName.optional(),
  env: byName,
});
const Workflow = z.looseObject({
  id: text,
  name: text,
  description: text.nullable(),
  cron: text.nullable(),
  timezone: text.nullable(),
  start_time_ms: whole.nullable(),
  catchup: text,
  on: z
    .looseObject({
      webhook: z.looseObject({ path: text, secret: text, method: text, tolerance_ms: whole }).nullable(),
      file: z.looseObject({ glob: text, events: texts, settle_ms: whole.min(1), catchup: text }).nullable(),
      workflow: z.looseObject({ id: text, status: texts }).nullable(),
    })
    .optional(),
  failover: text,
  timeout_ms: whole.min(1).nullable(),
  runs_on: byName.optional(),
  placement: text.optional(),
  env: byName,
  params: z.record(text, z.looseObject({ description: text.nullable(), default: text.nullable() })),
  tasks: z.array(Task).min(1),
});

const EVERYTHING = `cron:
  - 0 2 * * *
  - cron: 0 6 * * MON
    timezone: Europe/London
    params: {region: us, tables: [a]}
    start_time: 2026-01-01T00:00:00Z
    end_time: 2027-01-01T00:00:00Z
    catchup: all
    catchup_window: 6h
    calendar: workdays
    jitter: 5m
on:
  webhook: [{path: /a, secret: none}, {path: /b, secret: none}]
  file: [{glob: a}, {glob: b}]
  workflow: [{id: x}, {id: "etl.*"}]
env: {DAY: "\${{ params.day }}"}
defaults: {timeout: "\${{ params.limit }}", grace: 1m}
params:
  region: {enum: [eu, us], default: eu}
  code: {pattern: "[a-z]+"}
  days: {type: int, min: 1, max: 31, default: 7}
  full: {type: bool, default: false}
  day: {type: date, default: '\${{ date(run.created_at, "%Y-%m-%d") }}'}
  tables: {type: json, default: [a, {b: 1}]}
  limit: 5m
secrets: {DB: {file: /run/secrets/db}}
outputs: {rows: "\${{ tasks.extract.outputs.rows }}"}
hooks:
  on_failure: {run: ./alert}
tasks:
  extract:
    run: ./extract
    shell: bash
    working_directory: "\${{ params.region }}"
    env: {A: "\${{ params.days }}"}
    env_file: .env
    stdin: "\${{ params.tables }}"
    outputs: [rows]
    retry: {max_attempts: "\${{ params.days }}", delay: "\${{ params.limit }}", max_delay: 1h, jitter: 0.1, on_exit_codes: [75]}
    timeout: "\${{ params.limit }}"
    grace: 1s
    secrets: [DB]
    allow_failure: {exit_codes: [3]}
  load:
    depends: {extract: [completed, failed]}
    when: \${{ params.full }}
    foreach: \${{ params.tables }}
    key: \${{ string(index) }}
    max_parallel: 2
    fail_fast: true
    config: !Subprocess
      cmd: "\${{ params.region }}"
      args: ["\${{ params.days }}"]
  build:
    matrix: {os: [a, b], py: [1, 2], exclude: [{os: a, py: 2}]}
    config: !UvPython {script_path: "\${{ params.region }}.py"}
  pause:
    config: !Wait {for: 1m}
`;

test("an older cdktr can read the definition of a file that uses everything", () => {
  const definition = JSON.parse(JSON.stringify(definitionOf(EVERYTHING)));
  expect(definition.language).toBe(2);
  // It fires none of the schedules, rather than some.
  expect([definition.cron, definition.schedules.length]).toEqual([null, 2]);
  // What it must have is there, with the types that it had; the rest is kept.
  expect(Workflow.parse(definition)).toEqual(definition);
});

test("what is demanded here is what an older cdktr demanded: it reads its own", () => {
  const sql = readFileSync(join(import.meta.dir, "v0.1/state.sql"), "utf8");
  const stored = [...sql.matchAll(/^INSERT INTO definitions VALUES \('[0-9a-f]+', '(.*)'\);$/gm)];
  expect(stored.length).toBeGreaterThan(0);
  for (const [, escaped = ""] of stored) {
    const definition = JSON.parse(escaped.replaceAll("''", "'"));
    expect(Workflow.parse(definition)).toEqual(definition);
  }
});
