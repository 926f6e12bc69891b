/** A dashboard for Grafana, made from a table of its panels. */

/** A query and how its series are named. */
type Query = readonly [expr: string, legend: string];

interface Panel {
  readonly title: string;
  readonly about?: string;
  /** `stat` shows one number, `series` a graph, `table` the newest value of each series. */
  readonly as: "stat" | "series" | "table";
  readonly unit?: string;
  /** Of 24. */
  readonly width: number;
  readonly queries: readonly Query[];
  /** From which value on it is red; below it is green. A negative number: up to which value it is red. */
  readonly redFrom?: number;
  readonly redBelow?: number;
}

interface Row {
  readonly title: string;
  readonly panels: readonly Panel[];
}

/** The selection of every query. */
const OF = 'job=~"$job",instance=~"$instance"';
const OF_WORKFLOW = `${OF},workflow=~"$workflow"`;

const ROWS: readonly Row[] = [
  {
    title: "Now",
    panels: [
      { title: "Principal", as: "stat", width: 4, redBelow: 1, queries: [[`up{${OF}}`, "up"]] },
      {
        title: "Runs in progress",
        as: "stat",
        width: 4,
        queries: [[`sum(cdktr_runs{${OF},status="RUNNING"})`, "running"]],
      },
      {
        title: "Runs waiting for an agent",
        as: "stat",
        width: 4,
        queries: [[`sum(cdktr_queue_length{${OF}})`, "waiting"]],
      },
      {
        title: "Longest wait",
        as: "stat",
        width: 4,
        unit: "s",
        redFrom: 1800,
        queries: [[`max(cdktr_queue_oldest_seconds{${OF}}) or vector(0)`, "longest wait"]],
      },
      {
        title: "Agents up",
        as: "stat",
        width: 4,
        redBelow: 1,
        queries: [[`sum(cdktr_agents{${OF},status="UP"})`, "up"]],
      },
      {
        title: "Failed in the last hour",
        as: "stat",
        width: 4,
        redFrom: 1,
        queries: [[`sum(increase(cdktr_runs_ended_total{${OF},status=~"FAILED|CRASHED"}[1h]))`, "failed"]],
      },
    ],
  },
  {
    title: "Runs",
    panels: [
      {
        title: "Ended, per minute",
        as: "series",
        width: 12,
        queries: [[`sum by (status) (rate(cdktr_runs_ended_total{${OF}}[5m])) * 60`, "{{status}}"]],
      },
      {
        title: "In progress, waiting, held",
        about: "Held runs wait for their concurrency group, or because their workflow is paused.",
        as: "series",
        width: 12,
        queries: [
          [`sum by (status) (cdktr_runs{${OF}})`, "{{status}}"],
          [`sum by (by) (cdktr_runs_held{${OF}})`, "held by {{by}}"],
        ],
      },
      {
        title: "Time from the queue to an agent",
        as: "series",
        unit: "s",
        width: 12,
        queries: [0.5, 0.95, 0.99].map(
          (q): Query => [
            `histogram_quantile(${q}, sum by (le) (rate(cdktr_dispatch_latency_seconds_bucket{${OF}}[5m])))`,
            `p${q * 100}`,
          ],
        ),
      },
      {
        title: "Longest wait, by priority",
        as: "series",
        unit: "s",
        width: 12,
        queries: [[`max by (priority) (cdktr_queue_oldest_seconds{${OF}})`, "priority {{priority}}"]],
      },
    ],
  },
  {
    title: "Workflows",
    panels: [
      {
        title: "Since the last success",
        as: "table",
        unit: "s",
        width: 8,
        queries: [
          [
            `sort_desc(time() - cdktr_workflow_last_success_timestamp_seconds{${OF_WORKFLOW}})`,
            "{{workflow}}",
          ],
        ],
      },
      {
        title: "Failures in the last day",
        as: "table",
        width: 8,
        queries: [
          [
            `sort_desc(sum by (workflow) (increase(cdktr_workflow_runs_total{${OF_WORKFLOW},status=~"FAILED|CRASHED"}[1d])) > 0)`,
            "{{workflow}}",
          ],
        ],
      },
      {
        title: "Duration of the last run",
        as: "table",
        unit: "s",
        width: 8,
        queries: [[`sort_desc(cdktr_workflow_last_run_duration_seconds{${OF_WORKFLOW}})`, "{{workflow}}"]],
      },
      {
        title: "Late or missed",
        about: "What workflows expect, and was not done in time.",
        as: "table",
        width: 24,
        redFrom: 1,
        queries: [
          [
            `sum by (workflow, kind, rule) (cdktr_workflow_late{${OF_WORKFLOW}})`,
            "{{workflow}}: {{kind}}, {{rule}}",
          ],
        ],
      },
      {
        title: "Ended, per hour, by workflow",
        as: "series",
        width: 12,
        queries: [
          [`sum by (workflow) (rate(cdktr_workflow_runs_total{${OF_WORKFLOW}}[15m])) * 3600`, "{{workflow}}"],
        ],
      },
      {
        title: "Duration, 95th percentile",
        as: "series",
        unit: "s",
        width: 12,
        queries: [
          [
            `histogram_quantile(0.95, sum by (workflow, le) (rate(cdktr_workflow_duration_seconds_bucket{${OF_WORKFLOW}}[1h])))`,
            "{{workflow}}",
          ],
        ],
      },
    ],
  },
  {
    title: "Agents and pools",
    panels: [
      {
        title: "Agents",
        as: "series",
        width: 8,
        queries: [[`sum by (status) (cdktr_agents{${OF}})`, "{{status}}"]],
      },
      {
        title: "Room on agents, in runs",
        as: "series",
        width: 8,
        queries: [
          [`sum(cdktr_agents_capacity{${OF}})`, "capacity"],
          [`sum(cdktr_agents_running_runs{${OF}})`, "in use"],
        ],
      },
      {
        title: "Slots of pools",
        as: "series",
        width: 8,
        queries: [[`sum by (pool, state) (cdktr_pool_slots{${OF}})`, "{{pool}} {{state}}"]],
      },
    ],
  },
  {
    title: "Events",
    panels: [
      {
        title: "Triggers of listeners, per minute",
        as: "series",
        width: 12,
        queries: [
          [`sum by (listener) (rate(cdktr_listener_delivered_total{${OF}}[5m])) * 60`, "{{listener}}"],
          [
            `sum by (listener) (rate(cdktr_listener_failed_total{${OF}}[5m]) + rate(cdktr_listener_dropped_total{${OF}}[5m])) * 60`,
            "{{listener}}, lost",
          ],
        ],
      },
      {
        title: "Triggers that wait on disk",
        as: "series",
        width: 12,
        queries: [[`sum by (listener) (cdktr_listener_buffered{${OF}})`, "{{listener}}"]],
      },
    ],
  },
  {
    title: "Alerts and messages",
    panels: [
      {
        title: "Open alerts",
        as: "series",
        width: 8,
        queries: [[`sum by (kind) (cdktr_alerts_open{${OF}})`, "{{kind}}"]],
      },
      {
        title: "What channels are to be told, and could not be told",
        as: "series",
        width: 8,
        queries: [[`sum by (channel, state) (cdktr_deliveries{${OF}})`, "{{channel}}, {{state}}"]],
      },
      {
        title: "Messages, per hour",
        as: "series",
        width: 8,
        queries: [
          [
            `sum by (channel, outcome) (rate(cdktr_messages_total{${OF}}[15m])) * 3600`,
            "{{channel}}, {{outcome}}",
          ],
        ],
      },
    ],
  },
  {
    title: "History, logs and the process",
    panels: [
      {
        title: "State and history",
        about: "1 while they can be written.",
        as: "series",
        width: 8,
        queries: [
          [`min(cdktr_state_writable{${OF}})`, "state"],
          [`min(cdktr_history_available{${OF}})`, "history"],
        ],
      },
      {
        title: "Log lines, per second",
        as: "series",
        width: 8,
        queries: [
          [`sum(rate(cdktr_log_lines_published_total{${OF}}[5m]))`, "received"],
          [`sum(rate(cdktr_log_dropped_total{${OF}}[5m]))`, "lost"],
        ],
      },
      {
        title: "Lag of the log",
        as: "series",
        unit: "s",
        width: 8,
        queries: [[`max(cdktr_log_lag_seconds{${OF}})`, "oldest line"]],
      },
      {
        title: "Memory",
        as: "series",
        unit: "bytes",
        width: 8,
        queries: [
          [`sum(process_resident_memory_bytes{${OF}})`, "principal"],
          [`sum(cdktr_history_process_resident_memory_bytes{${OF}})`, "history"],
        ],
      },
      {
        title: "Processor time of the principal",
        as: "series",
        unit: "percentunit",
        width: 8,
        queries: [[`sum(rate(process_cpu_seconds_total{${OF}}[5m]))`, "principal"]],
      },
      {
        title: "Size of the history",
        as: "series",
        unit: "bytes",
        width: 8,
        queries: [[`sum by (part) (cdktr_history_bytes{${OF}})`, "{{part}}"]],
      },
      {
        title: "Exported to OpenTelemetry, per second",
        as: "series",
        width: 8,
        queries: [
          [`sum by (signal) (rate(cdktr_telemetry_exported_total{${OF}}[5m]))`, "{{signal}}"],
          [`sum by (signal) (rate(cdktr_telemetry_dropped_total{${OF}}[5m]))`, "{{signal}}, lost"],
        ],
      },
    ],
  },
];

const DATASOURCE = { type: "prometheus", uid: "${datasource}" };
const KINDS = { stat: "stat", series: "timeseries", table: "bargauge" } as const;
const HEIGHTS = { stat: 4, series: 8, table: 9 } as const;
const WIDTH = 24;

/** The dashboard, as Grafana imports it. */
export function dashboard(): object {
  const panels: object[] = [];
  let [x, y, id] = [0, 0, 0];
  for (const row of ROWS) {
    panels.push({
      id: ++id,
      type: "row",
      title: row.title,
      collapsed: false,
      gridPos: { h: 1, w: WIDTH, x: 0, y },
      panels: [],
    });
    y++;
    let height = 0;
    for (const panel of row.panels) {
      if (x + panel.width > WIDTH) {
        [x, y, height] = [0, y + height, 0];
      }
      const h = HEIGHTS[panel.as];
      panels.push(panelOf(panel, ++id, { h, w: panel.width, x, y }));
      x += panel.width;
      height = Math.max(height, h);
    }
    [x, y] = [0, y + height];
  }
  return {
    uid: "cdktr",
    title: "cdktr",
    description: "Runs, workflows, agents and the principal itself.",
    tags: ["cdktr"],
    schemaVersion: 39,
    editable: true,
    refresh: "30s",
    time: { from: "now-6h", to: "now" },
    templating: {
      list: [
        { name: "datasource", label: "Prometheus", type: "datasource", query: "prometheus" },
        variable("job", "Job", "label_values(cdktr_build_info, job)"),
        variable("instance", "Principal", 'label_values(cdktr_build_info{job=~"$job"}, instance)'),
        variable("workflow", "Workflow", `label_values(cdktr_workflow_runs_total{${OF}}, workflow)`),
      ],
    },
    panels,
  };
}

function variable(name: string, label: string, query: string): object {
  return {
    name,
    label,
    type: "query",
    datasource: DATASOURCE,
    query: { query, refId: name },
    definition: query,
    refresh: 2,
    sort: 1,
    multi: true,
    includeAll: true,
    allValue: ".*",
    current: { text: "All", value: "$__all" },
  };
}

function panelOf(panel: Panel, id: number, gridPos: object): object {
  const { redFrom, redBelow } = panel;
  const steps =
    redBelow !== undefined
      ? [
          { color: "red", value: null },
          { color: "green", value: redBelow },
        ]
      : [
          { color: "green", value: null },
          ...(redFrom === undefined ? [] : [{ color: "red", value: redFrom }]),
        ];
  const isNow = panel.as !== "series";
  return {
    id,
    type: KINDS[panel.as],
    title: panel.title,
    ...(panel.about === undefined ? {} : { description: panel.about }),
    datasource: DATASOURCE,
    gridPos,
    fieldConfig: {
      defaults: { unit: panel.unit ?? "short", min: 0, thresholds: { mode: "absolute", steps } },
      overrides: [],
    },
    options: isNow
      ? {
          reduceOptions: { calcs: ["lastNotNull"], fields: "", values: false },
          orientation: panel.as === "table" ? "horizontal" : "auto",
        }
      : { legend: { displayMode: "list", placement: "bottom" }, tooltip: { mode: "multi" } },
    targets: panel.queries.map(([expr, legendFormat], n) => ({
      refId: String.fromCharCode(65 + n),
      datasource: DATASOURCE,
      expr,
      legendFormat,
      instant: isNow,
      range: !isNow,
    })),
  };
}
