import { requireSystemd, runTool, systemctl } from "../../systemd/host.ts";
import { ROLES, unitName } from "../../systemd/unit.ts";
import { command } from "../support/command.ts";
import { jsonArg } from "../support/globals.ts";
import { roleOf, userArg } from "../support/service-args.ts";
import { printJson, printLine } from "../support/stdout.ts";
import { styleFor } from "../support/style.ts";
import { renderTable } from "../support/table.ts";

interface ServiceState {
  readonly role: string;
  readonly unit: string;
  /** `active`, `inactive`, `activating`, `failed`. */
  readonly state: string;
  /** `enabled`, `disabled`; empty when there is no unit. */
  readonly enabled: string;
  readonly pid: number | null;
  readonly restarts: number;
  /** What the service says of itself. */
  readonly status: string;
}

export default command({
  meta: { name: "status", description: "Show how the services are" },
  args: {
    role: { type: "positional", required: false, description: "principal or agent; without it, both" },
    ...userArg,
    ...jsonArg,
  },
  extras: {
    completes: { role: "role" },
    details: "The exit status is 1 when a service that is enabled or was named is not active.",
    topic: "operations",
    examples: [{ command: "cdktr service status", does: "principal and agent of this host" }],
  },
  async run({ args }) {
    const user = args.user ?? false;
    const roles = args.role === undefined ? ROLES : [roleOf(args.role)];
    requireSystemd(user, roles[0] ?? "agent");
    const states = roles.map((role): ServiceState => {
      const unit = unitName(role);
      const facts = properties(runTool([...systemctl(user), "show", unit, `--property=${PROPERTIES}`]));
      return {
        role,
        unit,
        state: facts.ActiveState ?? "unknown",
        enabled: facts.UnitFileState ?? "",
        pid: Number(facts.MainPID) || null,
        restarts: Number(facts.NRestarts) || 0,
        status: facts.StatusText ?? "",
      };
    });
    const isWell = states.every(
      ({ state, enabled }) => state === "active" || (args.role === undefined && enabled !== "enabled"),
    );
    if (args.json) await printJson(states);
    else for (const line of table(states)) await printLine(line);
    return isWell ? 0 : 1;
  },
});

const PROPERTIES = "ActiveState,UnitFileState,MainPID,NRestarts,StatusText";

/** The `NAME=VALUE` lines of `systemctl show`. */
function properties(text: string): Partial<Record<string, string>> {
  const lines = text.split("\n").map((line) => /^(\w+)=(.*)$/.exec(line));
  return Object.fromEntries(
    lines.flatMap((match) => (match === null ? [] : [[match[1] ?? "", match[2] ?? ""]])),
  );
}

function table(states: readonly ServiceState[]): string[] {
  const style = styleFor("stdout");
  return renderTable<ServiceState>(
    [
      { title: "SERVICE", value: ({ role }) => role },
      {
        title: "STATE",
        value: ({ state, enabled }) => (enabled === "" ? "not installed" : state),
        paint: ({ state }) => (state === "active" ? style.green : state === "failed" ? style.red : style.dim),
      },
      { title: "AT BOOT", value: ({ enabled }) => (enabled === "" ? "" : enabled) },
      { title: "PID", value: ({ pid }) => (pid === null ? "" : String(pid)), align: "right" },
      { title: "RESTARTS", value: ({ restarts }) => String(restarts), align: "right" },
      { title: "SAYS", value: ({ status }) => status, flexible: true },
    ],
    states,
  );
}
