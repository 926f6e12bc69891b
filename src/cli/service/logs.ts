import { selfCommand } from "../../host/self.ts";
import { journalctl, requireSystemd } from "../../systemd/host.ts";
import { command, wholeNumber } from "../support/command.ts";
import { nameArg, roleArg, serviceOf, userArg } from "../support/service-args.ts";

export default command({
  meta: { name: "logs", description: "Show the log of a service" },
  args: {
    ...roleArg,
    ...nameArg,
    ...userArg,
    lines: {
      type: "string",
      alias: "n",
      valueHint: "N",
      default: "100",
      description: "Number of lines, newest last",
    },
    follow: { type: "boolean", alias: "f", description: "Keep printing new lines" },
  },
  extras: {
    completes: { role: "role" },
    details: "Reads the systemd journal. The output of tasks is in 'cdktr logs'.",
    topic: "operations",
    examples: [{ command: "cdktr service logs agent --follow", does: "watch the agent of this host" }],
  },
  async run({ args }) {
    const service = serviceOf(args);
    const lines = wholeNumber(args.lines, "--lines") ?? 0;
    requireSystemd(service.user, service.role, selfCommand());
    const journal = Bun.spawn([...journalctl(service, lines), ...(args.follow ? ["--follow"] : [])], {
      stdin: "ignore",
      stdout: "inherit",
      stderr: "inherit",
    });
    // Ctrl-C reaches journalctl too; this process just waits for it to exit.
    const ignore = () => {};
    process.on("SIGINT", ignore);
    const status = await journal.exited;
    process.off("SIGINT", ignore);
    return args.follow && journal.signalCode === "SIGINT" ? 0 : status;
  },
});
