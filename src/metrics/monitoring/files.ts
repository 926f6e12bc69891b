/** What monitoring systems need to know of cdktr, as files. */
import { dashboard } from "./dashboard.ts";
import rules from "./rules.yml" with { type: "text" };

/** Path → text. */
export type Files = Readonly<Record<string, string>>;

/** For Grafana: a dashboard to import. */
export function grafanaFiles(): Files {
  return { "cdktr-dashboard.json": `${JSON.stringify(dashboard(), undefined, 2)}\n` };
}

/** For Prometheus: alert rules. */
export function prometheusFiles(): Files {
  return { "cdktr-rules.yml": rules };
}
