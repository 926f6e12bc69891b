/** The ends of logs in messages: what is told when they cannot be had, or not in time. */
import { describe, expect, test } from "bun:test";
import type { LogPage, SearchLogs } from "../../../src/contract/messages.ts";
import { type LogTailOptions, logTails } from "../../../src/principal/alerts/log-tail.ts";
import { BACK, FAILED } from "./support.ts";

const page = (...payloads: string[]): LogPage => ({
  rows: payloads.map((payload) => ["etl.daily", "Daily", "run", "load", "1d3c", 1000, "INFO", payload]),
  next: null,
  warning: null,
});

function tailOf(over: Partial<LogTailOptions["history"]> = {}, limitMs = 60_000) {
  const asked: SearchLogs[] = [];
  const look = logTails({
    history: {
      async searchLogs(search) {
        asked.push(search);
        return page("one", "two");
      },
      waitReceived: async () => true,
      ...over,
    },
    runs: { logEnds: async () => [{ streamId: "s", seq: 7 }] },
    limitMs,
  });
  return { look, asked };
}

const never = new AbortController().signal;

describe("the log of an alert", () => {
  test("is the end of that of its first failed task", async () => {
    const { look, asked } = tailOf();
    expect(await look(FAILED, never)).toEqual({ task: "load[orders]", lines: ["one", "two"], problem: null });
    expect(asked).toEqual([
      { workflow_instance_id: FAILED.workflow_instance_id ?? "", task: "1d3c", limit: 20 },
    ]);
  });

  test("is that of the whole run if no task is known", async () => {
    const { look, asked } = tailOf();
    expect(await look({ ...FAILED, facts: {} }, never)).toMatchObject({ task: null, lines: ["one", "two"] });
    expect(asked).toEqual([{ workflow_instance_id: FAILED.workflow_instance_id ?? "", limit: 20 }]);
  });

  test("is that of the whole run if the task has said nothing, and that of an item rather than of its fan-out", async () => {
    const asked: SearchLogs[] = [];
    const { look } = tailOf({
      async searchLogs(search) {
        asked.push(search);
        return search.task === undefined ? page("of the run") : page();
      },
    });
    const item = FAILED.facts.failed_tasks as readonly Record<string, string>[];
    const fanOut = { ...item[0], item_key: null, task_instance_id: "whole" };
    const alert = { ...FAILED, facts: { failed_tasks: [fanOut, ...item] } };
    expect(await look(alert, never)).toEqual({ task: null, lines: ["of the run"], problem: null });
    expect(asked.map(({ task }) => task)).toEqual(["1d3c", undefined]);
  });

  test("is none for what is no failed run", async () => {
    const { look, asked } = tailOf();
    expect(await look(BACK, never)).toBeNull();
    expect(await look({ ...FAILED, kind: "late" }, never)).toBeNull();
    expect(await look({ ...FAILED, workflow_instance_id: null }, never)).toBeNull();
    expect(asked).toEqual([]);
  });

  test("says why it is not there: the history is away, or does not answer, or lines are on their way", async () => {
    const away = tailOf({ searchLogs: () => Promise.reject(new Error("The history is not available.")) });
    expect(await away.look(FAILED, never)).toEqual({
      task: "load[orders]",
      lines: [],
      problem: "The history is not available",
    });
    const silent = tailOf({ searchLogs: () => new Promise(() => {}) }, 1);
    expect(await silent.look(FAILED, never)).toMatchObject({ problem: "the history did not answer in time" });
    const late = tailOf({ waitReceived: async () => false });
    expect(await late.look(FAILED, never)).toMatchObject({
      lines: ["one", "two"],
      problem: "lines of its agent are still on their way",
    });
  });

  test("is not waited for when sending is called off", async () => {
    const stop = new AbortController();
    const { look } = tailOf({ searchLogs: () => new Promise(() => {}) });
    const looking = look(FAILED, stop.signal);
    stop.abort();
    expect(await looking).toMatchObject({ lines: [] });
  });
});
