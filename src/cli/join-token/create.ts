import { hostname, networkInterfaces } from "node:os";
import { type LoadedConfig, loadConfig } from "../../config.ts";
import { UsageError } from "../../errors.ts";
import { isLoopback, isWildcard } from "../../host/addresses.ts";
import { encodeJoinToken } from "../../protocol/join-token.ts";
import { command, wholeNumber } from "../support/command.ts";
import { parseAddress } from "../support/connect.ts";
import { plural } from "../support/format.ts";
import { changeKeys, dataDirArg, roleOf } from "../support/key-store.ts";
import { say } from "../support/report.ts";
import { printLine } from "../support/stdout.ts";
import { parseSpan } from "../support/time.ts";

const MAX_TTL_MS = 7 * 86_400_000;

export default command({
  meta: { name: "create", description: "Create a join token" },
  args: {
    role: {
      type: "string",
      default: "agent",
      valueHint: "ROLE",
      description: "Role of the keys issued with it: agent, viewer, client or admin",
    },
    ttl: {
      type: "string",
      default: "1h",
      valueHint: "TIME",
      description: "How long it is valid, at most 7d",
    },
    uses: { type: "string", default: "1", valueHint: "N", description: "How many hosts may join with it" },
    address: {
      type: "string",
      valueHint: "HOST:PORT",
      description:
        "Address at which the new host reaches the principal (else the address it listens on, or one of this host)",
    },
    ...dataDirArg,
  },
  extras: {
    exit: { 4: "There are no keys yet: run 'cdktr keys init'" },
    completes: { role: "access" },
    details:
      "Prints the token. On the new host, 'cdktr start agent --join TOKEN' creates a key pair, registers it with the principal over an encrypted connection, and keeps it. The token is worthless once it is used up or expired.",
    topic: "security",
    examples: [
      { command: "cdktr join-token create", does: "one agent, within the hour" },
      {
        command: "cdktr join-token create --uses 10 --ttl 15m",
        does: "for ten agents, valid for 15 minutes",
      },
    ],
  },
  async run({ args }) {
    const role = roleOf(args.role);
    const ttlMs = parseSpan(args.ttl);
    if (ttlMs === undefined || ttlMs < 1 || ttlMs > MAX_TTL_MS)
      throw new UsageError(`--ttl ${args.ttl}: expected a time such as 30m or 2h, at most 7d.`);
    const uses = wholeNumber(args.uses, "--uses", { min: 1, max: 1000 }) ?? 1;
    const config = loadConfig();
    const { host, port } = addressFor(config, args.address);
    const { id, serverKey, secretKey } = changeKeys(
      args["data-dir"],
      { action: "token.create", subject: "", detail: { role, uses, ttl: args.ttl } },
      (store) => store.createToken({ role, ttlMs, uses, nowMs: Date.now() }),
      (token) => ({ subject: token.id }),
    );
    await printLine(encodeJoinToken({ host, port, serverKey, secretKey }));
    say(
      `Token ${id}: valid for ${plural(uses, "host")} for ${args.ttl}, with the role ${role}, at ${host}:${port}. On the new host:`,
    );
    say("  cdktr start agent --join TOKEN");
    if (args.address === undefined) warnOfLoopback(config);
  },
});

/** Warns that other hosts cannot reach a principal with these settings, unless it was started with another address. */
export function warnOfLoopback({ values }: LoadedConfig): void {
  const { CDKTR_PRINCIPAL_HOST: bound } = values;
  if (!isLoopback(bound)) return;
  say(
    `warning: with these settings the principal listens on ${bound}, which other hosts cannot reach. Start it with --host ADDRESS, or set CDKTR_PRINCIPAL_HOST.`,
  );
}

/** The address at which a new host reaches the principal. */
export function addressFor(
  { values }: LoadedConfig,
  given: string | undefined,
): { host: string; port: number } {
  const parsed = given === undefined ? {} : parseAddress(given);
  const port = Number(parsed.CDKTR_PRINCIPAL_PORT ?? values.CDKTR_PRINCIPAL_PORT);
  if (parsed.CDKTR_PRINCIPAL_HOST !== undefined) return { host: String(parsed.CDKTR_PRINCIPAL_HOST), port };
  const bound = values.CDKTR_PRINCIPAL_HOST;
  if (!isWildcard(bound) && !isLoopback(bound)) return { host: bound, port };
  const outside = Object.values(networkInterfaces())
    .flat()
    .find((address) => address?.family === "IPv4" && !address.internal);
  return { host: outside?.address ?? hostname(), port };
}
