import { describe, expect, test } from "bun:test";
import { ALERT_KINDS, alertKey, KINDS_OF_ALERTS, kindFacts } from "../../src/workflow/alert-kinds.ts";
import { checkNotify } from "../../src/workflow/check-notify.ts";
import type { Defaults } from "../../src/workflow/model.ts";
import { channelsFor, type NotifyRule } from "../../src/workflow/notify.ts";
import { parseWorkflow } from "../../src/workflow/parse.ts";
import { parseSettings } from "../../src/workflow/settings-file.ts";

function notifyOf(text: string, defaults?: Defaults): readonly NotifyRule[] | undefined {
  const file = `${text}\ntasks: {a: {run: "true"}}\n`;
  const parsed = parseWorkflow(file, { path: "flow.yml", id: "flow", defaults });
  if (!parsed.ok) throw new Error(parsed.diagnostics.map(({ message }) => message).join("\n"));
  return parsed.definition.notify;
}

describe("notify", () => {
  test("is a list of rules, one rule, or the name of a channel; stored as a list", () => {
    expect(notifyOf("notify: [{on: [failed, late, failed], to: [ops, chat], after_failures: 3}]")).toEqual([
      { on: ["failed", "late"], to: ["ops", "chat"], after_failures: 3 },
    ]);
    expect(notifyOf("notify: {on: failed, to: ops}")).toEqual([{ on: ["failed"], to: ["ops"] }]);
    expect(notifyOf("notify: ops")).toEqual([{ to: ["ops"] }]);
    expect(notifyOf("notify: [ops, {on: late, to: chat}]")).toEqual([
      { to: ["ops"] },
      { on: ["late"], to: ["chat"] },
    ]);
    expect(notifyOf("notify: []")).toEqual([]);
    expect(notifyOf("notify:")).toBeUndefined();
    expect(notifyOf("name: w")).toBeUndefined();
  });

  test("of a directory counts where a workflow says nothing", () => {
    const settings = parseSettings("defaults: {notify: ops}", "etl/_cdktr.yml", false);
    const defaults = settings.ok ? settings.settings.defaults : undefined;
    expect(defaults?.notify).toEqual([{ to: ["ops"] }]);
    expect(notifyOf("name: w", defaults)).toEqual([{ to: ["ops"] }]);
    expect(notifyOf("notify: []", defaults)).toEqual([]);
    expect(notifyOf("notify: chat", defaults)).toEqual([{ to: ["chat"] }]);
  });

  test("of the workflow directory itself may name what belongs to no workflow", () => {
    const text =
      "channels: {ops: {mail: ops@example.org}}\nnotify: [{on: [agent_lost, dead_letter, query, failed], to: ops}]\n";
    const settings = parseSettings(text, "_cdktr.yml", true);
    expect(settings).toMatchObject({
      ok: true,
      settings: { notify: [{ on: ["agent_lost", "dead_letter", "query", "failed"], to: ["ops"] }] },
      warnings: [],
    });
    const other = parseSettings("notify: ops\n", "etl/_cdktr.yml", false);
    expect(other.ok ? [] : other.diagnostics).toMatchObject([
      {
        code: "E092",
        message: '"notify" belongs in _cdktr.yml of the workflow directory itself',
        help: 'move it there, or below "defaults:"',
      },
    ]);
  });

  test("tells when a channel does not exist", () => {
    const settings = parseSettings(
      "channels: {ops: {mail: a@b}}\nnotify: [{to: [opps]}, chat]\n",
      "_cdktr.yml",
      true,
    );
    expect(settings.ok ? settings.warnings : []).toMatchObject([
      {
        code: "W022",
        line: 2,
        column: 11,
        message: 'there is no channel "opps": nobody is told',
        help: 'did you mean "ops"?',
      },
      {
        code: "W022",
        line: 2,
        help: "channels are in _cdktr.yml of the workflow directory; it has ops",
      },
    ]);
    expect(checkNotify([{ to: ["ops"] }], {})).toEqual([
      {
        code: "W022",
        message: 'there is no channel "ops": nobody is told',
        help: "channels are in _cdktr.yml of the workflow directory; it has none",
        path: ["notify", 0, "to"],
      },
    ]);
    expect(checkNotify(undefined, {})).toEqual([]);
  });

  test("tells when failures are counted for a rule that tells none", () => {
    const rules: NotifyRule[] = [
      { on: ["late"], to: ["ops"], after_failures: 3 },
      { on: ["late", "recovered"], to: ["ops"], after_failures: 3 },
      { to: ["ops"], after_failures: 3 },
    ];
    expect(checkNotify(rules, { ops: {} })).toEqual([
      {
        code: "W002",
        message: '"after_failures" in notify has no effect: the rule tells neither failed nor recovered',
        help: "add failed to on, or remove it",
        path: ["notify", 0, "after_failures"],
      },
    ]);
  });

  test("a channel is told of a kind once, by any of the rules", () => {
    const rules: NotifyRule[] = [
      { to: ["all"] },
      { on: ["failed", "late"], to: ["ops", "all"] },
      { on: ["failed"], to: ["pager"], after_failures: 3 },
    ];
    expect(channelsFor(rules, "failed")).toEqual(["all", "ops", "pager"]);
    expect(channelsFor(rules, "failed", ({ after_failures = 1 }) => after_failures < 3)).toEqual([
      "all",
      "ops",
    ]);
    expect(channelsFor(rules, "waiting")).toEqual(["all"]);
    expect(channelsFor([], "failed")).toEqual([]);
  });
});

test("what ends with a run lasts, and what lasts has an end", () => {
  for (const kind of KINDS_OF_ALERTS) {
    const { lasts, endsWithRun, over } = ALERT_KINDS[kind];
    expect(over !== null).toBe(lasts);
    if (endsWithRun) expect(lasts).toBe(true);
  }
  expect(kindFacts("of a newer cdktr").lasts).toBe(false);
  expect(alertKey("late", "flow", "run-1", "finish_by")).toBe("late flow run-1 finish_by");
});
