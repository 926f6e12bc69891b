import { existsSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import { NotFoundError } from "../../errors.ts";
import { requireSystemd, runTool, systemctl } from "../../systemd/host.ts";
import { environmentPath, unitName, unitPath } from "../../systemd/unit.ts";
import { command } from "../support/command.ts";
import { say } from "../support/report.ts";
import { requireRoot, roleArg, roleOf, userArg } from "../support/service-args.ts";

export default command({
  meta: { name: "uninstall", description: "Stop a service and remove its unit" },
  args: { ...roleArg, ...userArg },
  extras: {
    completes: { role: "role" },
    details: "Waits until it has ended: an agent finishes what it runs. Its settings, data and user stay.",
    topic: "operations",
    examples: [{ command: "cdktr service uninstall agent", does: "this host runs no agent any more" }],
  },
  async run({ args }) {
    const role = roleOf(args.role);
    const user = args.user ?? false;
    requireSystemd(user, role);
    requireRoot(user, "remove");
    const path = unitPath(role, user, homedir());
    if (!existsSync(path)) throw new NotFoundError(`There is no service to remove: ${path} does not exist.`);
    runTool([...systemctl(user), "disable", "--now", unitName(role)]);
    rmSync(path);
    runTool([...systemctl(user), "daemon-reload"]);
    say(`Removed ${path}. Kept: ${environmentPath(role, user, homedir())} and the data directory.`);
  },
});
