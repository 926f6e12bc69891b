/** Statements about the settings of the workflow directory. */
import type { SettingIntentions } from "../settings.ts";
import type { Statements } from "./statements.ts";

/** The operations of a unit of work on the settings of the workflow directory. */
export function settingIntentions(db: Statements): SettingIntentions {
  return {
    async listFileSettings(kind) {
      const rows = db.all<{ name: string; file: string }>(
        "SELECT name, file FROM settings WHERE kind = ? AND file IS NOT NULL ORDER BY name",
        kind,
      );
      return new Map(rows.map(({ name, file }) => [name, file]));
    },

    async putFileSettings(kind, values, nowMs) {
      const known = db.all<{ name: string; file: string | null }>(
        "SELECT name, file FROM settings WHERE kind = ?",
        kind,
      );
      for (const { name, file } of known) {
        if (values.has(name) || file === null) continue;
        db.run("DELETE FROM settings WHERE kind = ? AND name = ? AND own IS NULL", kind, name);
        db.run("UPDATE settings SET file = NULL WHERE kind = ? AND name = ?", kind, name);
      }
      const before = new Map(known.map(({ name, file }) => [name, file]));
      for (const [name, file] of values) {
        if (before.get(name) === file) continue;
        db.run(
          `INSERT INTO settings (kind, name, file, changed_at_ms) VALUES (?1, ?2, ?3, ?4)
           ON CONFLICT DO UPDATE SET file = ?3`,
          kind,
          name,
          file,
          nowMs,
        );
      }
    },
  };
}
