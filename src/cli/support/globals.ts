/** Options with the same meaning everywhere; they may also come before the command. */
import type { ArgsDef } from "citty";

/** `--principal`, for commands that talk to one. */
export const principalArg = {
  principal: {
    type: "string",
    valueHint: "HOST:PORT[,…]",
    description:
      "The principal to talk to, or several of one installation (else CDKTR_PRINCIPAL_HOST and CDKTR_PRINCIPAL_PORT)",
  },
} as const satisfies ArgsDef;

/** For commands that run listeners. */
export const listenerArgs = {
  "data-dir": {
    type: "string",
    valueHint: "DIR",
    description: "Where triggers wait while the principal is away (else CDKTR_APP_DATA_DIRECTORY)",
  },
  "metrics-port": {
    type: "string",
    valueHint: "N",
    description: "Loopback port for /metrics and /healthz (else CDKTR_LISTENER_METRICS_PORT)",
  },
} as const satisfies ArgsDef;

/** `--json`, for commands that print data. */
export const jsonArg = {
  json: { type: "boolean", description: "Print only JSON on stdout" },
} as const satisfies ArgsDef;

/** Every global option. `color` and `help` apply to every command; the others to those that declare them. */
export const GLOBAL_ARGS = {
  ...principalArg,
  ...jsonArg,
  color: { type: "boolean", default: true, negativeDescription: "No colour (like NO_COLOR)" },
  help: { type: "boolean", alias: "h", description: "Show help" },
  version: { type: "boolean", alias: ["V", "v"], description: "Show the version" },
} as const satisfies ArgsDef;
