import { expect, test } from "bun:test";
import { Exposition, Histogram } from "../../src/metrics/exposition.ts";

test("a page has the metrics in order, each with its help and its type", () => {
  const page = new Exposition();
  page.gauge("queue_length", "Runs that wait.", 3);
  page.counter("runs_total", "Runs that ended.", [
    [{ status: "COMPLETED" }, 12],
    [{ status: "FAILED", workflow: "etl.daily" }, 0.5],
  ]);
  page.gauge("nothing", "No sample.", []);
  expect(page.toString()).toBe(`# HELP queue_length Runs that wait.
# TYPE queue_length gauge
queue_length 3
# HELP runs_total Runs that ended.
# TYPE runs_total counter
runs_total{status="COMPLETED"} 12
runs_total{status="FAILED",workflow="etl.daily"} 0.5
# HELP nothing No sample.
# TYPE nothing gauge
`);
});

test("no text can end its line or its quotes", () => {
  const page = new Exposition();
  page.gauge("odd", 'a "help"\nof \\ two lines', [[{ label: 'a"b\\c\nd' }, 1]]);
  expect(page.toString().split("\n")).toEqual([
    '# HELP odd a "help"\\nof \\\\ two lines',
    "# TYPE odd gauge",
    'odd{label="a\\"b\\\\c\\nd"} 1',
    "",
  ]);
});

test("a histogram counts what is not above each bound", () => {
  const histogram = new Histogram([0.5, 2]);
  const page = new Exposition();
  expect(histogram.cumulative()).toEqual([
    [0.5, 0],
    [2, 0],
    [Number.POSITIVE_INFINITY, 0],
  ]);
  for (const value of [0, 0.5, 0.75, 2, 100]) histogram.observe(value);
  page.histogram("wait_seconds", "Waiting.", histogram);
  expect(page.toString()).toBe(`# HELP wait_seconds Waiting.
# TYPE wait_seconds histogram
wait_seconds_bucket{le="0.5"} 2
wait_seconds_bucket{le="2"} 4
wait_seconds_bucket{le="+Inf"} 5
wait_seconds_sum 103.25
wait_seconds_count 5
`);
});
