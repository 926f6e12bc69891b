import { group, lazy } from "./support/command.ts";

export default group(
  "Write a dashboard for Grafana and alert rules for Prometheus",
  {
    grafana: lazy("Write a dashboard for Grafana", () => import("./telemetry/grafana.ts")),
    prometheus: lazy("Write alert rules for Prometheus", () => import("./telemetry/prometheus.ts")),
  },
  { topic: "telemetry" },
);
