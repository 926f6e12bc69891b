/** Connects a command to its principal. */
import { type Config, type LoadedConfig, loadConfig, SETTINGS, type SettingName } from "../../config.ts";
import type { PrincipalInfo } from "../../contract/messages.ts";
import { PrincipalUnreachableError, UnprocessableError, UsageError } from "../../errors.ts";
import { parseAddresses, parseAddress as readAddress } from "../../host/addresses.ts";
import { withPriority } from "../../host/journal.ts";
import {
  AccessRefusedError,
  NoLeaderError,
  type PrincipalClient,
  type RequestOptions,
} from "../../protocol/client.ts";
import { clockAhead } from "../../protocol/clock-ahead.ts";
import { connect } from "../../protocol/connect.ts";
import type { Place } from "../../protocol/members.ts";
import { type Listener, listenerAt } from "../../protocol/tcp-probe.ts";
import { nearest } from "../../terminal/did-you-mean.ts";
import { Timer } from "../../timer.ts";
import { isOwnVariable } from "../../workflow/own-variables.ts";
import { say } from "./report.ts";
import { styleFor } from "./style.ts";

/** How long to find out why nobody answers, ms. */
const PROBE_MS = 1000;

/** A principal that has answered. */
export interface Connection {
  readonly client: PrincipalClient;
  readonly config: Config;
  readonly info: PrincipalInfo;
  /**
   * Runs a request that may take long: waits for as long as the principal is alive.
   * @throws PrincipalUnreachableError when the principal stops answering
   * @throws UnprocessableError when the principal was restarted, and so has forgotten the request
   */
  patiently<T>(request: (options: RequestOptions) => Promise<T>): Promise<T>;
}

/** Settings that are given as flags. */
export type Flags = Partial<Record<SettingName, string | number | undefined>>;

/**
 * The settings in force for a command, `--principal` included.
 * @throws ConfigError, UsageError
 */
export function settings(principal: string | undefined, flags: Flags = {}): LoadedConfig {
  const loaded = loadConfig({ ...(principal === undefined ? {} : principalFlags(principal)), ...flags });
  for (const { name, source, near } of misspelt(loaded)) {
    if (told.has(name)) continue;
    told.add(name);
    say(
      withPriority(
        `${styleFor("stderr").yellow("warning:")} ${name} (${source}) is no setting and has no effect: did you mean ${near}?`,
        "warning",
      ),
    );
  }
  return loaded;
}

const told = new Set<string>();

/** Variables that are no settings but nearly have the name of one. */
export function misspelt({
  unknown,
}: LoadedConfig): { name: string; source: "environment" | ".env"; near: string }[] {
  const plain = (name: string) => name.slice("CDKTR_".length);
  return [...unknown].flatMap(([name, source]) => {
    const near = isOwnVariable(name) ? undefined : nearest(plain(name), Object.keys(SETTINGS).map(plain));
    return near === undefined ? [] : { name, source, near: `CDKTR_${near}` };
  });
}

/**
 * Parses the address of one principal: `HOST:PORT`, `HOST`, `:PORT` or `[IPV6]:PORT`.
 * @throws UsageError for anything else
 */
export function parseAddress(
  text: string,
): Partial<Pick<Config, "CDKTR_PRINCIPAL_HOST" | "CDKTR_PRINCIPAL_PORT">> {
  const given = readAddress(text);
  if (given === undefined)
    throw new UsageError(`--principal ${text}: expected HOST:PORT.`, {
      hint: "For example --principal 10.0.0.5:5561",
    });
  return {
    ...(given.host === undefined ? {} : { CDKTR_PRINCIPAL_HOST: given.host }),
    ...(given.port === undefined ? {} : { CDKTR_PRINCIPAL_PORT: given.port }),
  };
}

/**
 * The settings that `--principal` sets: it wins over all that say where principals are.
 * @param text one address, or those of the members of one installation, separated by commas
 * @throws UsageError
 */
export function principalFlags(
  text: string,
): ReturnType<typeof parseAddress> & Pick<Config, "CDKTR_PRINCIPALS"> {
  const given = parseAddresses(text) ?? [];
  if (given.length < 2) return { ...parseAddress(text), CDKTR_PRINCIPALS: text };
  return { CDKTR_PRINCIPALS: text };
}

/**
 * Connects, runs `use`, and closes the connection in any case.
 * @throws PrincipalUnreachableError when nobody answers within `CDKTR_DEFAULT_ZMQ_TIMEOUT_MS`
 */
export async function withPrincipal<T>(
  args: { readonly principal?: string | undefined },
  use: (connection: Connection) => Promise<T>,
): Promise<T> {
  const config = settings(args.principal).values;
  const client = connect(config, "client");
  try {
    const asked = Date.now();
    const info = await reach(client, config);
    aheadMs = clockAhead(info.now_ms, asked, Date.now());
    const known = { principalId: info.principal_id };
    return await use({
      client,
      config,
      info,
      patiently: (request) => patiently(client, config, known, request),
    });
  } finally {
    await client.close();
  }
}

let aheadMs = 0;

/**
 * The time by the clock of the principal that was contacted last, ms since the epoch: what it stores is by that clock, so ages and
 * spans such as "the last 10 minutes" are counted by it too. This host's clock before.
 */
export function principalNow(): number {
  return Date.now() + aheadMs;
}

async function reach(client: PrincipalClient, config: Config): Promise<PrincipalInfo> {
  try {
    return await client.info();
  } catch (error) {
    const saysWhy = error instanceof AccessRefusedError || error instanceof NoLeaderError;
    if (!(error instanceof PrincipalUnreachableError) || saysWhy) throw error;
    throw await whyUnreachable(client, config, error);
  }
}

const WHERE =
  "say where the principal is: --principal HOST:PORT, or CDKTR_PRINCIPAL_HOST and CDKTR_PRINCIPAL_PORT.";

/** Tells apart a host that is unknown, a port where nobody listens, one of another program, and a principal that is too busy. */
async function whyUnreachable(
  client: PrincipalClient,
  config: Config,
  cause: unknown,
): Promise<PrincipalUnreachableError> {
  if (client.places.length > 1) return noneReachable(client.places, cause);
  const { address } = client;
  const waited = `waited ${config.CDKTR_DEFAULT_ZMQ_TIMEOUT_MS / 1000} s`;
  const found = await listenerAt(client.host, client.port, PROBE_MS);
  switch (found.kind) {
    case "none":
      return new PrincipalUnreachableError(
        `No principal answers at ${address} (${waited}): ${found.problem}.`,
        {
          hint: `Start one with 'cdktr start principal', or ${WHERE}`,
          cause,
        },
      );
    case "other":
      return new PrincipalUnreachableError(
        `No principal answers at ${address} (${waited}): another program listens on that port.`,
        { hint: `Look at the port, and ${WHERE} 'cdktr doctor' on that host names the program.`, cause },
      );
    case "zeromq":
      return new PrincipalUnreachableError(
        `No principal answers at ${address} (${waited}), but a ZeroMQ socket is there: the principal is too busy, or the port is not its API port.`,
        { hint: `Try again; a longer CDKTR_DEFAULT_ZMQ_TIMEOUT_MS waits longer. Otherwise ${WHERE}`, cause },
      );
  }
}

/** The same for the members of an installation. */
async function noneReachable(places: readonly Place[], cause: unknown): Promise<PrincipalUnreachableError> {
  const found = await Promise.all(places.map(({ host, port }) => listenerAt(host, port, PROBE_MS)));
  const each = places.map(({ address }, i) => `${address} (${said(found[i])})`);
  return new PrincipalUnreachableError(`None of ${places.length} principals answers: ${each.join("; ")}.`, {
    hint: "Start one with 'cdktr start principal', or say where they are: --principal HOST:PORT,HOST:PORT, or CDKTR_PRINCIPALS.",
    cause,
  });
}

function said(found: Listener | undefined): string {
  if (found === undefined || found.kind === "none") return found?.problem ?? "it was not tried";
  if (found.kind === "other") return "another program listens on that port";
  return "it is too busy, has no leader to ask, or the port is not its API port";
}

// A day; in fact the watch below decides how long the request may take.
const NO_LIMIT_MS = 86_400_000;

async function patiently<T>(
  client: PrincipalClient,
  config: Config,
  known: { principalId: string },
  request: (options: RequestOptions) => Promise<T>,
): Promise<T> {
  const gone = new AbortController();
  const watch = async () => {
    try {
      const now = await client.info({ signal: gone.signal });
      const isOther = now.principal_id !== known.principalId;
      known.principalId = now.principal_id;
      // Of several principals another may lead now: what was in flight is asked there.
      if (isOther && now.members === undefined) {
        throw new UnprocessableError("The principal was restarted while it worked on this.", {
          hint: "Try again.",
        });
      }
    } catch (error) {
      if (!gone.signal.aborted) gone.abort(error);
    }
  };
  const timer = new Timer(() => void watch());
  timer.every(config.CDKTR_DEFAULT_ZMQ_TIMEOUT_MS);
  try {
    return await request({ timeoutMs: NO_LIMIT_MS, signal: gone.signal });
  } finally {
    timer.cancel();
    if (!gone.signal.aborted) gone.abort(new Error("done"));
  }
}
