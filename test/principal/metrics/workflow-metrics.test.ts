import { expect, test } from "bun:test";
import type { LatestEnd } from "../../../src/contract/history.ts";
import { EventHub } from "../../../src/event-hub.ts";
import { Exposition } from "../../../src/metrics/exposition.ts";
import { WorkflowMetrics } from "../../../src/principal/metrics/workflow-metrics.ts";
import type { PrincipalEvents } from "../../../src/principal/principal-events.ts";
import type { RunRecord } from "../../../src/storage/operational/store.ts";

function metricsOf(
  options: {
    most?: number;
    ids?: string[];
    latestEnds?: (ids: readonly string[]) => Promise<LatestEnd[]>;
  } = {},
) {
  const events: PrincipalEvents = new EventHub();
  const metrics = new WorkflowMetrics({
    events,
    most: options.most ?? 10,
    ids: () => options.ids ?? [],
    latestEnds: options.latestEnds ?? (async () => []),
  });
  const ended = (workflow_id: string, run: Partial<RunRecord> = {}) => {
    const times = { started_at_ms: 1000, finished_at_ms: 3000, duration_ms: null };
    events.emit("run ended", { workflow_id, status: "COMPLETED", ...times, ...run } as RunRecord);
  };
  /** The samples of a name, but for runs of which there are none. */
  const lines = (name: string) => {
    const page = new Exposition();
    metrics.addTo(page);
    return page
      .toString()
      .split("\n")
      .filter((line) => line.startsWith(name) && !/^cdktr_workflow_runs_total.* 0$/.test(line));
  };
  const zeros = () => {
    const page = new Exposition();
    metrics.addTo(page);
    return page.toString().match(/^cdktr_workflow_runs_total.* 0$/gm);
  };
  return { metrics, ended, lines, zeros };
}

test("runs are counted by workflow and status, and their durations", () => {
  const { ended, lines, zeros } = metricsOf();
  expect(lines("cdktr_")).toEqual([]);
  ended("a");
  ended("a", { status: "FAILED", duration_ms: 61_000, finished_at_ms: 9000 });
  ended("b", { status: "SKIPPED", started_at_ms: null });
  expect(zeros()).toHaveLength(7);
  expect(lines("cdktr_workflow_runs_total")).toEqual([
    'cdktr_workflow_runs_total{workflow="a",status="COMPLETED"} 1',
    'cdktr_workflow_runs_total{workflow="a",status="FAILED"} 1',
    'cdktr_workflow_runs_total{workflow="b",status="SKIPPED"} 1',
  ]);
  expect(lines("cdktr_workflow_last")).toEqual([
    'cdktr_workflow_last_success_timestamp_seconds{workflow="a"} 3',
    'cdktr_workflow_last_run_duration_seconds{workflow="a"} 61',
  ]);
  expect(lines("cdktr_workflow_duration_seconds")).toEqual([
    'cdktr_workflow_duration_seconds_bucket{workflow="a",le="1"} 0',
    'cdktr_workflow_duration_seconds_bucket{workflow="a",le="5"} 1',
    'cdktr_workflow_duration_seconds_bucket{workflow="a",le="15"} 1',
    'cdktr_workflow_duration_seconds_bucket{workflow="a",le="60"} 1',
    'cdktr_workflow_duration_seconds_bucket{workflow="a",le="300"} 2',
    'cdktr_workflow_duration_seconds_bucket{workflow="a",le="900"} 2',
    'cdktr_workflow_duration_seconds_bucket{workflow="a",le="3600"} 2',
    'cdktr_workflow_duration_seconds_bucket{workflow="a",le="14400"} 2',
    'cdktr_workflow_duration_seconds_bucket{workflow="a",le="86400"} 2',
    'cdktr_workflow_duration_seconds_bucket{workflow="a",le="+Inf"} 2',
    'cdktr_workflow_duration_seconds_sum{workflow="a"} 63',
    'cdktr_workflow_duration_seconds_count{workflow="a"} 2',
  ]);
});

test("an earlier end does not move the last success back", () => {
  const { ended, lines } = metricsOf();
  ended("a", { finished_at_ms: 9000 });
  ended("a", { finished_at_ms: 4000 });
  expect(lines("cdktr_workflow_last_success")).toEqual([
    'cdktr_workflow_last_success_timestamp_seconds{workflow="a"} 9',
  ]);
});

test("the number of series is bounded, and no series moves", () => {
  const { ended, lines } = metricsOf({ most: 2 });
  for (const workflow of ["c", "b", "a", "a", "d", "c"]) ended(workflow);
  expect(lines("cdktr_workflow_runs_total")).toEqual([
    'cdktr_workflow_runs_total{workflow="c",status="COMPLETED"} 2',
    'cdktr_workflow_runs_total{workflow="b",status="COMPLETED"} 1',
    'cdktr_workflow_runs_total{workflow="(other)",status="COMPLETED"} 3',
  ]);
  expect(lines("cdktr_workflow_duration_seconds_count")).toHaveLength(3);
  // A time of several together says nothing.
  expect(lines("cdktr_workflow_last_success")).toHaveLength(2);
  const none = metricsOf({ most: 0, latestEnds: () => Promise.reject(new Error("it was asked")) });
  none.ended("a");
  expect(none.lines("cdktr_")).toEqual([]);
});

test("what earlier processes knew is learned once, when the history is there", async () => {
  const asked: (readonly string[])[] = [];
  let isAway = true;
  const { metrics, ended, lines } = metricsOf({
    most: 2,
    ids: ["c", "b", "a"],
    latestEnds: async (ids) => {
      asked.push(ids);
      if (isAway) throw new Error("The history is away.");
      return [
        { workflow_id: "a", success_ms: 50_000, duration_ms: 7000 },
        { workflow_id: "b", success_ms: null, duration_ms: 8000 },
        { workflow_id: "c", success_ms: 1000, duration_ms: null },
      ];
    },
  });
  ended("b", { finished_at_ms: 60_000, started_at_ms: 57_000 });
  await metrics.recall();
  expect(lines("cdktr_workflow_last_success")).toHaveLength(1);
  isAway = false;
  await Promise.all([metrics.recall(), metrics.recall()]);
  await metrics.recall();
  expect(asked).toEqual([
    ["a", "b", "c"],
    ["a", "b", "c"],
  ]);
  expect(lines("cdktr_workflow_last")).toEqual([
    'cdktr_workflow_last_success_timestamp_seconds{workflow="b"} 60',
    'cdktr_workflow_last_success_timestamp_seconds{workflow="a"} 50',
    'cdktr_workflow_last_run_duration_seconds{workflow="b"} 3',
    'cdktr_workflow_last_run_duration_seconds{workflow="a"} 7',
  ]);
});
