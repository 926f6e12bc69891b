/** Names for shell completion that only a running principal knows. On any error there are none: nobody expects a message here. */
import { nameOfApproval } from "../../contract/run-approvals.ts";
import { PAGES } from "../../docs/index.ts";
import type { PrincipalClient } from "../../protocol/client.ts";
import { connect } from "../../protocol/connect.ts";
import { cannotConnect } from "../../protocol/tcp-probe.ts";
import { ROLES } from "../../systemd/service-id.ts";
import { plainText } from "../../terminal/foreign-text.ts";
import type { Candidate, NameSource } from "./complete.ts";
import { SHELLS } from "./completion-scripts.ts";
import { settings } from "./connect.ts";
import { formatRelative } from "./format.ts";

/** Deadline for a completion, ms. */
const PATIENCE_MS = 1000;
/** Number of runs to offer, newest first. */
const MOST_RUNS = 100;

/** Asks the principal given on the command line or in the settings. */
export const liveNames: NameSource = async (what, principal) => {
  if (what === "topic") return PAGES.map(({ topic, about }) => ({ value: topic, about }));
  if (what === "shell") return SHELLS.map((value) => ({ value, about: "" }));
  if (what === "role") return ROLES.map((value) => ({ value, about: "" }));
  try {
    if (what === "access" || what === "key" || what === "token") return await ON_THIS_HOST[what]();
    const config = settings(principal).values;
    const timeoutMs = Math.min(PATIENCE_MS, config.CDKTR_DEFAULT_ZMQ_TIMEOUT_MS);
    const client = connect(config, "client", { timeoutMs });
    try {
      // libzmq would retry until the deadline; a plain connection to a closed port fails at once.
      if (client.places.length === 1 && (await cannotConnect(client.host, client.port, timeoutMs)) !== null)
        return [];
      return (await ASK[what](client)).map(({ value, about }) => ({ value, about: plainText(about) }));
    } finally {
      await client.close();
    }
  } catch {
    return [];
  }
};

/** Keys and tokens are files on the principal's host. */
const ON_THIS_HOST: Record<"access" | "key" | "token", () => Promise<Candidate[]>> = {
  async access() {
    const { CLIENT_ROLES } = await import("../../contract/roles.ts");
    return CLIENT_ROLES.map((value) => ({ value, about: "" }));
  },
  async key() {
    const { keyStore } = await import("./key-store.ts");
    return keyStore(undefined)
      .clients(() => {})
      .filter(({ revoked_at_ms }) => revoked_at_ms === null)
      .map(({ name, role }) => ({ value: name, about: role }));
  },
  async token() {
    const [{ keyStore }, { tokenStatus }] = await Promise.all([
      import("./key-store.ts"),
      import("../../protocol/doors/key-store.ts"),
    ]);
    const now = Date.now();
    return keyStore(undefined)
      .tokens(now, () => {})
      .filter((token) => tokenStatus(token, now) === "valid")
      .map(({ id, role }) => ({ value: id, about: role }));
  },
};

const ASK: Record<
  "workflow" | "run" | "approval" | "backfill" | "agent" | "pool" | "alert" | "channel",
  (client: PrincipalClient) => Promise<Candidate[]>
> = {
  async workflow(client) {
    const workflows = Object.values(await client.listWorkflows());
    return workflows
      .map(({ id, name }) => ({ value: id, about: name }))
      .sort((a, b) => (a.value < b.value ? -1 : 1));
  },
  async run(client) {
    const now = Date.now();
    return (await client.listRuns({ limit: MOST_RUNS })).map((run) => ({
      value: run.workflow_instance_id,
      about: `${run.workflow_id} ${run.status} ${formatRelative(run.created_at_ms, now)}`,
    }));
  },
  async approval(client) {
    const waiting = Map.groupBy(await client.listApprovals({}), (each) => each.workflow_instance_id);
    return [...waiting].map(([value, asked]) => ({
      value,
      about: asked.map((each) => `${nameOfApproval(each)}: ${each.message}`).join("; "),
    }));
  },
  async backfill(client) {
    const backfills = await client.call("LSBACKFILLS", { limit: MOST_RUNS });
    return backfills.map(({ backfill_id, workflow_id, state, from, to }) => ({
      value: backfill_id,
      about: `${workflow_id} ${state} ${from} to ${to}`,
    }));
  },
  async pool(client) {
    return (await client.pools()).map(({ name, used, size }) => ({
      value: name,
      about: `${used}/${size ?? "-"} in use`,
    }));
  },
  async alert(client) {
    const alerts = await client.call("LSALERTS", { limit: MOST_RUNS });
    return alerts.map(({ alert_id, subject }) => ({ value: alert_id, about: subject }));
  },
  async channel(client) {
    const channels = await client.call("LSCHANNELS", {});
    return channels.map(({ channel, kind }) => ({ value: channel, about: kind ?? "not in _cdktr.yml" }));
  },
  async agent(client) {
    return (await client.registeredAgents()).map(({ agent_id, status, host }) => ({
      value: agent_id,
      about: `${status} on ${host}`,
    }));
  },
};
