import { describe, expect, test } from "bun:test";
import { z } from "zod";
import { settingsJsonSchema, workflowJsonSchema } from "../../src/workflow/json-schema.ts";

const schema = workflowJsonSchema();
const task = { name: "a", config: { cmd: "ls" } };

const CHOICE = '[{"required":["run"]},{"required":["config"]}]';

/** zod accepts any key of a mapping once there is a choice beside its keys. */
function withoutChoice(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(withoutChoice);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).filter(([, inner]) => JSON.stringify(inner) !== CHOICE);
  return Object.fromEntries(entries.map(([key, inner]) => [key, withoutChoice(inner)]));
}

/** Validates with a zod schema that is derived from the JSON Schema, independently of how the JSON Schema was generated. */
const validator = z.fromJSONSchema(withoutChoice(schema) as Parameters<typeof z.fromJSONSchema>[0]);
const accepts = (value: unknown): boolean => validator.safeParse(value).success;

describe("workflowJsonSchema", () => {
  test("a task has either run or config, and so has each of the four hooks", () => {
    expect(JSON.stringify(schema).split(`"additionalProperties":false,"anyOf":${CHOICE}`)).toHaveLength(
      1 + 5,
    );
  });

  test("is JSON, draft 7, without any trace of tags", () => {
    expect(JSON.parse(JSON.stringify(schema))).toEqual(schema);
    expect(schema.$schema).toBe("http://json-schema.org/draft-07/schema#");
    expect(JSON.stringify(schema)).not.toContain('"!"');
    expect(schema.required).toEqual(["tasks"]);
  });

  test("takes what the reader takes", () => {
    expect(accepts({ name: "w", tasks: { a: task } })).toBe(true);
    expect(
      accepts({
        name: "w",
        cron: "0 2 * * *",
        start_time: "2025-01-20T02:00:00+00:00",
        timeout: "1h30m",
        runs_on: { zone: "eu", gpu: true, rack: 8 },
        placement: "spread",
        env: { A: 1, B: "x", C: true },
        params: { day: "x", size: 10, region: null, other: { description: "d", default: 5 } },
        tasks: {
          a: {
            ...task,
            retry: { max_attempts: 3, delay: "10s", backoff: "exponential" },
            timeout: "5m",
            runs_on: {},
            env: null,
          },
          b: {
            name: "b",
            depends: ["a"],
            config: { script_path: "x.py", packages: ["p"], is_uv_project: false },
          },
          c: {
            ...task,
            retry: { max_attempts: 2, backoff: 1.5 },
            config: { cmd: "ls", args: [1, true, "x"] },
          },
          d: { run: "echo $A", shell: "python3 -u", working_directory: "work", stdin: "x\ny", grace: "30s" },
          e: { config: { script: "echo", shell: "sh" }, env_file: ".env" },
        },
      }),
    ).toBe(true);
  });

  test("refuses what the reader refuses", () => {
    const refused: unknown[] = [
      [],
      {},
      { name: "w" },
      { name: "w", tasks: { a: task }, crom: "x" },
      { name: "w", tasks: { a: { ...task, depend: [] } } },
      { name: "w", tasks: { a: { ...task, config: { cmd: "ls", packages: [] } } } },
      { name: "w", tasks: { a: { run: ["echo"] } } },
      { name: "w", tasks: { a: { ...task, grace: "soon" } } },
      { name: "w", tasks: { a: task }, timeout: "90" },
      { name: "w", tasks: { a: task }, timeout: 90 },
      { name: "w", tasks: { a: task }, catchup: "some" },
      { name: "w", tasks: { a: { ...task, retry: { delay: "5s" } } } },
      { name: "w", tasks: { a: { ...task, retry: { max_attempts: 0 } } } },
      { name: "w", tasks: { "a b": task } },
      { name: "w", tasks: { a: task }, env: { "A-B": "x" } },
      { name: "w", tasks: { a: task }, placement: "apart" },
      { name: "w", tasks: { a: task }, runs_on: ["gpu"] },
      { name: "w", tasks: { a: task }, runs_on: { gpu: "" } },
      { name: "w", tasks: { a: { ...task, runs_on: { "a=b": "x" } } } },
    ];
    for (const value of refused)
      expect({ value, accepted: accepts(value) }).toEqual({ value, accepted: false });
  });

  test("shows defaults in the form of the file, and says what each key means", () => {
    const properties = schema.properties as Record<string, { default?: unknown; description?: string }>;
    expect(properties.catchup?.default).toBe("latest");
    expect(JSON.stringify(schema)).toContain('"default":"1s"');
    expect(properties.cron?.description).toContain("5 fields");
  });
});

test("the schema of settings takes what their reader takes", () => {
  const settings = settingsJsonSchema();
  expect(JSON.stringify(settings)).not.toContain('"!"');
  const reader = z.fromJSONSchema(settings as Parameters<typeof z.fromJSONSchema>[0]);
  const isTaken = (value: unknown) => reader.safeParse(value).success;
  expect(isTaken({ defaults: { timeout: "5m", retry: { max_attempts: 2 }, env: { A: 1 } } })).toBe(true);
  expect(isTaken({ defaults: {} })).toBe(true);
  expect([{ tasks: {} }, { defaults: { timeout: 5 } }, { defaults: { tiemout: "5m" } }].map(isTaken)).toEqual(
    [false, false, false],
  );
  const smtp = { host: "mail", port: 465, tls: "implicit", user: "u", password: { file: "/run/x" } };
  expect(
    [
      { mail: "ops@example.org" },
      { mail: ["a@example.org", "root"], group: "5m", limit: "10/h" },
      { mail: { to: "a@example.org", from: "b@example.org", smtp } },
      { mail: { to: ["a@example.org"], smtp: "mail" } },
      { slack: "https://example.org" },
      { slack: { url: { store: "slack" }, channel: "#ops" } },
      {
        webhook: { url: "https://example.org", secret: { env: "X" }, headers: { A: "b", C: { file: "c" } } },
      },
      { pagerduty: { routing_key: { command: ["pass", "x"] }, severity: { failed: "critical" } } },
      { pagerduty: { routing_key: { env: "X" }, severity: "info" } },
      { command: ["page"] },
    ].map((channel) => isTaken({ channels: { c: channel } })),
  ).toEqual(Array(10).fill(true));
  expect(
    [
      { mial: "ops@example.org" },
      { mail: { to: "a", smtp: { tls: "ssl" } } },
      { mail: { from: "a" } },
      { pagerduty: { routing_key: "text" } },
      { command: "page" },
      { command: ["page"], limit: "10" },
    ].map((channel) => isTaken({ channels: { c: channel } })),
  ).toEqual(Array(6).fill(false));
});
