import { grafanaFiles } from "../../metrics/monitoring/files.ts";
import { command } from "../support/command.ts";
import { filesArgs, writeAndTell } from "./write-files.ts";

export default command({
  meta: { name: "grafana", description: "Write a dashboard for Grafana" },
  args: filesArgs,
  extras: {
    completes: { dir: "directory" },
    examples: [
      {
        command: "cdktr telemetry grafana /etc/grafana/dashboards",
        does: "write it where Grafana looks for dashboards",
      },
    ],
    see: ["docs telemetry"],
  },
  async run({ args }) {
    await writeAndTell(args, grafanaFiles(), "Import it in Grafana: Dashboards, New, Import.");
  },
});
