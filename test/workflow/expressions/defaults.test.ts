/** Defaults of parameters that are computed when a run is triggered. */
import { describe, expect, test } from "bun:test";
import { eventFor } from "../../../src/workflow/expressions.ts";
import { paramsSchema } from "../../../src/workflow/param-types.ts";
import { isRequired, resolveParams } from "../../../src/workflow/params.ts";
import { definitionOf, diagnosticsOf } from "../support.ts";

const TASKS = "tasks:\n  a:\n    run: echo hello\n";
const RUN = {
  workflow_instance_id: "r1",
  workflow_id: "test",
  attempt: 1,
  trigger: "cron",
  scheduled_time_ms: Date.UTC(2026, 10, 26, 23, 30),
  created_at_ms: Date.UTC(2026, 10, 27),
  event: { path: "/in/a.csv" },
};

const resolved = (params: string, given: Record<string, string> = {}) =>
  resolveParams(definitionOf(`params:\n${params}${TASKS}`), given, RUN);

describe("a default with expressions", () => {
  test("is computed from the run that is triggered", () => {
    const day = `  day: {type: date, default: '\${{ date(run.scheduled_time, "%F", "Europe/Berlin") }}'}\n`;
    expect(resolved(day)).toEqual({ day: "2026-11-27" });
    expect(resolved(day, { day: "2026-01-01" })).toEqual({ day: "2026-01-01" });
  });

  test("may stand alone, in text, and be of any type", () => {
    expect(
      resolved(`
  region: eu
  path: /data/\${{ params.region }}/in
  count: {type: int, default: "\${{ size(params.region) + 5 }}"}
  list: {type: json, default: "\${{ [params.count, params.region] }}"}
  text: {type: json, default: "\${{ params.region }}"}
  file: "\${{ file_name(trigger.path) }}"
`),
    ).toEqual({
      region: "eu",
      path: "/data/eu/in",
      count: "7",
      list: '[7,"eu"]',
      text: '"eu"',
      file: "a.csv",
    });
  });

  test("is not missing, and older readers see none", () => {
    const definition = definitionOf(`params:\n  day: "\${{ run.id }}"\n${TASKS}`);
    expect(definition.params.day).toEqual({
      description: null,
      default: null,
      default_template: "${{ run.id }}",
    });
    expect(isRequired(definition.params.day ?? { default: null })).toBe(false);
    expect(paramsSchema(definition.params).required).toBeUndefined();
    // Agents never see it.
    expect(definition.language).toBeUndefined();
    expect(diagnosticsOf(`cron: "0 2 * * *"\nparams:\n  day: "\${{ run.id }}"\n${TASKS}`)).toEqual([]);
  });

  test("that does not fit refuses the trigger", () => {
    expect(() => resolved("  days: {type: int, max: 3, default: '${{ 40 }}'}\n")).toThrow(
      'workflow "test": the default of parameter "days" must be at most 3, not "40"',
    );
    expect(() => resolved('  file: "${{ trigger.size }}"\n')).toThrow(
      'workflow "test": the default of parameter "file" cannot be computed: trigger.size has no value: what triggered the run, cron, offered no "size"',
    );
    expect(() => resolved('  a: "${{ params.b }}"\n  b: "${{ run.id }}"\n')).toThrow(
      'the default of parameter "a" cannot be computed: params.b has no value: it was not given',
    );
  });

  test("that reads the event makes the run keep it", () => {
    const definition = definitionOf(`params:\n  file: "\${{ trigger.path }}"\n${TASKS}`);
    expect(eventFor(definition, { path: "/a", size: "7" })).toEqual({ path: "/a" });
  });

  test("is checked when the file is loaded", () => {
    const [first, second, ...others] = diagnosticsOf(
      `params:\n  day: "\${{ tasks.a.status }}"\n  region: {default: "\${{ params.regoin }}"}\n${TASKS}`,
    );
    expect(others).toEqual([]);
    expect(first).toMatchObject({ code: "E034", line: 2, column: 19, message: "tasks cannot be read here" });
    expect(second).toMatchObject({ code: "E063", line: 3, column: 33, help: 'did you mean "region"?' });
  });
});
