import { describe, expect, test } from "bun:test";
import { VERSION } from "../../src/build-facts.ts";
import { askAnswer, askCancel, askTrigger } from "../../src/tui/overlays/ask.ts";
import { newEditor } from "../../src/tui/overlays/line-editor.ts";
import { BOLD, DIM, INVERSE } from "../../src/tui/screen/style.ts";
import { type Page, RUN_PANES, type State, WORKFLOW_PANES } from "../../src/tui/state.ts";
import { drawScreen } from "../../src/tui/views/screen.ts";
import type { RunStatus } from "../../src/workflow/status.ts";
import { APPROVAL, FANS, FANS_DEFINITION, NOW, RUN, SHARED, state, task, WAITING } from "./fixtures.ts";

const SIZES = [
  [80, 24],
  [140, 40],
] as const;

const runId = RUN.workflow_instance_id;
const source = { kind: "run", workflowId: "etl.daily", runId } as const;

const PAGES: Readonly<Record<string, Page>> = {
  workflows: { kind: "workflows" },
  ...Object.fromEntries(
    WORKFLOW_PANES.map((pane) => [`workflow ${pane}`, { kind: "workflow", id: "etl.daily", pane } as Page]),
  ),
  runs: { kind: "runs" },
  ...Object.fromEntries(RUN_PANES.map((pane) => [`run ${pane}`, { kind: "run", id: runId, pane } as Page])),
  ...Object.fromEntries(
    RUN_PANES.filter((pane) => pane !== "log").map((pane) => [
      `shared run ${pane}`,
      { kind: "run", id: SHARED.workflow_instance_id, pane } as Page,
    ]),
  ),
  "waiting run graph": { kind: "run", id: WAITING.workflow_instance_id, pane: "graph" },
  "waiting run details": { kind: "run", id: WAITING.workflow_instance_id, pane: "details" },
  ...Object.fromEntries(
    (["graph", "gantt", "tasks", "outputs", "files"] as const).map((pane) => [
      `fan-out ${pane}`,
      { kind: "run", id: FANS.workflow_instance_id, pane } as Page,
    ]),
  ),
  logs: { kind: "logs", source: { kind: "all" } },
  agents: { kind: "agents" },
  activity: { kind: "activity" },
  approvals: { kind: "approvals" },
  queue: { kind: "queue" },
  calendar: { kind: "calendar" },
  alerts: { kind: "alerts" },
};

const OVERLAYS: Readonly<Record<string, (state: State) => void>> = {
  help: (s) => {
    s.overlay = { kind: "help", top: 0 };
  },
  confirm: (s) => askCancel(s, runId),
  form: (s) => askTrigger(s, "etl.daily"),
  "form of an approval": (s) => askAnswer(s, APPROVAL, true),
  command: (s) => {
    s.overlay = { kind: "command", editor: newEditor("workflow etl"), error: null };
  },
  toast: (s) => {
    s.toasts = [{ text: "Triggered etl.daily", kind: "good", until: NOW + 1000 }];
  },
  lost: (s) => {
    s.connection = {
      ...s.connection,
      status: "lost",
      since: NOW - 12_000,
      lastDataMs: NOW - 15_000,
      error: null,
    };
  },
  filter: (s) => {
    s.lists.runs = { selected: null, index: 0, top: 0, filter: "etl !cancelled", sort: 1, reverse: true };
    s.overlay = { kind: "filter", list: "runs", editor: newEditor("etl !cancelled"), before: "" };
  },
};

for (const [width, height] of SIZES) {
  describe(`${width}×${height}`, () => {
    for (const [name, page] of Object.entries(PAGES)) {
      test(name, () => {
        const s = state(width, height, page);
        if (page.kind === "run" && page.pane === "log") s.log.source = source;
        expect(`\n${drawScreen(s)}\n`).toMatchSnapshot();
      });
    }
    for (const pane of ["gantt", "tasks"] as const) {
      test(`unfolded fan-out ${pane}`, () => {
        const s = state(width, height, { kind: "run", id: FANS.workflow_instance_id, pane });
        s.unfolded = new Set([`${FANS.workflow_instance_id} load`]);
        s.lists[`tasks:${FANS.workflow_instance_id}`] = {
          ...{ selected: "load\t1", index: 2, top: 0, filter: "", sort: 0, reverse: false },
        };
        expect(`\n${drawScreen(s)}\n`).toMatchSnapshot();
      });
    }
    for (const [name, change] of Object.entries(OVERLAYS)) {
      test(`over the runs: ${name}`, () => {
        const s = state(width, height, { kind: "runs" });
        change(s);
        expect(`\n${drawScreen(s)}\n`).toMatchSnapshot();
      });
    }
    test("nothing known yet", () => {
      const s = state(width, height);
      s.data = { ...s.data, info: null, workflows: null, runs: null, agents: null };
      s.connection = { status: "connecting", since: NOW, latencyMs: null, lastDataMs: null, error: null };
      expect(`\n${drawScreen(s)}\n`).toMatchSnapshot();
    });
  });
}

test("an overview says what tasks run for, when, and how often, and what the hooks are", () => {
  const s = state(100, 50, { kind: "workflow", id: "etl.daily", pane: "overview" });
  const details = s.data.workflowDetails.get("etl.daily");
  if (details === undefined) throw new Error("the fixture has a workflow");
  s.data.workflowDetails = new Map([["etl.daily", { ...details, definition: FANS_DEFINITION }]]);
  const drawn = drawScreen(s).toString();
  for (const text of [
    "for each orders, customers, 8 at once",
    "when run.attempt == 1",
    "repeat every 1m00s until exit_code == 0, 9 times at most",
    "Hooks, when all tasks are over",
    "total = ${{ tasks.list.outputs.total }}",
  ]) {
    expect(drawn).toContain(text);
  }
});

describe("200 tasks", () => {
  const chains = Array.from({ length: 190 }, (_, i) => {
    const [chain, step] = [Math.floor(i / 10), i % 10];
    return task(`shop_${chain}_step_${step}`, [step === 0 ? "start" : `shop_${chain}_step_${step - 1}`]);
  });
  const ends = Array.from({ length: 8 }, (_, i) =>
    task(
      `region_${i}`,
      Array.from({ length: 19 }, (_, chain) => `shop_${chain}_step_9`).filter((_, chain) => chain % 8 <= i),
    ),
  );
  const tasks = [
    task("start"),
    ...chains,
    ...ends,
    task(
      "publish",
      ends.map(({ id }) => id),
    ),
  ];

  for (const [width, height] of [
    [80, 24],
    [120, 40],
  ] as const) {
    test(`are readable at ${width}×${height}`, () => {
      expect(tasks.length).toBe(200);
      const id = RUN.workflow_instance_id;
      const s = state(width, height, { kind: "run", id, pane: "graph" });
      const [like] = RUN.tasks;
      if (like === undefined || RUN.definition === null) throw new Error("the fixture has tasks");
      const ended = (task_id: string, status: RunStatus) => ({ ...like, task_id, status });
      s.data.runDetails = new Map([
        [
          id,
          {
            ...RUN,
            definition: { ...RUN.definition, tasks },
            tasks: tasks
              .slice(0, 60)
              .map((one, i) => ended(one.id, i === 47 ? "FAILED" : i % 10 > 5 ? "RUNNING" : "COMPLETED")),
          },
        ],
      ]);
      expect(`\n${drawScreen(s)}\n`).toMatchSnapshot();
      s.lists[`tasks:${id}`] = {
        ...{ selected: "shop_4_step_6", index: 110, top: 0, filter: "", sort: 0, reverse: false },
      };
      expect(`\n${drawScreen(s)}\n`).toMatchSnapshot();
    });
  }
});

test("every row is as wide as the screen, whatever is drawn and however small it is", () => {
  for (const page of Object.values(PAGES)) {
    for (const [width, height] of [
      [40, 10],
      [41, 11],
      [79, 23],
      [100, 12],
      [300, 80],
    ] as const) {
      const s = state(width, height, page);
      const canvas = drawScreen(s);
      for (let y = 0; y < height; y++) {
        const text = canvas.chars.slice(y * width, (y + 1) * width).join("");
        expect(Bun.stringWidth(text)).toBe(width);
      }
    }
  }
});

test("too small for anything: it says so", () => {
  expect(drawScreen(state(39, 9)).toString()).toContain("cdktr needs 40×10");
  expect(drawScreen(state(5, 2)).toString()).toContain("cdktr");
  expect(drawScreen(state(1, 1)).toString()).toBe("c");
});

test("an agent's silence is what the principal says, although the clock here is ahead of it", () => {
  const s = state(140, 40, { kind: "agents" });
  s.connection = { ...s.connection, status: "connected", lastDataMs: s.now - 1000 };
  s.data.agents = (s.data.agents ?? []).map((agent) => ({
    ...agent,
    last_heartbeat_ms: s.now - 188_000,
    silent_ms: 8000,
  }));
  const drawn = drawScreen(s).toString();
  expect(drawn).toContain("9s ago");
  expect(drawn).not.toContain("3m ago");
  expect(drawn).toContain("1 up 1 draining 1 lost");
});

test("the header does not count runs as running that wait", () => {
  const header = (columns: number, statuses: RunStatus[]) => {
    const s = state(columns, 24, { kind: "workflows" });
    const [first] = s.data.runs ?? [];
    if (first === undefined || s.data.info === null) throw new Error("no run");
    const runs = statuses.map((status) => ({ ...first, status }));
    const info = { ...s.data.info, runs: { ...s.data.info.runs, running: runs.length } };
    return drawScreen({ ...s, data: { ...s.data, runs, info } })
      .toString()
      .split("\n")[0];
  };
  expect(header(140, ["RUNNING", "WAITING", "WAITING"])).toContain("▶ 1 running  ◷ 2 waiting  ○ 1 queued");
  // The address is never cut: words give way.
  expect(header(80, ["WAITING"])).toContain("10.0.0.5:5561   ▶ 0 ◷ 1 ○ 1 ✗ 0 │");
  expect(header(140, ["RUNNING"])).toContain("▶ 1 running  ○ 1 queued");
});

test("the header names the version of a principal that is not of this one", () => {
  const s = state(140, 40, { kind: "agents" });
  expect(drawScreen(s).toString()).not.toContain(` cdktr ${VERSION}`);
  if (s.data.info !== null) s.data = { ...s.data, info: { ...s.data.info, version: "9.8.7" } };
  expect(drawScreen(s).toString()).toContain(" cdktr 9.8.7");
});

test("drawing changes nothing and gives the same cells again", () => {
  const s = state(120, 30, { kind: "runs" });
  const before = Bun.inspect(s, { depth: 8 });
  const first = drawScreen(s);
  const second = drawScreen(s);
  expect(Bun.inspect(s, { depth: 8 })).toBe(before);
  expect(second.chars).toEqual(first.chars);
  expect(second.styles).toEqual(first.styles);
});

test("a lost principal's page is grey, without colour; the header is not", () => {
  const s = state(80, 24, { kind: "runs" });
  OVERLAYS.lost?.(s);
  const { styles } = drawScreen(s);
  expect((styles[5 * 80 + 2] ?? 0) & DIM).toBe(DIM);
  expect((styles[5 * 80 + 2] ?? 0) & 0x3ff).toBe(0);
  expect((styles[2 * 80 + 2] ?? 0) & (BOLD | INVERSE)).toBe(BOLD | INVERSE);
});

test("the selected row is inverse, and a click on a row finds it", () => {
  const s = state(80, 24, { kind: "runs" });
  s.lists.runs = { selected: runId, index: 0, top: 0, filter: "", sort: 0, reverse: false };
  const canvas = drawScreen(s);
  expect((canvas.styles[4 * 80] ?? 0) & INVERSE).toBe(INVERSE);
  expect((canvas.styles[3 * 80] ?? 0) & INVERSE).toBe(0);
  expect(canvas.targetAt(10, 4)).toEqual({ kind: "row", list: "runs", id: runId });
});

const LONG_ID = `etl.${"a-rather-long-name-as-people-give-them".repeat(3)}`;
const WIDE_NAME = "日本語の長い名前👩‍🚀🎉".repeat(5);

describe("long and wide names", () => {
  for (const width of [60, 80, 200]) {
    for (const [name, page] of Object.entries(PAGES)) {
      test(`${name} on ${width} columns`, () => {
        const s = state(width, 24, page);
        const text = JSON.stringify(s.data, (_, value) =>
          value instanceof Map ? { $map: [...value] } : value,
        )
          .replaceAll('"etl.daily"', JSON.stringify(LONG_ID))
          .replaceAll('"Daily load"', JSON.stringify(WIDE_NAME))
          .replaceAll('"host-a"', JSON.stringify(`host-${LONG_ID}`));
        s.data = JSON.parse(text, (_, value) => (value?.$map === undefined ? value : new Map(value.$map)));
        if (page.kind === "workflow") s.pages[s.tab] = [{ kind: "workflows" }, { ...page, id: LONG_ID }];
        const lines = String(drawScreen(s)).split("\n");
        for (const line of lines) expect(Bun.stringWidth(line)).toBeLessThanOrEqual(width);
        // Where one is, and where one can go, stays in sight.
        expect(lines[1]).toMatch(/1 Workflows {2}2 Runs {2}3 Logs {2}4/);
        if (width > 60) expect(lines[1]).toContain("5 Activity");
        const panes = page.kind === "workflow" ? WORKFLOW_PANES : page.kind === "run" ? RUN_PANES : [];
        const screen = lines.join("\n").toLowerCase();
        expect(screen).toContain(panes.join("  "));
      });
    }
  }
});

test("a trigger that cannot work and a refused firing are shown in the list and with the workflow", () => {
  const broken = (page: Page) => {
    const s = state(140, 40, page);
    s.data.workflows = (s.data.workflows ?? []).map((workflow) => ({
      ...workflow,
      error: null,
      trigger_problems: ['"cron" can never run this workflow'],
      refused: { trigger: "cron", timestamp_ms: NOW - 60_000, message: 'missing parameter "day"' },
    }));
    return drawScreen(s).toString();
  };
  expect(broken({ kind: "workflows" })).toContain("etl.daily ✗ problem");
  const overview = broken({ kind: "workflow", id: "etl.daily", pane: "overview" });
  expect(overview).toContain('✗ "cron" can never run this workflow');
  expect(overview).toMatch(/✗ A firing \(cron\) was refused .*: missing parameter "day"/);
});

test("why tasks were skipped, failures that are allowed, and outputs are shown with the run", () => {
  const drawn = (pane: (typeof RUN_PANES)[number]) => {
    const s = state(140, 40, { kind: "run", id: runId, pane });
    const tasks = RUN.tasks.map((task) =>
      task.task_id === "orders"
        ? { ...task, is_allowed: true }
        : task.task_id === "returns"
          ? { ...task, status: "SKIPPED" as const, error: "when: params.full is false" }
          : task,
    );
    const outputs = { rows: 17, note: "a b" };
    const run = { ...RUN, status: "COMPLETED" as const, allowed_failures: 1, outputs, tasks };
    s.data = { ...s.data, runDetails: new Map([[runId, run]]) };
    return drawScreen(s).toString();
  };
  expect(drawn("tasks")).toMatch(/returns .*SKIPPED .*when: params\.full is false/);
  expect(drawn("tasks")).toContain("1 failure allowed");
  const details = drawn("details");
  expect(details).toContain("rows = 17");
  expect(details).toContain('note = "a b"');
});

test("the agents' page shows the principals of an installation with several", () => {
  const s = state(100, 40, { kind: "agents" });
  const base = {
    is_self: false,
    api_port: 5561,
    logs_listening_port: 5562,
    logs_publishing_port: 5563,
    version: "1.0.0",
    protocol: { version: 6, oldest: 1 },
    started_at_ms: NOW,
    since_ms: NOW,
    silent_ms: 0,
    epoch: null,
    lag: null,
    same_workflows: true,
    store: null,
    problem: null,
  };
  const leader = {
    ...base,
    name: "db1",
    role: "leader" as const,
    host: "10.0.0.1",
    epoch: 4,
    store: { p50_ms: 1.2, p99_ms: 8 },
  };
  expect(drawScreen(s).toString()).not.toContain("principals");
  s.data.principals = [leader];
  expect(drawScreen(s).toString()).not.toContain("principals");
  s.data.principals = [
    leader,
    { ...base, name: "db2", role: "follower", host: "10.0.0.2", lag: { commits: 3, ms: 20 } },
    { ...base, name: "db3", role: "silent", host: "10.0.0.3", silent_ms: 12_000, same_workflows: false },
  ];
  const drawn = drawScreen(s).toString();
  for (const text of [
    "★ db1  leader    10.0.0.1:5561  epoch 4  commits 1.2 ms, slowest 8.0 ms",
    "✓ db2  follower  10.0.0.2:5561  3 commits behind",
    "✗ db3  silent    10.0.0.3:5561  not heard of for 12s  other workflow files",
  ])
    expect(drawn).toContain(text);
});
