/** Several principals: who leads, and whether all of them could. */
import { type Config, knownSetting } from "../config.ts";
import type { PrincipalSummary } from "../contract/messages.ts";
import { CdktrError, errorMessage } from "../errors.ts";
import { type PrincipalClient, RequestRefusedError } from "../protocol/client.ts";
import { PostgresConnection } from "../storage/postgres/connection.ts";
import { parseStoreUrl } from "../storage/postgres/url.ts";
import { hostAndPort } from "../zmq/endpoint.ts";
import { type Finding, failure, ok, warning } from "./finding.ts";

/** Commits that take longer than this make triggers slow, ms. */
const SLOW_COMMIT_MS = 100;
/** How long PostgreSQL may take to answer, ms. */
const STORE_ANSWERS_MS = 5000;
const TRIES = 5;

const WHY_NONE =
  "Requests wait until one does, and fail after 10 s. Tasks that run go on, and agents keep what they have to report.";
const STORE_REMEDY =
  "Look at PostgreSQL (CDKTR_STORE_URL) and at the log of each principal; 'cdktr principals list' shows what each says.";

/** Asks a principal for all of its installation. */
export async function checkMembers(client: PrincipalClient): Promise<Finding[]> {
  try {
    return judgeMembers(await client.call("LSPRINCIPALS", {}));
  } catch (error) {
    // An older principal is the only one.
    if (error instanceof RequestRefusedError) return [];
    throw error;
  }
}

/** Assesses the principals of an installation; nothing is said of one that is the only one. */
export function judgeMembers(all: readonly PrincipalSummary[]): Finding[] {
  if (all.every(({ role }) => role === "single")) return [];
  const leader = all.find(({ role }) => role === "leader");
  return [
    leader === undefined
      ? failure("principals", "No principal leads.", WHY_NONE, STORE_REMEDY)
      : ok("principals", leads(all, leader)),
    ...all.flatMap((one) => [...judgeMember(one), ...(leader === undefined ? [] : judgeBeside(one, leader))]),
  ];
}

function leads(all: readonly PrincipalSummary[], { name, epoch, store }: PrincipalSummary): string {
  const commits =
    store === null
      ? ""
      : `; its commits take ${store.p50_ms} ms, the slowest of a hundred ${store.p99_ms} ms`;
  return `${all.length} ${all.length === 1 ? "principal" : "principals"}, ${name} leads (epoch ${epoch})${commits}`;
}

function judgeMember({ name, host, api_port, role, silent_ms, problem, store }: PrincipalSummary): Finding[] {
  const found: Finding[] = [];
  if (role === "silent")
    found.push(
      warning(
        "principals",
        `The principal ${name} (${hostAndPort(host, api_port)}) was not heard of for ${Math.round(silent_ms / 1000)} s.`,
        "It serves nobody, and cannot take the place of the leader.",
        "Start it again (sudo systemctl restart cdktr-principal), or see why it does not reach PostgreSQL. It is forgotten an hour after its end.",
      ),
    );
  if (problem !== null)
    found.push(
      warning(
        "principals",
        `The principal ${name} says: ${problem}`,
        "It cannot take the place of the leader.",
        STORE_REMEDY,
      ),
    );
  if (store !== null && store.p99_ms > SLOW_COMMIT_MS)
    found.push(
      warning(
        "principals",
        `Commits of ${name} to PostgreSQL take up to ${store.p99_ms} ms.`,
        "Each trigger and each report waits for one.",
        "Look at the disk of PostgreSQL, at its synchronous standby, and at the network in between.",
      ),
    );
  return found;
}

/** What one of them has otherwise than the leader. */
function judgeBeside(one: PrincipalSummary, leader: PrincipalSummary): Finding[] {
  const found: Finding[] = [];
  if (one.same_workflows === false)
    found.push(
      warning(
        "principals",
        `The workflow files of ${one.name} are not those of the leader, ${leader.name}.`,
        "Those of the leader count: when another one leads, others do.",
        "Bring the directories to the same state (git, rsync, a shared disk): CDKTR_WORKFLOW_DIR.",
      ),
    );
  if (one.version !== leader.version)
    found.push(
      warning(
        "principals",
        `The principal ${one.name} is cdktr ${one.version}, the leader cdktr ${leader.version}.`,
        "Neighbouring versions work together during an upgrade, not for ever.",
        "Upgrade one after the other, the leader last.",
      ),
    );
  return found;
}

/** Connects to the database of the principals, if this host has its address. */
export async function checkStore(config: Config): Promise<Finding[]> {
  const url = knownSetting(config, "CDKTR_STORE_URL") ?? "";
  if (url === "") return [];
  let connection: PostgresConnection | undefined;
  try {
    const address = parseStoreUrl(url, { passwordFile: config.CDKTR_STORE_PASSWORD_FILE });
    connection = new PostgresConnection(address, { application: "cdktr doctor" });
    await connection.start();
    await connection.connected(STORE_ANSWERS_MS);
    let bestMs = Number.POSITIVE_INFINITY;
    for (let n = 0; n < TRIES; n++) {
      const began = performance.now();
      await connection.query("SELECT 1", [], { timeoutMs: STORE_ANSWERS_MS });
      bestMs = Math.min(bestMs, performance.now() - began);
    }
    return [ok("store", `PostgreSQL at ${address.shown} answers in ${bestMs.toFixed(1)} ms`)];
  } catch (error) {
    const remedy = error instanceof CdktrError ? error.hint : undefined;
    return [
      failure(
        "store",
        errorMessage(error),
        "The principal of this host can neither lead nor follow without it.",
        remedy ?? "Look whether it runs, and at CDKTR_STORE_URL.",
      ),
    ];
  } finally {
    await connection?.stop();
  }
}
