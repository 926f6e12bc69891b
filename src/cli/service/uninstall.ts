import { existsSync, readFileSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import { NotFoundError } from "../../errors.ts";
import { selfCommand } from "../../host/self.ts";
import { requireSystemd, runTool, systemctl, unitProperties } from "../../systemd/host.ts";
import { environmentPath, unitName, unitPath } from "../../systemd/service-id.ts";
import { dropIns } from "../../systemd/unit-file.ts";
import { command } from "../support/command.ts";
import { say } from "../support/report.ts";
import { nameArg, requireRoot, roleArg, serviceOf, userArg } from "../support/service-args.ts";
import { sayGrace } from "../support/service-settings.ts";

export default command({
  meta: { name: "uninstall", description: "Stop a service and remove its unit" },
  args: { ...roleArg, ...nameArg, ...userArg },
  extras: {
    completes: { role: "role" },
    details:
      "Waits until the service has stopped: an agent lets its runs finish for up to CDKTR_AGENT_STOP_GRACE_S. Settings, data and user are kept; the command says where they are.",
    topic: "operations",
    examples: [{ command: "cdktr service uninstall agent", does: "stop running an agent on this host" }],
  },
  async run({ args }) {
    const service = serviceOf(args);
    const { user } = service;
    requireSystemd(user, service.role, selfCommand());
    requireRoot(user, "remove");
    const path = unitPath(service, homedir());
    if (!existsSync(path)) throw new NotFoundError(`There is no service to remove: ${path} does not exist.`);
    const settings = environmentPath(service, homedir());
    const unit = readFileSync(path, "utf8");
    if (service.role === "agent" || unit.includes(" --with-agent")) sayGrace("Stopping it", settings);
    const { User: runAs, StateDirectory: state } = unitProperties(service, ["User", "StateDirectory"]);
    runTool([...systemctl(user), "disable", "--now", unitName(service)]);
    rmSync(path);
    runTool([...systemctl(user), "daemon-reload"]);
    say(`Removed ${path}. Kept:`);
    say(`  settings  ${settings}`);
    for (const file of dropIns(path)) say(`  drop-in   ${file}`);
    say(
      `  data      ${state ? `/var/lib/${state}` : "CDKTR_APP_DATA_DIRECTORY in these settings, by default ~/.cdktr"}`,
    );
    if (runAs) say(`  user      ${runAs}`);
  },
});
