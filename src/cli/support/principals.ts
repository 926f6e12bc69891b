/** The principals that `cdktr ui` can switch between, from the command line, a file or the settings. */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { parse } from "yaml";
import { z } from "zod";
import type { Config } from "../../config.ts";
import { errorMessage, InvalidInputError, NotFoundError, UsageError } from "../../errors.ts";
import { principalAddresses } from "../../protocol/connect.ts";
import type { PrincipalAddress } from "../../tui/state.ts";
import { hostAndPort } from "../../zmq/endpoint.ts";
import { principalFlags } from "./connect.ts";

/** Name of the file that is read from the data directory if it exists. */
const PRINCIPALS_FILE = "principals.yml";

/**
 * Lists the principals, the first one to show first.
 * @param given `HOST:PORT` or `NAME=HOST:PORT`, from the command line; the members of one installation are separated by commas
 * @param file a YAML file of `name: host:port` or `name: { address: host:port, key_file: path }` lines; by default the one in the data directory, if it exists
 * @throws UsageError, NotFoundError, InvalidInputError
 */
export function principalsOf(
  config: Config,
  given: readonly string[],
  file: string | undefined,
): [PrincipalAddress, ...PrincipalAddress[]] {
  const fromFlags = given.map((text) => {
    const at = text.indexOf("=");
    return at > 0 ? address(config, text.slice(at + 1), text.slice(0, at)) : address(config, text);
  });
  const byDefault = join(config.CDKTR_APP_DATA_DIRECTORY, PRINCIPALS_FILE);
  const path = file ?? (existsSync(byDefault) ? byDefault : undefined);
  const fromFile = path === undefined ? [] : readPrincipals(config, path);
  const all = [...fromFlags, ...fromFile];
  const [first, ...rest] = all.filter(
    (one, i) => all.findIndex((other) => other.host === one.host && other.port === one.port) === i,
  );
  return [first ?? place(principalAddresses(config)), ...rest];
}

/** A principal with its own key. */
const Entry = z.object({ address: z.string(), key_file: z.string().min(1) });

function readPrincipals(config: Config, path: string): PrincipalAddress[] {
  if (!existsSync(path)) throw new NotFoundError(`There is no file ${path}.`);
  let content: unknown;
  try {
    content = parse(readFileSync(path, "utf8"));
  } catch (error) {
    throw new InvalidInputError(`${path} is not YAML: ${errorMessage(error)}`, { cause: error });
  }
  if (content === null || typeof content !== "object" || Array.isArray(content)) {
    throw new InvalidInputError(`${path} must contain lines of the form NAME: HOST:PORT.`);
  }
  return Object.entries(content).map(([name, value]) => {
    try {
      const entry = Entry.safeParse(value);
      if (!entry.success) return address(config, String(value), name);
      const keyFile = resolve(dirname(path), entry.data.key_file);
      return { ...address(config, entry.data.address, name), keyFile };
    } catch (error) {
      if (!(error instanceof UsageError)) throw error;
      throw new InvalidInputError(`${path}: "${name}: ${value}" must have the form NAME: HOST:PORT.`);
    }
  });
}

function address(config: Config, text: string, name?: string): PrincipalAddress {
  return place(principalAddresses({ ...config, ...principalFlags(text) }), name);
}

function place(
  [{ host, port }, ...others]: ReturnType<typeof principalAddresses>,
  name?: string,
): PrincipalAddress {
  return { name: name ?? hostAndPort(host, port), host, port, ...(others.length === 0 ? {} : { others }) };
}
