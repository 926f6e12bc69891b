import { describe, expect, test } from "bun:test";
import { itemsInSight } from "../../src/tui/feeds/item-feed.ts";
import { bindingsFor } from "../../src/tui/keys/bindings.ts";
import { pasteText, useMouse } from "../../src/tui/keys/dispatch.ts";
import { selectFailedTask } from "../../src/tui/lists/list-ids.ts";
import { workflowRows } from "../../src/tui/lists/workflow-rows.ts";
import { currentPage, listState } from "../../src/tui/navigation.ts";
import { completions } from "../../src/tui/overlays/command.ts";
import { RUN_PANES, type State, WORKFLOW_PANES } from "../../src/tui/state.ts";
import { drawScreen } from "../../src/tui/views/screen.ts";
import { APPROVAL, FANS, FANS_DEFINITION, RUN, run, state } from "./fixtures.ts";
import { ui } from "./ui.ts";

const runId = RUN.workflow_instance_id;

describe("tables of keys", () => {
  const pages: NonNullable<Parameters<typeof state>[2]>[] = [
    { kind: "workflows" },
    ...WORKFLOW_PANES.map((pane) => ({ kind: "workflow", id: "etl.daily", pane }) as const),
    { kind: "runs" },
    ...RUN_PANES.map((pane) => ({ kind: "run", id: runId, pane }) as const),
    { kind: "logs", source: { kind: "all" } },
    { kind: "agents" },
    { kind: "activity" },
    { kind: "approvals" },
    { kind: "queue" },
    { kind: "calendar" },
  ];

  test("every key on every page can be pressed, and nothing breaks", () => {
    for (const page of pages) {
      for (const binding of bindingsFor(state(80, 24, page))) {
        for (const key of binding.keys) {
          const { s, keys } = ui(page);
          keys(key, "ESCAPE", key);
          expect(currentPage(s)).toBeDefined();
        }
      }
    }
  });

  test("with a key that may only read, no key on any page asks for a change, and those that would say so", () => {
    const no = "The key screen may only read: its role is viewer.";
    const refused = new Set<string>();
    for (const page of pages) {
      for (const binding of bindingsFor(state(80, 24, page))) {
        for (const key of binding.keys) {
          const { s, keys, actions } = ui(page);
          s.reader = "screen";
          keys(key);
          if (s.toasts.some(({ text }) => text === no)) refused.add(key);
          const { overlay } = s;
          if (overlay?.kind === "confirm") expect([key, overlay.action.kind]).toEqual([key, "quit"]);
          expect([key, overlay?.kind === "form"]).toEqual([key, false]);
          keys("ENTER");
          expect(actions.filter(({ kind }) => kind !== "quit")).toEqual([]);
        }
      }
    }
    expect([...refused]).toEqual(expect.arrayContaining(["t", "c", "d", "Z", "A", "R", "+"]));
    const { s, keys, type, actions } = ui();
    s.reader = "screen";
    keys(":");
    type("trigger etl.daily");
    keys("ENTER");
    expect(s.toasts.map(({ text }) => text)).toContain(no);
    expect(actions).toEqual([]);
  });

  test("no key needs what tmux (^B), screen (^A) or the line itself (^S, ^Q) takes away", () => {
    for (const page of pages) {
      for (const { keys } of bindingsFor(state(80, 24, page))) {
        for (const key of keys) expect(["CTRL_A", "CTRL_B", "CTRL_S", "CTRL_Q"]).not.toContain(key);
      }
    }
  });
});

test("the selection stays on its row when rows come and go", () => {
  const { s, keys } = ui({ kind: "runs" });
  keys("j", "j");
  const selected = s.lists.runs?.selected;
  expect(selected).toBe(run(2, "COMPLETED").workflow_instance_id);
  s.data.runs = [run(-1, "PENDING"), run(-2, "PENDING"), ...(s.data.runs ?? [])];
  keys("j");
  expect(s.lists.runs?.selected).toBe(run(3, "COMPLETED").workflow_instance_id);
  // The selected one disappears: its neighbour is selected, not the first.
  s.data.runs = s.data.runs.filter((one) => one.workflow_instance_id !== s.lists.runs?.selected);
  keys("k");
  expect(s.lists.runs?.index).toBe(4);
});

test("a filter narrows while it is typed; Esc removes it", () => {
  const { s, keys, type } = ui();
  keys("/");
  type("etl");
  const ids = () => workflowRows(s, s.lists.workflows).map((row) => row.workflow.id);
  expect(ids()).toEqual(["etl.daily", "etl.weekly"]);
  type(" !weekly");
  expect(ids()).toEqual(["etl.daily"]);
  keys("ENTER");
  expect(s.overlay).toBeNull();
  keys("ESCAPE");
  expect(ids()).toHaveLength(4);
});

test("triggering: a form where there are parameters, only what differs from the file is sent", () => {
  const { s, actions, keys, type } = ui();
  keys("t");
  expect(s.overlay?.kind).toBe("form");
  keys("CTRL_S");
  expect(s.overlay).toMatchObject({ kind: "form", error: "day is required" });
  type("2026-03-03");
  keys("DOWN", "CTRL_S");
  expect(actions).toEqual([{ kind: "trigger", workflowId: "etl.daily", params: { day: "2026-03-03" } }]);
  keys("G", "t");
  expect(s.overlay).toMatchObject({ kind: "confirm", title: "Trigger reports.sales?" });
  keys("n");
  expect(actions).toHaveLength(1);
});

test("the form knows types and choices: each key is checked, and choices are chosen", () => {
  const { s, actions, keys, type } = ui();
  const workflow = s.data.workflows?.find(({ id }) => id === "etl.daily");
  if (workflow === undefined) throw new Error("not there");
  workflow.params = {
    days: { description: "How many", type: "int", min: "1", max: "31", default: "7" },
    region: { description: null, enum: ["eu", "us", "asia"], default: null },
    full: { description: null, type: "bool", default: "false" },
  };
  const screen = () => drawScreen(s).toString();
  keys("t");
  expect(screen()).toContain("How many · int from 1 to 31");
  type("x");
  expect(screen()).toContain("must be a whole number");
  keys("CTRL_S");
  expect(s.overlay).toMatchObject({ kind: "form", index: 0, error: "days must be a whole number" });
  keys("BACKSPACE");
  type("0");
  expect(screen()).toContain("must be at most 31");
  keys("CTRL_U");
  type("14");

  keys("DOWN");
  expect(screen()).toContain("one of eu, us, asia · required");
  expect(screen()).toContain("←→ choose");
  keys("CTRL_S");
  expect(s.overlay).toMatchObject({ index: 1, error: "region is required" });
  const chosen = () => (s.overlay?.kind === "form" ? s.overlay.fields[s.overlay.index]?.editor.text : null);
  keys("RIGHT");
  expect(chosen()).toBe("eu");
  keys("LEFT");
  expect(chosen()).toBe("asia");
  keys("u");
  expect(chosen()).toBe("us");
  // Text does not get in.
  keys("z", "BACKSPACE");
  pasteText(s, "mars");
  expect(chosen()).toBe("us");
  keys("DOWN", " ", "CTRL_S");
  expect(actions).toEqual([
    { kind: "trigger", workflowId: "etl.daily", params: { days: "14", region: "us", full: "true" } },
  ]);
});

test("actions that change something ask first", () => {
  const { s, actions, keys } = ui({ kind: "run", id: runId, pane: "graph" });
  keys("c");
  expect(actions).toEqual([]);
  expect(s.overlay).toMatchObject({
    title: "Cancel this run?",
    lines: ["etl.daily", runId, expect.stringMatching(/^RUNNING, started \d+\w ago$/), expect.any(String)],
  });
  keys("ESCAPE", "c", "y");
  expect(actions).toEqual([{ kind: "cancel", runId }]);
  keys("x");
  expect(s.overlay).toBeNull();
  expect(s.toasts.at(-1)?.text).toContain("RUNNING");
});

test("text typed where no search is open changes nothing", () => {
  const { s, actions, keys, type } = ui({ kind: "run", id: runId, pane: "details" });
  keys("/");
  expect(s.toasts.at(-1)?.text).toBe("/ does nothing here; ? lists the keys.");
  type("cat");
  keys("ENTER");
  expect(actions).toEqual([]);
  expect(s.toasts.at(-1)?.text).toBe("Press y for yes, n or Esc for no.");
});

test("what is not possible for a run is not offered, and says why", () => {
  const offered = (id: string) => {
    const s = ui({ kind: "run", id, pane: "graph" }).s;
    return bindingsFor(s)
      .filter((binding) => binding.offered?.(s) ?? true)
      .map(({ label }) => label);
  };
  expect(offered(runId)).toContain("c");
  expect(offered(runId)).not.toContain("x");
  const over = run(3, "FAILED").workflow_instance_id;
  expect(offered(over)).toContain("x");
  expect(offered(over)).not.toContain("c");
  const { s, keys } = ui({ kind: "run", id: over, pane: "graph" });
  keys("c");
  expect(s.overlay).toBeNull();
  expect(s.toasts.at(-1)?.text).toContain("is over (FAILED)");
});

test("the command line", () => {
  const { s, keys, type } = ui();
  keys(":");
  type("run 00000000-0000-4000-8000-000000000003");
  keys("ENTER");
  expect(currentPage(s)).toEqual({ kind: "run", id: run(3, "FAILED").workflow_instance_id, pane: "graph" });
  keys(":");
  type("run 0000");
  keys("ENTER");
  expect(s.overlay).toMatchObject({ kind: "command", error: "7 runs begin with 0000" });
  keys("ESCAPE", ":");
  type("nonsense");
  keys("ENTER");
  expect(s.overlay).toMatchObject({ error: "there is no command nonsense" });
  keys("CTRL_U");
  type("workflow etl.");
  keys("TAB");
  expect(completions(s, "workflow etl.")).toEqual(["workflow etl.daily", "workflow etl.weekly"]);
  type("d");
  keys("TAB", "ENTER");
  expect(currentPage(s)).toEqual({ kind: "workflow", id: "etl.daily", pane: "overview" });
  keys(":", "q", "ENTER");
  expect(s.quitting).toBe(true);
});

test("pages open and close; a tab remembers its own", () => {
  const { s, keys } = ui();
  keys("ENTER", "RIGHT", "RIGHT");
  expect(currentPage(s)).toMatchObject({ kind: "workflow", pane: "source" });
  keys("4");
  expect(currentPage(s)).toEqual({ kind: "agents" });
  keys("1");
  expect(currentPage(s)).toMatchObject({ kind: "workflow", pane: "source" });
  keys("1");
  expect(currentPage(s)).toEqual({ kind: "workflows" });
  keys("q");
  expect(s.overlay).toMatchObject({ kind: "confirm", action: { kind: "quit" } });
});

test("Ctrl-C quits whatever lies over the page", () => {
  for (const key of ["?", ":", "/", "t", "q"]) {
    const { s, keys } = ui();
    keys(key, "CTRL_C");
    expect(s.quitting).toBe(true);
  }
});

test("pasted text goes into what is typed, never into keys", () => {
  const { s, keys } = ui({ kind: "runs" });
  pasteText(s, ":q\r");
  expect(s.quitting).toBe(false);
  keys("/");
  pasteText(s, "etl\nfailed");
  expect(s.lists.runs?.filter).toBe("etl failed");
});

test("the wheel moves the selection; a second click opens", () => {
  const { s, effects } = ui({ kind: "runs" });
  const wheel = { kind: "wheel-down", x: 5, y: 5 } as const;
  useMouse(s, wheel, undefined, false, effects);
  expect(s.lists.runs?.index).toBe(3);
  const target = { kind: "row", list: "runs", id: runId } as const;
  useMouse(s, { kind: "press", x: 5, y: 4 }, target, false, effects);
  expect(s.lists.runs?.selected).toBe(runId);
  useMouse(s, { kind: "press", x: 5, y: 4 }, target, true, effects);
  expect(currentPage(s)).toMatchObject({ kind: "run", id: runId });
});

test("log: search as it is typed, level, task, copy", () => {
  const { s, done, keys, type } = ui({ kind: "logs", source: { kind: "all" } });
  keys("/");
  type("row 5");
  expect(s.log.buffer.matches).toHaveLength(11);
  keys("ENTER");
  expect(s.log.follow).toBe(false);
  keys("v", "v", "v");
  expect(s.log.buffer.filter.level).toBe("ERROR");
  keys("a", "j", "ENTER");
  expect(s.log.buffer.filter.task).toBe("Task orders");
  keys("F", "y");
  expect(done.at(-1)).toContain("row");
  expect(s.log.buffer.shown).toHaveLength(60);
});

/** Whether the state is still plain data. */
test("the state holds no functions", () => {
  const seen = (value: State[keyof State]): boolean => typeof value !== "function";
  expect(Object.values(state(80, 24)).every(seen)).toBe(true);
});

test("a failed run opens on its first failed task, unless another one was chosen", () => {
  const { s, keys } = ui({ kind: "run", id: runId, pane: "tasks" });
  selectFailedTask(s, runId);
  expect(s.lists[`tasks:${runId}`]?.selected).toBe("orders");
  keys("DOWN");
  selectFailedTask(s, runId);
  expect(s.lists[`tasks:${runId}`]?.selected).not.toBe("orders");
});

test("log: what is not in the loaded lines is searched in the older ones", () => {
  const { s, done, keys, type } = ui({ kind: "logs", source: { kind: "all" } });
  s.log.olderThere = true;
  keys("/");
  type("nowhere here");
  keys("ENTER");
  expect(s.overlay).toBeNull();
  keys("n");
  expect(done).toEqual(["search older", "search older"]);
  s.log.olderThere = false;
  keys("N");
  expect(done).toHaveLength(2);
  expect(s.toasts.at(-1)?.text).toContain("is not in the log");
});

describe("fan-outs", () => {
  const id = FANS.workflow_instance_id;
  const list = `tasks:${id}`;

  test("unfold and fold below their task, from each of its rows", () => {
    const { s, keys } = ui({ kind: "run", id, pane: "tasks" });
    keys("j", "RIGHT");
    expect(drawScreen(s).toString()).toContain("[customers]");
    keys("j", "j");
    expect(s.lists[list]?.selected).toBe("load\t1");
    keys("LEFT");
    expect(s.lists[list]?.selected).toBe("load");
    expect(drawScreen(s).toString()).not.toContain("[customers]");
    keys(" ");
    expect(drawScreen(s).toString()).toContain("[customers]");
    // What is unfolded already leads to the next pane, as anything else does.
    keys("RIGHT");
    expect(currentPage(s)).toMatchObject({ pane: "log" });
  });

  test("from the graph, which has no items, the space bar leads to them; there and back the task stays selected", () => {
    const { s, keys } = ui({ kind: "run", id, pane: "graph" });
    keys("j", " ", "j");
    expect(currentPage(s)).toMatchObject({ pane: "tasks" });
    expect(s.lists[list]?.selected).toBe("load\t0");
    keys("d");
    expect(drawScreen(s).toString()).toContain("▶ RUNNING  load");
    keys("j");
    expect(s.lists[list]?.selected).toBe("poll");
  });

  test("Enter shows the log of an item; one that has not begun has none", () => {
    const { s, keys } = ui({ kind: "run", id, pane: "tasks" });
    keys("j", "RIGHT", "j", "j", "ENTER");
    expect(s.log.buffer.filter.task).toBe("Task load[customers]");
    keys("LEFT", "j", "j", "ENTER");
    expect(s.toasts.at(-1)?.text).toBe("This item has not begun.");
  });

  test("only what is in sight, and a page before and after, is asked for", () => {
    const { s, keys } = ui({ kind: "run", id, pane: "tasks" });
    expect(itemsInSight(s)).toEqual([]);
    keys("j", "RIGHT");
    expect(itemsInSight(s)).toEqual([{ runId: id, taskId: "load", part: 0 }]);
    keys("END", "k", "k");
    const { reports } = drawScreen(s);
    Object.assign(s.lists[list] ?? {}, reports.get(list));
    expect(itemsInSight(s)).toEqual([{ runId: id, taskId: "load", part: 24 }]);
    keys("d");
    expect(itemsInSight(s)).toEqual([]);
  });

  test("a filter asks the principal for items, also of what is folded", () => {
    const { s, keys, type } = ui({ kind: "run", id, pane: "tasks" });
    keys("/");
    type("failed !x");
    expect(itemsInSight(s)).toEqual([{ runId: id, taskId: "load", part: "failed !x" }]);
    const item = s.data.items.get(`${id} load`)?.pages.get(0)?.[1];
    if (item === undefined) throw new Error("the fixture has an item");
    const known = { pages: new Map(), open: new Set<number>(), error: null };
    const found = { filter: "failed !x", items: [item], hasMore: true, isOpen: true };
    s.data.items = new Map([[`${id} load`, { ...known, found }]]);
    const drawn = drawScreen(s).toString();
    expect(drawn).toContain("[customers]");
    expect(drawn).toContain("more than 1 items match: filter for more words");
    expect(drawn).not.toContain("poll");
    keys("ENTER", "ESCAPE");
    expect(drawScreen(s).toString()).toContain("poll");
  });

  test("items that cannot be listed say why", () => {
    const { s, keys } = ui({ kind: "run", id, pane: "tasks" });
    const known = { pages: new Map(), open: new Set<number>(), found: null };
    s.data.items = new Map([[`${id} load`, { ...known, error: "only the history has this run" }]]);
    keys("j", "RIGHT", "j");
    expect(drawScreen(s).toString()).toContain("only the history");
    keys("ENTER", "LEFT");
    expect(s.lists[list]?.selected).toBe("load");
  });
});

describe("outputs", () => {
  const id = FANS.workflow_instance_id;

  test("of the selected task come with o; Enter shows a whole value, y copies it", () => {
    const { s, keys, done } = ui({ kind: "run", id, pane: "graph" });
    keys("G", "k", "k", "k", "o");
    expect(currentPage(s)).toMatchObject({ pane: "outputs" });
    expect(s.lists[`outputs:${id}`]?.selected).toBe("poll\tstate");
    keys("g", "ENTER");
    expect(s.overlay).toMatchObject({ kind: "text", title: "list.files" });
    expect(drawScreen(s).toString()).toContain('"日本 データ"');
    keys("y", "ESCAPE", "j", "y");
    expect(s.overlay).toBeNull();
    expect(done).toEqual([
      `copy ${JSON.stringify(["orders", "customers", "日本 データ"], null, 2)} list.files`,
      "copy 5000 total",
    ]);
    keys("/", ..."two", "ENTER");
    expect(drawScreen(s).toString()).toContain("note");
    expect(drawScreen(s).toString()).not.toContain("files");
  });

  test("of an item are asked for at once", () => {
    const { s, keys, done } = ui({ kind: "run", id, pane: "tasks" });
    keys("j", "RIGHT", "j", "j", "o");
    expect(done).toEqual([`outputs of ${id} load 1`]);
    expect(currentPage(s)).toMatchObject({ pane: "tasks" });
  });

  test("left out, nothing, and not read yet are told apart", () => {
    const { s } = ui({ kind: "run", id, pane: "outputs" });
    const drawn = (outputs: State["data"]["outputs"]) => {
      s.data.outputs = outputs;
      return drawScreen(s).toString();
    };
    expect(drawn(new Map())).toContain("Loading …");
    expect(drawn(new Map([[id, { asOf: "", tasks: [], leftOut: true }]]))).toContain("more than 8 MiB");
    expect(drawn(new Map([[id, { asOf: "", tasks: [], leftOut: false }]]))).toContain(
      "select one among the tasks",
    );
  });
});

describe("runs that tasks start", () => {
  const id = FANS.workflow_instance_id;

  test("Enter goes into the run of the task, Esc comes back; u goes to the run that started it", () => {
    const { s, keys } = ui({ kind: "run", id, pane: "tasks" });
    expect(drawScreen(s).toString()).not.toContain("its run");
    s.lists[`tasks:${id}`] = { ...listState(s, `tasks:${id}`), selected: "nested" };
    expect(drawScreen(s).toString()).toContain("Enter its run");
    keys("ENTER");
    expect(currentPage(s)).toMatchObject({ kind: "run", id: runId });
    keys("ESCAPE");
    expect(currentPage(s)).toMatchObject({ kind: "run", id, pane: "tasks" });
    const parent = { workflow_instance_id: id, task_id: "nested" };
    s.data.runs = [run(1, "RUNNING", { parent })];
    keys("ENTER");
    s.data.runDetails = new Map(s.data.runDetails).set(runId, { ...RUN, parent });
    expect(drawScreen(s).toString()).toContain("nested of 00000000-0000");
    keys("u");
    expect(currentPage(s)).toMatchObject({ kind: "run", id });
  });

  test("u says nothing where no run was started by another", () => {
    const { s, keys } = ui({ kind: "run", id: runId, pane: "graph" });
    keys("u");
    expect(s.toasts.at(-1)?.text).toBe("u does nothing here; ? lists the keys.");
  });
});

describe("approvals", () => {
  test("A approves with the form, which is checked; R rejects with a note; both say what was asked", () => {
    const { s, actions, keys, type } = ui({ kind: "approvals" });
    keys("A");
    expect(drawScreen(s).toString()).toContain("The checks found two rows");
    keys("CTRL_S");
    expect(s.overlay).toMatchObject({ error: "share is required", index: 0 });
    type("101");
    keys("CTRL_S");
    expect(s.overlay).toMatchObject({ error: "share must be at most 100" });
    keys("BACKSPACE", "ENTER", "RIGHT", "ENTER");
    type("looks good");
    keys("ENTER");
    expect(s.overlay).toBeNull();
    const params = { share: "10", window: "tonight" };
    expect(actions).toEqual([
      { kind: "answer", approval: APPROVAL, answer: "approve", params, note: "looks good" },
    ]);
    keys("R");
    type("too late");
    keys("ENTER");
    expect(actions[1]).toEqual({
      ...{ kind: "answer", approval: APPROVAL, answer: "reject", params: {}, note: "too late" },
    });
  });

  test("who may not answer is told why, and no form opens", () => {
    const { s, keys } = ui({ kind: "approvals" });
    keys("j", "A");
    expect(s.overlay).toBeNull();
    expect(s.toasts.at(-1)?.text).toContain("four eyes");
  });

  test("Enter goes to the run, where the task says what it asks, and is answered with the same keys", () => {
    const { s, keys } = ui({ kind: "approvals" });
    keys("ENTER");
    expect(currentPage(s)).toMatchObject({ kind: "run", id: FANS.workflow_instance_id });
    keys("A");
    expect(s.toasts.at(-1)?.text).toBe("A does nothing here; ? lists the keys.");
    keys("a");
    s.lists[`tasks:${FANS.workflow_instance_id}`] = {
      ...listState(s, `tasks:${FANS.workflow_instance_id}`),
      selected: "nested",
    };
    expect(drawScreen(s).toString()).toContain("Asks: Publish 5,000 tables?");
    keys("A");
    expect(s.overlay).toMatchObject({ kind: "form", purpose: { kind: "approve" } });
  });

  test("a principal that does not know them says so", () => {
    const { s } = ui({ kind: "approvals" });
    s.data.approvals = null;
    s.data.approvalsMissing = "This principal is too old to know approvals.";
    expect(drawScreen(s).toString()).toContain("too old to know approvals");
  });
});

describe("files that tasks left", () => {
  const id = FANS.workflow_instance_id;

  test("F lists them; Enter looks at one, S saves it under a name that can be changed", () => {
    const { s, keys, type, done } = ui({ kind: "run", id, pane: "tasks" });
    keys("F");
    expect(drawScreen(s).toString()).toContain("reports/日本.txt");
    keys("ENTER", "j", "S");
    type("x");
    keys("ENTER");
    expect(done).toEqual(["show reports/日本.txt", "save table.csv as table.csvx"]);
    keys("/", ..."csv", "ENTER");
    expect(drawScreen(s).toString()).not.toContain("日本");
  });

  test("none, unknown, and not to be listed are told apart", () => {
    const { s } = ui({ kind: "run", id, pane: "files" });
    const drawn = (files: State["data"]["files"]) => {
      s.data.files = files;
      return drawScreen(s).toString();
    };
    expect(drawn(new Map())).toContain("Loading …");
    expect(drawn(new Map([[id, { asOf: "", artifacts: [], error: null }]]))).toContain("CDKTR_ARTIFACTS");
    expect(drawn(new Map([[id, { asOf: "", artifacts: [], error: "too old" }]]))).toContain("too old");
  });
});

describe("a retry with options", () => {
  const id = FANS.workflow_instance_id;
  /** The run of the fixture when it is over, with parameters. */
  function over() {
    const ui_ = ui({ kind: "run", id, pane: "tasks" });
    const { s } = ui_;
    const definition = { ...FANS_DEFINITION, params: { day: { description: null, default: "2026-01-31" } } };
    const params = { day: "2026-02-28" };
    s.data.runDetails = new Map([
      [id, { ...FANS, status: "FAILED", finished_at_ms: s.now, definition, params }],
    ]);
    s.data.runs = [];
    return ui_;
  }

  test("starts from the failed tasks, from the selected task or item, or from the beginning", () => {
    const { actions, keys } = over();
    keys("E", "CTRL_S");
    expect(actions[0]).toEqual({ kind: "retry", runId: id, fromStart: false });
    keys("j", "RIGHT", "j", "j", "E", "RIGHT", "CTRL_S");
    expect(actions[1]).toEqual({ kind: "retry", runId: id, fromStart: false, task: "load[customers]" });
    keys("E", "LEFT", "CTRL_S");
    expect(actions[2]).toEqual({ kind: "retry", runId: id, fromStart: true });
  });

  test("takes the definition as it is now, and other parameters: only those that were changed", () => {
    const { s, actions, keys } = over();
    keys("E", "DOWN", " ", "DOWN");
    expect(drawScreen(s).toString()).toContain("2026-02-28");
    keys("BACKSPACE", "7", "CTRL_S");
    expect(actions).toEqual([
      {
        ...{ kind: "retry", runId: id, fromStart: false, currentDefinition: true },
        params: { day: "2026-02-27" },
      },
    ]);
  });

  test("is not for runs that are under way, nor for an older principal", () => {
    const { s, keys } = ui({ kind: "run", id: runId, pane: "tasks" });
    keys("E");
    expect(s.toasts.at(-1)?.text).toContain("it can be retried when it is over");
    const old = over();
    if (old.s.data.info !== null) {
      const protocol = { version: 2, oldest: 1 };
      old.s.data = { ...old.s.data, info: { ...old.s.data.info, protocol } };
    }
    old.keys("E");
    expect(old.s.toasts.at(-1)?.text).toContain("too old for options of retries");
  });
});
