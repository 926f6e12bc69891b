/** The names that a shell completes and only a running principal knows. Whatever goes wrong, there are none: nobody asked for a message. */
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

/** Longer nobody waits for a completion, ms. */
const PATIENCE_MS = 1000;
/** Runs that are offered, newest first. */
const MOST_RUNS = 100;

/** Asks the principal that the command line or the settings name. */
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
      // libzmq would try until the patience is over; a port at which nobody listens says so at once.
      if ((await cannotConnect(client.host, client.port, timeoutMs)) !== null) return [];
      return (await ASK[what](client)).map(({ value, about }) => ({ value, about: plainText(about) }));
    } finally {
      await client.close();
    }
  } catch {
    return [];
  }
};

/** Keys and tokens are files of the principal's host. */
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
      import("../../principal/access/key-store.ts"),
    ]);
    const now = Date.now();
    return keyStore(undefined)
      .tokens(now, () => {})
      .filter((token) => tokenStatus(token, now) === "valid")
      .map(({ id, role }) => ({ value: id, about: role }));
  },
};

const ASK: Record<"workflow" | "run" | "agent", (client: PrincipalClient) => Promise<Candidate[]>> = {
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
  async agent(client) {
    return (await client.registeredAgents()).map(({ agent_id, status, host }) => ({
      value: agent_id,
      about: `${status} on ${host}`,
    }));
  },
};
