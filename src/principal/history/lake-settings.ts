/** Where the history is, when the settings say that it is in a lake. */
import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { type Config, daysOf } from "../../config.ts";
import {
  type LakeBucket,
  type LakeCatalog,
  type LakeSettings,
  movedHistory,
} from "../../contract/history.ts";
import { ConfigError, UsageError } from "../../errors.ts";
import { parseStoreUrl, type StoreAddress } from "../../storage/postgres/url.ts";
import { bucketSecret } from "../blobs/blob-store-of.ts";

const FORM = "ducklake:postgres://USER@HOST[:PORT][,HOST…]/DATABASE[?sslmode=…&sslrootcert=…&schema=…]";
/** Where distributions have the certificates of the authorities that they trust: the libpq of the lake does not know its host's. */
const TRUSTED = [
  "/etc/ssl/certs/ca-certificates.crt",
  "/etc/pki/tls/certs/ca-bundle.crt",
  "/etc/ssl/cert.pem",
];
const AWS = { endpoint: "s3.amazonaws.com", region: "us-east-1" };

/**
 * The lake of a principal that starts; undefined when the history is in a file of its host.
 * @throws UsageError when the file was moved into a lake, which is not in the settings: what happened so far would be missing
 */
export function lakeOf(config: Config): ReturnType<typeof lakeSettings> {
  const lake = lakeSettings(config);
  const { CDKTR_DB_PATH: file } = config;
  const moved = movedHistory(file);
  if (lake === undefined && existsSync(moved) && !existsSync(file))
    throw new UsageError("The history of this principal was moved into a lake ('cdktr db move').", {
      hint: `Set CDKTR_HISTORY_URL and CDKTR_HISTORY_DATA as they were then. To have it in a file again, with what happened since: cdktr db move --to file with both. Without that, as of the move: rename ${moved} to ${file}.`,
    });
  return lake;
}

/**
 * The lake that the settings name; undefined when the history is in a file of this host.
 * @throws ConfigError that says what is wrong with them, and never shows a password
 */
export function lakeSettings(
  config: Config,
  environment: Readonly<Record<string, string | undefined>> = process.env,
): Omit<LakeSettings, "epoch"> | undefined {
  const { CDKTR_HISTORY_URL: url, CDKTR_HISTORY_DATA: data } = config;
  if (url === "") {
    if (data === "") return undefined;
    throw new ConfigError("CDKTR_HISTORY_DATA is set, but CDKTR_HISTORY_URL is not.", {
      hint: `A lake needs both: the place of its files, and the database that lists them, ${FORM}. Without a lake, CDKTR_DB_PATH says where the history is.`,
    });
  }
  const [, store] = /^ducklake:(postgres(?:ql)?:.*)$/s.exec(url.trim()) ?? [];
  if (store === undefined)
    throw new ConfigError("CDKTR_HISTORY_URL is no URL of a lake: it must begin with ducklake:postgres://.", {
      hint: `Write it as ${FORM}.`,
    });
  const address = parseStoreUrl(store, {
    setting: "CDKTR_HISTORY_URL",
    prefix: "ducklake:",
    schema: "cdktr_lake",
    passwordFile: config.CDKTR_HISTORY_PASSWORD_FILE,
  });
  if (data === "")
    throw new ConfigError("CDKTR_HISTORY_URL is set, but CDKTR_HISTORY_DATA is not.", {
      hint: "It says where the files of the lake are: s3://BUCKET/PREFIX, or a directory that all members share.",
    });
  const isBucket = data.startsWith("s3://");
  return {
    catalog: catalogOf(address),
    data: isBucket ? data.replace(/\/+$/, "") : resolve(data),
    ...(isBucket && { bucket: bucketOf(config, environment) }),
    compact_every_ms: config.CDKTR_HISTORY_COMPACT_S * 1000,
    keep_snapshots_days: daysOf(config.CDKTR_HISTORY_SNAPSHOTS_KEEP),
  };
}

function catalogOf(address: StoreAddress): LakeCatalog {
  const { hosts, database, user, schema, sslMode, sslRootCertificate, sslCertificate } = address;
  const trusted = sslRootCertificate ?? TRUSTED.find((path) => existsSync(path));
  const root: Readonly<Record<string, string>> =
    sslMode.startsWith("verify-") && trusted !== undefined ? { sslrootcert: trusted } : {};
  const own: Readonly<Record<string, string>> =
    sslCertificate === null ? {} : { sslcert: sslCertificate.certificate, sslkey: sslCertificate.key };
  return {
    host: hosts.map(({ host }) => host).join(","),
    port: hosts.map(({ port }) => port).join(","),
    database,
    user,
    password: address.password(),
    schema,
    parameters: { sslmode: sslMode, ...root, ...own },
  };
}

function bucketOf(config: Config, environment: Readonly<Record<string, string | undefined>>): LakeBucket {
  const { CDKTR_S3_ENDPOINT: endpoint, CDKTR_S3_REGION: region, CDKTR_S3_ACCESS_KEY_ID: keyId } = config;
  const key_id = keyId || environment.AWS_ACCESS_KEY_ID;
  const secret = bucketSecret(config) ?? environment.AWS_SECRET_ACCESS_KEY;
  if (!key_id || !secret)
    throw new ConfigError("CDKTR_HISTORY_DATA names a bucket, but there is no access key for it.", {
      hint: "Set CDKTR_S3_ACCESS_KEY_ID and CDKTR_S3_SECRET_ACCESS_KEY_FILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.",
    });
  const server = endpoint === "" ? undefined : new URL(endpoint);
  if (server !== undefined && server.pathname !== "/")
    throw new ConfigError(`CDKTR_S3_ENDPOINT has a path, "${server.pathname}": a lake cannot use it.`, {
      hint: "It is the address of the server alone: https://HOST[:PORT].",
    });
  return {
    endpoint: server?.host ?? AWS.endpoint,
    region: region || environment.AWS_REGION || AWS.region,
    key_id,
    secret,
    is_path_style: server !== undefined,
    uses_tls: server?.protocol !== "http:",
  };
}
