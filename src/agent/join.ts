/** Joining: a new host creates a key pair, registers its public half with a token, and keeps the key for all later starts. */

import { existsSync, rmSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import type { Config, LoadedConfig } from "../config.ts";
import { InvalidInputError, PrincipalUnreachableError, UnprocessableError } from "../errors.ts";
import { makePrivateDirectory, removeLeftovers, writePrivate } from "../host/private-files.ts";
import { log } from "../log.ts";
import { AccessRefusedError, RequestUnprocessableError } from "../protocol/client.ts";
import { connect } from "../protocol/connect.ts";
import { decodeJoinToken, type JoinToken } from "../protocol/join-token.ts";
import { type KeyFile, keysDirectory, loadKey, readKeyFile } from "../protocol/key-file.ts";
import { curveKeyPair, curvePublicKey } from "../zmq/index.ts";

const ATTEMPTS = 3;

/**
 * Gets a key with a token; if the host has already joined that principal, the token is not used.
 * @param suffix part of the name of the key, after the host name
 * @throws InvalidInputError when the token is invalid, or there is a key of another principal
 * @throws UnprocessableError when the token is unknown, expired or used up
 * @throws PrincipalUnreachableError when the principal does not answer, or is not the one that created the token
 */
export async function joinPrincipal(line: string, loaded: LoadedConfig, suffix?: string): Promise<void> {
  const { values: config, sources } = loaded;
  const token = decodeJoinToken(line);
  const directory = keysDirectory(config.CDKTR_APP_DATA_DIRECTORY);
  const path = config.CDKTR_KEY_FILE || join(directory, "agent.key");
  if (existsSync(path)) {
    if (readKeyFile(path).key.server_key === token.serverKey) {
      // Left by a process that was killed before it could remove it.
      rmSync(`${path}.joining`, { force: true });
      log.info(`This host has already joined: its key is ${path}. To join again, remove that file.`);
      return;
    }
    throw new InvalidInputError(
      `${path} is the key for a different principal than the one of this join token.`,
      {
        hint: "To switch this host to the other principal, move that file away first.",
      },
    );
  }
  if (config.CDKTR_KEY_FILE === "") {
    makePrivateDirectory(directory);
    removeLeftovers(directory, Date.now());
  }
  const { publicKey, secretKey } = pendingPair(`${path}.joining`, token);
  const given = {
    host: sources.CDKTR_PRINCIPAL_HOST === "default" ? token.host : config.CDKTR_PRINCIPAL_HOST,
    port: sources.CDKTR_PRINCIPAL_PORT === "default" ? token.port : config.CDKTR_PRINCIPAL_PORT,
  };
  const { serverKey, secretKey: oneTimeKey } = token;
  const keys = { serverKey, publicKey: curvePublicKey(oneTimeKey), secretKey: oneTimeKey };
  const client = connect(
    config,
    { keys },
    {
      ...(config.CDKTR_PRINCIPALS === "" ? given : {}),
      attempts: ATTEMPTS,
    },
  );
  try {
    const name = [hostname(), suffix].filter(Boolean).join("-").slice(0, 128);
    const joined = await client.call("JOIN", { public_key: publicKey, name });
    const { logs_listening_port, logs_publishing_port } = joined;
    const key: KeyFile = {
      name: joined.name,
      role: joined.role,
      public_key: publicKey,
      secret_key: secretKey,
      server_key: serverKey,
      principal: { host: client.host, port: client.port, logs_listening_port, logs_publishing_port },
    };
    writePrivate(path, json(key));
    rmSync(`${path}.joining`, { force: true });
    log.success(`Joined the principal at ${client.address} as ${joined.name}; the key is ${path}.`);
  } catch (error) {
    throw explain(error, client.address);
  } finally {
    await client.close();
  }
}

/**
 * The settings with the address of the joined principal, unless the address is set explicitly.
 * @throws see {@link loadKey}
 */
export function withJoinedPrincipal({ values, sources }: LoadedConfig): Config {
  const principal = loadKey(values, "agent")?.key.principal;
  if (principal === undefined) return values;
  const pick = <T>(name: keyof Config, value: T, joined: T): T =>
    sources[name] === "default" ? joined : value;
  return {
    ...values,
    CDKTR_PRINCIPAL_HOST: pick("CDKTR_PRINCIPAL_HOST", values.CDKTR_PRINCIPAL_HOST, principal.host),
    CDKTR_PRINCIPAL_PORT: pick("CDKTR_PRINCIPAL_PORT", values.CDKTR_PRINCIPAL_PORT, principal.port),
    CDKTR_LOGS_LISTENING_PORT: pick(
      "CDKTR_LOGS_LISTENING_PORT",
      values.CDKTR_LOGS_LISTENING_PORT,
      principal.logs_listening_port,
    ),
    CDKTR_LOGS_PUBLISHING_PORT: pick(
      "CDKTR_LOGS_PUBLISHING_PORT",
      values.CDKTR_LOGS_PUBLISHING_PORT,
      principal.logs_publishing_port,
    ),
  };
}

/**
 * The key pair with which this host joins. It is on disk before it is sent: if the reply is lost, the next attempt with the same token
 * is recognized as the same use.
 */
function pendingPair(path: string, token: JoinToken): { publicKey: string; secretKey: string } {
  const name = `joining with ${curvePublicKey(token.secretKey)}`;
  if (existsSync(path)) {
    const { key } = readKeyFile(path);
    if (key.server_key === token.serverKey && key.name === name)
      return { publicKey: key.public_key, secretKey: key.secret_key };
  }
  const { publicKey, secretKey } = curveKeyPair();
  const key: KeyFile = {
    name,
    role: "agent",
    public_key: publicKey,
    secret_key: secretKey,
    server_key: token.serverKey,
  };
  writePrivate(path, json(key));
  return { publicKey, secretKey };
}

function explain(error: unknown, address: string): unknown {
  const hint = "Ask for a new one: 'cdktr join-token create' on the principal's host.";
  if (error instanceof RequestUnprocessableError) return new UnprocessableError(error.message);
  if (!(error instanceof AccessRefusedError)) {
    if (!(error instanceof PrincipalUnreachableError)) return error;
    return new PrincipalUnreachableError(
      `No principal answers at ${address}, the address in the join token.`,
      {
        hint: "Is it running, and can this host reach its three ports through the firewall? Use --principal HOST:PORT for another address.",
        cause: error,
      },
    );
  }
  switch (error.reason) {
    case "refused":
      return new UnprocessableError(`The principal at ${address} does not know this join token.`, { hint });
    case "other-principal":
      return new PrincipalUnreachableError(
        `What answers at ${address} breaks off every handshake with this join token: probably it is not the principal that created it, or that has new keys.`,
        {
          hint: "Use the token with the principal that created it; --principal HOST:PORT sets its address. If that was just restarted, try again.",
        },
      );
    case "not-secured":
      return new UnprocessableError(`The principal at ${address} is not secured: there is nothing to join.`, {
        hint: "If its keys were created after it started, restart it.",
      });
    case "no-key":
      return error;
  }
}

function json(value: unknown): string {
  return `${JSON.stringify(value, null, 2)}\n`;
}
