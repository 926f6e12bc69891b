/** Tasks of the kind !Http, from the file to what they publish. */
import { afterAll, describe, expect, test } from "bun:test";
import { parseWorkflow } from "../../src/workflow/parse.ts";
import { assignmentOf, Bench, until } from "./support/bench.ts";

let slow = 0;
const server = Bun.serve({
  port: 0,
  hostname: "127.0.0.1",
  async fetch(request) {
    const { pathname, searchParams } = new URL(request.url);
    if (pathname === "/slow") {
      slow++;
      await new Promise(() => {});
    }
    if (pathname === "/flaky") return new Response("not yet", { status: slow++ % 2 === 0 ? 503 : 200 });
    return Response.json({
      state: searchParams.get("state"),
      method: request.method,
      headers: Object.fromEntries(request.headers),
      body: await request.text(),
    });
  },
});
afterAll(() => server.stop(true));

/** Runs a file. */
async function ran(bench: Bench, file: string, params: Record<string, string> = {}) {
  const parsed = parseWorkflow(file.replaceAll("HOST", `http://127.0.0.1:${server.port}`), {
    path: "test.yml",
    id: "test.flow",
  });
  if (!parsed.ok) throw new Error(JSON.stringify(parsed.diagnostics));
  const assignment = assignmentOf(parsed.definition, { params });
  const run = bench.prepare(assignment);
  run.start();
  return { run, assignment, over: async () => bench.outcome(assignment, await run.over) };
}

const outcomeOf = async (bench: Bench, file: string, params?: Record<string, string>) =>
  (await ran(bench, file, params)).over();

describe("a request", () => {
  test("is made of values, each of which is data whatever it contains", async () => {
    using bench = new Bench();
    const hostile = `a"b'c\\d\n$(e) %0d%0a {"x": 1} \${{ params.x }} é漢`;
    const outcome = await outcomeOf(
      bench,
      `
params: {x: "", seconds: "5"}
tasks:
  first:
    config: !Http {url: 'HOST/echo?state=ready'}
  second:
    depends: [first]
    config: !Http
      url: HOST/echo?state=\${{ tasks.first.outputs.json.state }}
      method: \${{ "PUT" }}
      timeout: \${{ params.seconds + "s" }}
      headers: {X-State: '\${{ tasks.first.outputs.status }} \${{ tasks.first.outputs.json.state }}'}
      body: '\${{ {"x": params.x, "n": [1, 2]} }}'
      expect:
        status: [2xx]
        json: '\${{ json.state == "ready" && json(json.body).n[1] == 2 && status == 200 && headers["content-type"].startsWith("application/json") }}'
`,
      { x: hostile, seconds: "5" },
    );
    expect([outcome.end, outcome.last("second").error]).toEqual(["COMPLETED", null]);
    const { json } = outcome.last("second").outputs as { json: Record<string, unknown> };
    expect(json).toMatchObject({ method: "PUT", state: "ready", headers: { "x-state": "200 ready" } });
    expect(JSON.parse(String(json.body))).toEqual({ x: hostile, n: [1, 2] });
  });

  test.each([
    [
      'headers: {X: "${{ params.x }}"}',
      "a\r\nEvil: 1",
      "Cannot start: headers.X: the value must not contain a line break, which would begin another header.",
    ],
    [
      'headers: {X: "${{ params.x }}"}',
      "é",
      "Cannot start: headers.X: the value must contain ASCII characters only.",
    ],
    [
      "expect: {json: '${{ json.state == params.x }}'}",
      "done",
      "expect.json is false: json.state == params.x",
    ],
    ["expect: {json: '${{ json.rows > 1 }}'}", "", /^expect\.json: json\.rows has no value/],
    ["expect: {status: [404]}", "", /^status 200 is not among 404: \{"state":null/],
  ])("that says %s with %j fails its task", async (line, x, error) => {
    using bench = new Bench();
    const outcome = await outcomeOf(
      bench,
      `params: {x: ""}\ntasks:\n  t:\n    config: !Http\n      url: HOST/echo\n      ${line}\n`,
      { x },
    );
    if (typeof error === "string") expect(outcome.last("t").error).toBe(error);
    else expect(outcome.last("t").error).toMatch(error);
    expect(outcome.end).toBe("FAILED");
  });

  test("whose URL leads elsewhere than to the web fails its task", async () => {
    using bench = new Bench();
    const file = 'params: {x: ""}\ntasks:\n  t: {config: !Http {url: "${{ params.x }}"}}\n';
    for (const x of ["file:///etc/passwd", "s3://b/k", "/etc/passwd"])
      expect((await outcomeOf(bench, file, { x })).last("t").error).toMatch(
        /^Cannot start: url: the value must start with "http:\/\/" or "https:\/\/"/,
      );
  });

  test("is tried again as any other task, and its time limit is one of each try", async () => {
    using bench = new Bench();
    slow = 0;
    const outcome = await outcomeOf(
      bench,
      "tasks:\n  t:\n    retry: {max_attempts: 2, delay: 1ms}\n    config: !Http {url: HOST/flaky}\n",
    );
    expect(outcome.statuses("t")).toEqual(["RUNNING", "WAITING", "RUNNING", "COMPLETED"]);
    expect(outcome.log("t")[0]).toMatch(/^INFO GET http:\S+\/flaky 503 in \d+ ms, 7 bytes$/);
    const late = await outcomeOf(bench, "tasks:\n  t:\n    config: !Http {url: HOST/slow, timeout: 50ms}\n");
    expect(late.last("t").error).toBe("timed out after 50ms");
    const limited = await outcomeOf(
      bench,
      "tasks:\n  t:\n    timeout: 60ms\n    config: !Http {url: HOST/slow}\n",
    );
    expect(limited.last("t").error).toBe("timed out after 60ms");
  });

  test("ends when its run is cancelled, and its slot is free again", async () => {
    using bench = new Bench({ slots: 1 });
    slow = 0;
    const { run, over } = await ran(bench, "tasks:\n  t: {config: !Http {url: HOST/slow}}\n");
    await until(() => slow === 1, "it is under way");
    run.stop("cancelled");
    expect((await over()).last("t")).toMatchObject({ status: "CANCELLED", error: "the run was cancelled" });
    expect(bench.context.slots.used).toBe(0);
  });

  test("can have a secret in a header, which is hidden in what comes back", async () => {
    using bench = new Bench({ environment: { ...process.env, PROD_KEY: "hunter2-x" } });
    const outcome = await outcomeOf(
      bench,
      `
secrets: {TOKEN: {env: PROD_KEY}, NONE: {env: NO_SUCH}}
tasks:
  t:
    config: !Http
      url: HOST/echo
      headers: {Authorization: {secret: TOKEN, prefix: "Bearer "}}
  none:
    config: !Http
      url: HOST/echo
      headers: {Authorization: {secret: NONE}}
`,
    );
    const { json } = outcome.last("t").outputs as { json: { headers: Record<string, string> } };
    expect(json.headers.authorization).toBe("Bearer ***");
    expect(outcome.last("none").error).toBe(
      "Cannot start: the secret NONE cannot be read: there is no environment variable NO_SUCH.",
    );
    expect(JSON.stringify([outcome.reports, outcome.lines])).not.toContain("hunter2");
  });

  test("publishes what it declares, or fails", async () => {
    using bench = new Bench();
    const outcome = await outcomeOf(
      bench,
      "tasks:\n  t:\n    outputs: [json, cookie]\n    config: !Http {url: HOST/echo}\n",
    );
    expect(outcome.last("t")).toMatchObject({ status: "FAILED", error: expect.stringContaining('"cookie"') });
  });

  test("whose end cannot be handled has failed, and the agent goes on", async () => {
    using bench = new Bench({ environment: { ...process.env, PROD_KEY: "hunter2-péage" } });
    const secretsOf = bench.secretsOf.bind(bench);
    bench.secretsOf = (assignment) =>
      Object.assign(secretsOf(assignment), {
        maskOutputs: () => {
          throw new Error("something else");
        },
      });
    const outcome = await outcomeOf(
      bench,
      "secrets: {TOKEN: {env: PROD_KEY}}\ntasks:\n  t:\n    config: !Http {url: HOST/echo}\n",
    );
    expect(outcome.last("t")).toMatchObject({
      status: "FAILED",
      error: "the agent could not handle its end: something else",
    });
  });
});
