/** Statements about secrets for tasks. */
import type { SecretIntentions, StoredSecret } from "../store.ts";
import type { Statements } from "./statements.ts";

/** The operations of a unit of work on secrets. */
export function secretIntentions(db: Statements): SecretIntentions {
  return {
    async putSecret(secret) {
      db.insert(
        "secrets",
        secret,
        `ON CONFLICT (name) DO UPDATE SET sealed = excluded.sealed, actor = excluded.actor,
           changed_at_ms = excluded.changed_at_ms`,
      );
    },

    async getSecrets(names) {
      const found = new Map<string, Uint8Array>();
      for (const name of names) {
        const row = db.one<{ sealed: Uint8Array }>("SELECT sealed FROM secrets WHERE name = ?", name);
        if (row !== null) found.set(name, row.sealed);
      }
      return found;
    },

    async listSecrets() {
      return db.all<StoredSecret>("SELECT name, actor, changed_at_ms FROM secrets ORDER BY name");
    },

    async dropSecret(name) {
      return db.run("DELETE FROM secrets WHERE name = ?", name).changes > 0;
    },
  };
}
