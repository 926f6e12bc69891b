import { homedir } from "node:os";
import { selfCommand } from "../../host/self.ts";
import { requireSystemd, unitProperties } from "../../systemd/host.ts";
import { knownServices, unitName } from "../../systemd/service-id.ts";
import { command } from "../support/command.ts";
import { jsonArg } from "../support/globals.ts";
import { nameArg, serviceOf, userArg } from "../support/service-args.ts";
import { printJson, printLine } from "../support/stdout.ts";
import { styleFor } from "../support/style.ts";
import { renderTable } from "../support/table.ts";

interface ServiceState {
  readonly role: string;
  /** Name of the agent, where a host has several. */
  readonly name: string | null;
  readonly unit: string;
  /** `active`, `inactive`, `activating`, `failed`. */
  readonly state: string;
  /** `enabled`, `disabled`; empty when there is no unit. */
  readonly enabled: string;
  readonly pid: number | null;
  /** How its last process ended, if it is not active: `exit-code`, `signal`, `watchdog`, `success`. */
  readonly result: string;
  readonly restarts: number;
  /** Status text reported by the service. */
  readonly status: string;
}

export default command({
  meta: { name: "status", description: "Show the state of the services" },
  args: {
    role: {
      type: "positional",
      required: false,
      description: "principal, agent or listeners; without it, all",
    },
    ...nameArg,
    ...userArg,
    ...jsonArg,
  },
  extras: {
    completes: { role: "role" },
    details: "The exit status is 1 when a service that is enabled or was given by name is not active.",
    topic: "operations",
    examples: [{ command: "cdktr service status", does: "the cdktr services on this host" }],
  },
  async run({ args }) {
    const user = args.user ?? false;
    const { role } = args;
    const services =
      role === undefined ? knownServices(user, homedir()) : [serviceOf({ role, name: args.name, user })];
    requireSystemd(user, services[0]?.role ?? "agent", selfCommand());
    const states = services.map((service): ServiceState => {
      const facts = unitProperties(service, PROPERTIES);
      return {
        role: service.role,
        name: service.name ?? null,
        unit: unitName(service),
        state: facts.ActiveState ?? "unknown",
        enabled: facts.UnitFileState ?? "",
        pid: Number(facts.MainPID) || null,
        result: facts.Result ?? "",
        restarts: Number(facts.NRestarts) || 0,
        status: facts.StatusText ?? "",
      };
    });
    const isWell = states.every(
      ({ state, enabled }) => state === "active" || (role === undefined && enabled !== "enabled"),
    );
    if (args.json) await printJson(states);
    else for (const line of table(states)) await printLine(line);
    return isWell ? 0 : 1;
  },
});

const PROPERTIES = ["ActiveState", "UnitFileState", "MainPID", "Result", "NRestarts", "StatusText"];

function table(states: readonly ServiceState[]): string[] {
  const style = styleFor("stdout");
  return renderTable<ServiceState>(
    [
      { title: "SERVICE", value: ({ unit }) => unit.replace(/^cdktr-|\.service$/g, "") },
      {
        title: "STATE",
        value: ({ state, enabled, result }) =>
          enabled === "" ? "not installed" : state === "failed" ? `failed (${result})` : state,
        paint: ({ state }) => (state === "active" ? style.green : state === "failed" ? style.red : style.dim),
      },
      { title: "AT BOOT", value: ({ enabled }) => (enabled === "" ? "" : enabled) },
      { title: "PID", value: ({ pid }) => (pid === null ? "" : String(pid)), align: "right" },
      {
        title: "RESTARTS",
        value: ({ enabled, restarts }) => (enabled === "" ? "" : String(restarts)),
        align: "right",
      },
      { title: "SAYS", value: ({ status }) => status, flexible: true },
    ],
    states,
  );
}
