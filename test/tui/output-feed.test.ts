/** When the outputs and the files of a run are read. */
import { expect, test } from "bun:test";
import { PrincipalUnreachableError } from "../../src/errors.ts";
import { readFiles, readOutputs } from "../../src/tui/feeds/output-feed.ts";
import type { RunPane } from "../../src/tui/state.ts";
import { FANS, state } from "./fixtures.ts";

const id = FANS.workflow_instance_id;
const request = { timeoutMs: 1000, signal: new AbortController().signal };

function screen(pane: RunPane) {
  const s = state(80, 24, { kind: "run", id, pane });
  s.data.outputs = new Map();
  s.data.files = new Map();
  return { s, store: { state: s, update: (change: (state: typeof s) => void) => change(s) } };
}

test("outputs are read while they are shown, and again when a task has ended", async () => {
  const { s, store } = screen("outputs");
  let asked = 0;
  const [first] = FANS.tasks;
  if (first === undefined) throw new Error("the fixture has tasks");
  const getRun = async () => {
    asked++;
    return { ...FANS, tasks: [{ ...first, outputs: { total: 7 } }, ...FANS.tasks.slice(1)] };
  };
  await readOutputs({ getRun }, store, request);
  await readOutputs({ getRun }, store, request);
  expect(asked).toBe(1);
  expect(s.data.outputs.get(id)).toMatchObject({
    tasks: [{ id: "list", outputs: { total: 7 } }],
    leftOut: false,
  });
  const tasks = FANS.tasks.map((task) => ({ ...task, finished_at_ms: s.now }));
  s.data.runDetails = new Map([[id, { ...FANS, tasks }]]);
  await readOutputs({ getRun }, store, request);
  expect(asked).toBe(2);
  s.pages[s.tab] = [{ kind: "run", id, pane: "tasks" }];
  await readOutputs({ getRun }, store, request);
  expect(asked).toBe(2);
});

test("what cannot be read is said and holds nothing up; a principal that is away is for the feed to tell", async () => {
  const { s, store } = screen("outputs");
  const failing = (error: Error) => async () => {
    throw error;
  };
  await readOutputs({ getRun: failing(new Error("no history")) }, store, request);
  expect(s.data.outputs.get(id)).toMatchObject({ tasks: [], leftOut: true });
  const files = screen("files");
  await readFiles({ call: failing(new Error("it is too old")) }, files.store, request);
  expect(files.s.data.files.get(id)).toMatchObject({ artifacts: [], error: "it is too old" });
  const away = screen("files");
  const call = failing(new PrincipalUnreachableError("no answer"));
  await expect(readFiles({ call }, away.store, request)).rejects.toThrow("no answer");
  expect(away.s.data.files.size).toBe(0);
});
