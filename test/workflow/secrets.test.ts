import { expect, test } from "bun:test";
import { parseWorkflow } from "../../src/workflow/parse.ts";
import { planOf } from "../../src/workflow/plan.ts";
import { storedSecretsOf } from "../../src/workflow/secrets.ts";
import { diagnosticsOf } from "./support.ts";

const parse = (text: string) => parseWorkflow(text, { path: "test.yml", id: "test" });

test("secrets of tasks are stored by variable, those of workflows as they are written", () => {
  const result = parse(`
secrets:
  DB_PASSWORD: {file: /run/secrets/db}
  TOKEN: {command: [pass, show, token]}
  KEY: {env: PROD_KEY}
  API: {store: api_key}
tasks:
  list: {config: !Subprocess {cmd: a}, secrets: [DB_PASSWORD, TOKEN]}
  map: {config: !Subprocess {cmd: a}, secrets: {PGPASSWORD: DB_PASSWORD, KEY: KEY, API: API}}
  none: {config: !Subprocess {cmd: a}}
`);
  if (!result.ok) throw new Error(JSON.stringify(result.diagnostics));
  const { definition } = result;
  expect(definition.secrets).toEqual({
    DB_PASSWORD: { file: "/run/secrets/db" },
    TOKEN: { command: ["pass", "show", "token"] },
    KEY: { env: "PROD_KEY" },
    API: { store: "api_key" },
  });
  expect(definition.tasks.map(({ secrets }) => secrets)).toEqual([
    { DB_PASSWORD: "DB_PASSWORD", TOKEN: "TOKEN" },
    { PGPASSWORD: "DB_PASSWORD", KEY: "KEY", API: "API" },
    undefined,
  ]);
  // An agent that does not know the key would run the task without its secrets, and show them.
  expect(planOf(definition).nodes.map(({ protocol }) => protocol)).toEqual([3, 3, 1]);
  expect(result.warnings).toEqual([]);
});

test("a secret that is written into the file is not repeated anywhere", () => {
  const found = diagnosticsOf(
    "secrets:\n  DB: hunter2\n  KEYS: [hunter3]\ntasks:\n  a: {config: !Subprocess {cmd: a}}\n",
  );
  expect(found.map(({ code, line, source_line }) => [code, line, source_line])).toEqual([
    ["E080", 2, null],
    ["E080", 3, null],
  ]);
  expect(JSON.stringify(found)).not.toContain("hunter");
});

test("W002 no-effect: a secret that no task uses", () => {
  const result = parse("secrets: {DB: {env: X}}\ntasks:\n  a: {config: !Subprocess {cmd: a}}\n");
  expect(result).toMatchObject({
    ok: true,
    warnings: [
      {
        code: "W002",
        line: 1,
        column: 11,
        message: 'the secret "DB" has no effect: no task uses it',
        help: "add it to secrets of a task, or remove it",
      },
    ],
  });
});

test("secrets in headers of requests are used, also those of the store", () => {
  const result = parse(`
secrets: {A: {file: /a}, B: {store: b}, C: {store: c}}
tasks:
  t: {config: !Http {url: "https://x", headers: {X: {secret: A}, Y: {secret: B, prefix: "Bearer "}}}}
  u: {config: !Subprocess {cmd: a}, secrets: [C]}
`);
  if (!result.ok) throw new Error(JSON.stringify(result.diagnostics));
  expect(result.warnings).toEqual([]);
  expect(planOf(result.definition).nodes.map(({ usesStore }) => usesStore)).toEqual([true, true]);
  const [t, u] = result.definition.tasks;
  if (t === undefined || u === undefined) throw new Error("there are two");
  expect(storedSecretsOf(result.definition, [t])).toEqual(["b"]);
  expect(storedSecretsOf(result.definition, [t, u])).toEqual(["b", "c"]);
});

test("W002 no-effect: what is about a process in a task that is a request, and a body in one that cannot have any", () => {
  const result = parse(`
tasks:
  t:
    stdin: x
    env: {A: b}
    config: !Http {url: "https://x", method: GET, body: y}
`);
  expect(result.ok ? result.warnings.map(({ code, message }) => [code, message]) : result).toEqual([
    ["W002", '"stdin" has no effect on !Http'],
    ["W002", '"env" has no effect on !Http'],
    ["W002", '"body" has no effect in a GET request'],
  ]);
});

test("W014 open-secret: one that a request takes to another host without encryption", () => {
  const warningsOf = (url: string) => {
    const result = parse(
      `secrets: {A: {file: /a}}\ntasks:\n  t: {config: !Http {url: "${url}", headers: {X: {secret: A}}}}\n`,
    );
    return result.ok ? result.warnings.map(({ code, message }) => `${code} ${message}`) : result.diagnostics;
  };
  expect(warningsOf("http://api.example.com:80/x")).toEqual([
    'W014 the secret "A" is sent to api.example.com without encryption',
  ]);
  expect(warningsOf("http://u:p@[2001:db8::1]/x")).toEqual([
    'W014 the secret "A" is sent to [2001:db8::1] without encryption',
  ]);
  for (const url of [
    "https://api.example.com",
    "http://localhost:1/x",
    "http://127.0.0.1",
    "http://[::1]:8080/",
    "http://${{ run.id }}/",
  ])
    expect([url, warningsOf(url)]).toEqual([url, []]);
});
