/** Statements about agents, the keys they belong to and their streams of reports. */
import { requireLegal } from "../legal.ts";
import type { AgentIntentions, AgentRecord, DueAgent } from "../store.ts";
import { conflict, type Statements } from "./statements.ts";

type StoredAgent = Omit<AgentRecord, "labels"> & { labels: string };

/** Matches an agent that is unchanged since it was read. */
const AS_READ = "agent_id = ? AND session_id IS ? AND status = ? AND deadline_ms IS ?";
/** Time until it is lost, by the store's clock; an older cdktr wrote none. */
const LEFT_MS = "coalesce(deadline_ms, 0) - ? AS left_ms FROM agents WHERE status <> 'LOST'";

function toAgent(row: StoredAgent): AgentRecord {
  return { ...row, labels: JSON.parse(row.labels) };
}

/** Whether a process may get work. */
export function mayHaveWork(db: Statements, agentId: string, sessionId: string | null): boolean {
  const sql = "SELECT 1 FROM agents WHERE agent_id = ? AND session_id IS ? AND status = 'UP'";
  return db.one(sql, agentId, sessionId) !== null;
}

/**
 * The operations of a unit of work on agents.
 * @param now the store's clock, ms
 */
export function agentIntentions(db: Statements, now: () => number): AgentIntentions {
  return {
    async registerAgent(agent, known, aliveMs) {
      if (known !== null && known.status !== agent.status) requireLegal("agent", known.status, agent.status);
      const row = {
        ...agent,
        labels: JSON.stringify(agent.labels),
        deadline_ms: now() + Math.round(aliveMs),
      };
      const changes = Object.keys(row).map((name) => `${name} = excluded.${name}`);
      const { changes: written } = db.insert(
        "agents",
        row,
        known === null
          ? "ON CONFLICT DO NOTHING"
          : `ON CONFLICT (agent_id) DO UPDATE SET ${changes.join(", ")} WHERE session_id IS ? AND status = ?`,
        ...(known === null ? [] : [known.session_id, known.status]),
      );
      if (written === 0) throw conflict(`agent ${agent.agent_id}`);
    },

    async transitionAgent(agent, to, heardMs = agent.last_heartbeat_ms) {
      requireLegal("agent", agent.status, to);
      const asRead = [agent.agent_id, agent.session_id, agent.status, agent.deadline_ms];
      const name = `agent ${agent.agent_id}`;
      if (to === "GONE") db.change(name, `DELETE FROM agents WHERE ${AS_READ}`, ...asRead);
      else {
        const update = `UPDATE agents SET status = ?, last_heartbeat_ms = ? WHERE ${AS_READ}`;
        db.change(name, update, to, heardMs, ...asRead);
      }
    },

    async heardOfAgent({ agent_id, session_id }, aliveMs, heardMs) {
      db.run(
        `UPDATE agents SET deadline_ms = ?, last_heartbeat_ms = ?
         WHERE agent_id = ? AND session_id IS ? AND status <> 'LOST'`,
        now() + Math.round(aliveMs),
        heardMs,
        agent_id,
        session_id,
      );
    },

    async dueAgents(withinMs) {
      const sql = `SELECT agent_id, session_id, ${LEFT_MS} AND left_ms <= ? ORDER BY left_ms`;
      return db.all<DueAgent>(sql, now(), withinMs);
    },

    async nextDueAgent() {
      return db.one<DueAgent>(`SELECT ${LEFT_MS} ORDER BY left_ms LIMIT 1`, now())?.left_ms ?? null;
    },

    async forgetLostAgents(beforeMs) {
      db.run("DELETE FROM agents WHERE status = 'LOST' AND last_heartbeat_ms < ?", beforeMs);
    },

    async getAgent(agentId) {
      const row = db.one<StoredAgent>("SELECT * FROM agents WHERE agent_id = ?", agentId);
      return row === null ? null : toAgent(row);
    },

    async listAgents() {
      return db.all<StoredAgent>("SELECT * FROM agents ORDER BY agent_id").map(toAgent);
    },

    async getAgentKey(agentId) {
      const sql = "SELECT public_key FROM agent_keys WHERE agent_id = ?";
      return db.one<{ public_key: string }>(sql, agentId)?.public_key ?? null;
    },

    async transferAgentKey(agentId, from, to, nowMs) {
      const name = `the key of agent ${agentId}`;
      const asRead = "agent_id = ? AND public_key = ?";
      if (from === null && to !== null) {
        const row = { agent_id: agentId, public_key: to, bound_at_ms: nowMs };
        const { changes } = db.insert("agent_keys", row, "ON CONFLICT DO NOTHING");
        if (changes === 0) throw conflict(name);
      } else if (to === null) db.change(name, `DELETE FROM agent_keys WHERE ${asRead}`, agentId, from);
      else {
        const update = `UPDATE agent_keys SET public_key = ?, bound_at_ms = ? WHERE ${asRead}`;
        db.change(name, update, to, nowMs, agentId, from);
      }
    },

    async listAgentKeys() {
      return db.all("SELECT agent_id, public_key FROM agent_keys");
    },

    async getStream(streamId) {
      return db.one("SELECT agent_id, report_seq AS seq FROM agent_streams WHERE stream_id = ?", streamId);
    },

    async advanceStream(streamId, agentId, from, to, nowMs) {
      db.change(
        `stream ${streamId}`,
        from === null
          ? "INSERT INTO agent_streams (report_seq, updated_at_ms, stream_id, agent_id) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING"
          : "UPDATE agent_streams SET report_seq = ?, updated_at_ms = ? WHERE stream_id = ? AND agent_id = ? AND report_seq = ?",
        to,
        nowMs,
        streamId,
        agentId,
        ...(from === null ? [] : [from]),
      );
    },
  };
}
