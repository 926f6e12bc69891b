/** Keys of the alerts. */
import { expect, test } from "bun:test";
import { alertText } from "../../src/tui/alert-text.ts";
import { currentPage } from "../../src/tui/navigation.ts";
import { drawScreen } from "../../src/tui/views/screen.ts";
import { ALERTS } from "./alert-fixtures.ts";
import { state } from "./fixtures.ts";
import { ui } from "./ui.ts";

const [LATE] = ALERTS.alerts;
/** Rows: four alerts, a heading and a dead letter, a heading and two channels, a heading and two alert files. */
const down = (rows: number) => Array.from({ length: rows }, () => "DOWN");

test("9 and :alerts show them; Enter shows everything that is known, o the run, w the workflow", () => {
  const { s, keys, type, done } = ui();
  keys("9");
  expect(currentPage(s)).toEqual({ kind: "alerts" });
  keys("1");
  type(":alerts");
  keys("ENTER");
  expect(currentPage(s)).toEqual({ kind: "alerts" });
  keys(...down(2), "ENTER");
  expect(done).toEqual([`show alert ${ALERTS.alerts[2]?.alert_id}`]);
  keys("o");
  expect(s.toasts.at(-1)?.text).toBe("This row is about no run.");
  keys("w");
  expect(currentPage(s)).toMatchObject({ kind: "workflow", id: "hello" });
  keys("ESCAPE", "HOME", "o");
  expect(currentPage(s)).toMatchObject({ kind: "run", id: LATE?.workflow_instance_id });
});

test("the text of an alert has its particulars, and who was told; rows of channels and files show what they have", () => {
  const [, , alert] = ALERTS.alerts;
  if (alert === undefined) throw new Error("there is no alert");
  const facts = { severity: "critical", row: { workflow_id: "hello", megabytes: 140 } };
  const text = alertText({ ...alert, facts });
  expect(text).toContain("query alerts/growing.yml hello");
  expect(text).toContain('"megabytes": 140');
  expect(text).toContain("ops: raised, DEAD at 2026-03-0");
  expect(text).toContain("  mail.example.org: 550 no such mailbox");
  const { s, keys } = ui({ kind: "alerts" });
  keys(...down(7), "ENTER");
  expect(s.overlay).toMatchObject({ kind: "text", title: "Channel chat" });
  keys("ESCAPE", "END", "ENTER");
  expect(s.overlay).toMatchObject({ kind: "text", title: "Slow run" });
});

test("a key that may only read sends nothing", () => {
  const { s, keys, actions } = ui({ kind: "alerts" });
  s.reader = "eve";
  keys(...down(5), "r", "R", ...down(2), "t");
  expect(actions).toEqual([]);
  expect(s.overlay).toBeNull();
  expect(s.toasts.at(-1)?.text).toContain("may only read");
});

test("r sends what was given up again, of one alert; R of all", () => {
  const { s, keys, actions, done } = ui({ kind: "alerts" });
  keys("r");
  expect(actions).toEqual([]);
  expect(done).toEqual([]);
  expect(s.toasts.at(-1)?.text).toContain("No message of this row was given up");
  keys(...down(5), "r", "R");
  expect(actions).toEqual([
    { kind: "retry alert", alertId: String(ALERTS.dead[0]?.alert_id) },
    { kind: "retry alert", alertId: null },
  ]);
  s.data.alerts = { ...ALERTS, dead: [] };
  keys("R");
  expect(s.toasts.at(-1)?.text).toBe("No message was given up.");
});

test("t tests a channel, after it has asked; y copies the id of an alert", () => {
  const { s, keys, actions, done } = ui({ kind: "alerts" });
  keys("t");
  expect(s.toasts.at(-1)?.text).toBe("Select a channel to test it.");
  keys("y");
  expect(done).toEqual([`copy ${LATE?.alert_id} ${LATE?.alert_id}`]);
  keys(...down(7), "t", "n");
  expect(actions).toEqual([]);
  keys("t", "y");
  expect(actions).toEqual([{ kind: "test channel", channel: "chat" }]);
});

test("a filter leaves alerts, channels and files that match", () => {
  const { s, keys, type } = ui({ kind: "alerts" });
  keys("/");
  type("growing");
  keys("ENTER");
  const screen = String(drawScreen(s));
  expect(screen).toContain("hello wrote 140 MB");
  expect(screen).toContain("1 alert file");
  expect(screen).not.toContain("agent host-c");
  expect(screen).not.toContain("2 channels");
});

for (const width of [60, 80, 200])
  test(`${width} columns show what is wrong, who knows, and how many there are on every page`, () => {
    const screen = String(drawScreen(state(width, 40, { kind: "alerts" })));
    for (const text of [
      "late",
      "missed",
      "agent lost",
      "1 alert with a message that was given up",
      "2 channels",
    ])
      expect(screen).toContain(text);
    expect(screen).toContain("chat: HTTP 503 from hooks.example.org (3 attempts, again");
    if (width === 200) expect(screen).toContain("✓ ops ◷ chat");
    expect(Math.max(...screen.split("\n").map((line) => Bun.stringWidth(line)))).toBeLessThanOrEqual(width);
    const workflows = String(drawScreen(state(width, 40, { kind: "workflows" })));
    expect(workflows.split("\n")[1]).toMatch(width === 200 ? / 9 Alerts 4/ : / 9 4/);
    expect(workflows).toContain("etl.daily ! late");
    expect(workflows).toContain("reports.sales ! missed");
  });

test("a principal that knows no alerts, and one about which nothing is known yet, say so", () => {
  const s = state(80, 24, { kind: "alerts" });
  s.data.alerts = null;
  expect(String(drawScreen(s))).toContain("Loading …");
  s.data.alertsMissing = "This principal is too old to know alerts.";
  expect(String(drawScreen(s))).toContain("This principal is too old to know alerts.");
  s.data.alertsMissing = null;
  s.data.alerts = { alerts: [], dead: [], channels: [], queries: [] };
  expect(String(drawScreen(s))).toContain("Nothing is wrong that anybody has asked to be told of.");
});
