import { prometheusFiles } from "../../metrics/monitoring/files.ts";
import { command } from "../support/command.ts";
import { filesArgs, writeAndTell } from "./write-files.ts";

export default command({
  meta: { name: "prometheus", description: "Write alert rules for Prometheus" },
  args: filesArgs,
  extras: {
    completes: { dir: "directory" },
    examples: [
      {
        command: "cdktr telemetry prometheus /etc/prometheus",
        does: "write them; name the file under rule_files of prometheus.yml",
      },
    ],
    see: ["docs telemetry"],
  },
  async run({ args }) {
    await writeAndTell(
      args,
      prometheusFiles(),
      "Name it under rule_files of prometheus.yml, and check it with: promtool check rules cdktr-rules.yml",
    );
  },
});
