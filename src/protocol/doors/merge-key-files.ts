/**
 * Which files of keys all members of an installation share, and what becomes of one that was changed in two places. Pure: who reads and
 * writes them is in shared-key-files.ts.
 *
 * A revocation is never lost: of two versions of the same key, one of which is revoked, the result is revoked.
 */
import { z } from "zod";
import { KeyFile } from "../key-file.ts";
import { KnownClient, type KnownToken, ServerKeyFile, TokenFile } from "./key-store.ts";

/** What a file contains; null when there is none. */
export type Content = string | null;

/** How a kind of file is shared. */
interface Kind {
  readonly pattern: RegExp;
  readonly schema: z.ZodType;
  /** What becomes of a file that was changed both here and in the store since they last agreed. By default, the store's counts. */
  readonly merge?: (here: string, there: string) => string;
  /** Only given to a host that has no keys; removing it from a host is that host's matter. */
  readonly isGivenOnce?: boolean;
}

/** The file that means that there are keys. It is never replaced by another one. */
export const SERVER_KEY = "principal.key";

const NAME = "[A-Za-z0-9][A-Za-z0-9._-]{0,127}";

const KINDS: readonly Kind[] = [
  { pattern: /^principal\.key$/, schema: ServerKeyFile },
  { pattern: /^admin\.key$/, schema: KeyFile, isGivenOnce: true },
  { pattern: new RegExp(`^clients/${NAME}\\.json$`), schema: KnownClient, merge: mergeClients },
  { pattern: /^tokens\/[0-9a-f]{8}\.json$/, schema: TokenFile, merge: mergeTokens },
  // It is one whatever its content.
  { pattern: /^tokens\/[0-9a-f]{8}\.revoked$/, schema: z.string(), merge: (_here, there) => there },
];

function kindOf(path: string): Kind | undefined {
  return KINDS.find(({ pattern }) => pattern.test(path));
}

/** Whether members share the file at a path, relative to the directory of keys. */
export function isShared(path: string): boolean {
  return kindOf(path) !== undefined;
}

/** Whether a text can be the content of a shared file: a damaged one is not passed on. */
export function isUsable(path: string, text: string): boolean {
  return parse(path, text) !== undefined;
}

/**
 * What a file shall contain, both here and in the store.
 * @param base what both contained when they last agreed; null when they never did, or there was none
 * @param here what this host has
 * @param there what the store has; undefined when it has never had such a file, null when it was removed there
 */
export function decide(path: string, base: Content, here: Content, there: Content | undefined): Content {
  if (there === undefined || here === there) return here;
  if (kindOf(path)?.isGivenOnce === true && here === null && base !== null) return null;
  const isChangedHere = here !== base;
  const isChangedThere = there !== base;
  if (isChangedHere && isChangedThere) return both(path, here, there);
  return isChangedHere ? stillRevoked(path, here, there) : stillRevoked(path, there, here);
}

/** Whether the store must be changed for a file to contain what {@link decide} says. */
export function isForStore(path: string, there: Content | undefined, wanted: Content): boolean {
  // That a host does not have it is that host's matter.
  if (kindOf(path)?.isGivenOnce === true && wanted === null) return false;
  return wanted !== (there ?? null);
}

function both(path: string, here: Content, there: Content): Content {
  if (here === null || there === null) {
    const left = here ?? there;
    // One of them removed it: only that it is shut out outlives that.
    return left !== null && isRevocation(path, left) ? left : there;
  }
  const { merge } = kindOf(path) ?? {};
  return merge === undefined || !isUsable(path, here) ? there : merge(here, there);
}

/** The new content of a file, unless it would let in a key again that the old one has revoked. */
function stillRevoked(path: string, now: Content, before: Content): Content {
  if (now === null || before === null || !path.startsWith("clients/")) return now;
  const [client, former] = [clientOf(now), clientOf(before)];
  const isLetIn = client?.revoked_at_ms === null && former?.revoked_at_ms != null;
  return isLetIn && client?.public_key === former?.public_key ? before : now;
}

function isRevocation(path: string, text: string): boolean {
  if (path.endsWith(".revoked")) return true;
  return path.startsWith("clients/") && clientOf(text)?.revoked_at_ms != null;
}

function mergeClients(here: string, there: string): string {
  const [ours, theirs] = [clientOf(here), clientOf(there)];
  if (ours === undefined || theirs === undefined || ours.public_key !== theirs.public_key) return there;
  const times = [ours.revoked_at_ms, theirs.revoked_at_ms].filter((time) => time !== null);
  return times.length === 0 ? there : changed(there, { revoked_at_ms: Math.min(...times) });
}

/** A use that only one of them has counted counts. */
function mergeTokens(here: string, there: string): string {
  const [ours, theirs] = [here, there].map((text) => parse("tokens/00000000.json", text) as KnownToken);
  if (ours === undefined || theirs === undefined) return there;
  const isNew = ({ public_key }: { public_key: string }) =>
    !theirs.used.some((use) => use.public_key === public_key);
  const added = ours.used.filter(isNew);
  if (added.length === 0) return there;
  return changed(there, { used: [...theirs.used, ...added].sort((a, b) => a.at_ms - b.at_ms) });
}

function clientOf(text: string): KnownClient | undefined {
  return parse("clients/any.json", text) as KnownClient | undefined;
}

function parse(path: string, text: string): unknown {
  if (path.endsWith(".revoked")) return text;
  try {
    return kindOf(path)?.schema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

/** With what a newer cdktr may have added. */
function changed(text: string, to: object): string {
  return `${JSON.stringify({ ...JSON.parse(text), ...to }, null, 2)}\n`;
}
