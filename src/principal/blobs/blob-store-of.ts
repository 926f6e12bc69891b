/** The place for the files of runs that the settings name. */
import { readFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { BlobStore } from "../../blobs/blob-store.ts";
import { DiskPlace } from "../../blobs/disk-place.ts";
import { S3Place } from "../../blobs/s3-place.ts";
import type { Config } from "../../config.ts";
import { ConfigError, errorMessage } from "../../errors.ts";

/**
 * The store. Parts of what is not whole yet are in the data directory.
 * @throws ConfigError when the file with the secret of the bucket's key cannot be read
 */
export function blobStoreOf(config: Config): BlobStore {
  const parts = join(config.CDKTR_APP_DATA_DIRECTORY, "blob-parts");
  const [, bucket, prefix = ""] = /^s3:\/\/([^/]+)\/?(.*)$/.exec(config.CDKTR_BLOB_URL) ?? [];
  if (bucket === undefined) return new BlobStore(new DiskPlace(resolve(config.CDKTR_BLOB_URL)), parts);
  const set = (value: string) => (value === "" ? undefined : value);
  const place = new S3Place({
    bucket,
    prefix: prefix === "" || prefix.endsWith("/") ? prefix : `${prefix}/`,
    endpoint: set(config.CDKTR_S3_ENDPOINT),
    region: set(config.CDKTR_S3_REGION),
    accessKeyId: set(config.CDKTR_S3_ACCESS_KEY_ID),
    secretAccessKey: bucketSecret(config),
  });
  return new BlobStore(place, parts);
}

/**
 * The secret of the access key for buckets; undefined when no file has it.
 * @throws ConfigError when the file cannot be read
 */
export function bucketSecret({ CDKTR_S3_SECRET_ACCESS_KEY_FILE: file }: Config): string | undefined {
  if (file === "") return undefined;
  try {
    return readFileSync(file, "utf8").trim();
  } catch (error) {
    throw new ConfigError(`CDKTR_S3_SECRET_ACCESS_KEY_FILE cannot be read: ${errorMessage(error)}.`, {
      cause: error,
      hint: "It names a file with nothing but the secret of the access key, which the principal's user may read.",
    });
  }
}
