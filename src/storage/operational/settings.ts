/** What units of work do with the settings of the workflow directory: a part of the interface of the operational state, see store.ts. */

/** The kinds of settings that are kept, so that the last valid ones count; and `cursor`: how far triggers of several principals are. */
type SettingKind = "pool" | "calendar" | "channel" | "notify" | "alert" | "cursor";

/** The last valid settings of `_cdktr.yml`, and the last valid alert files by path. */
export interface SettingIntentions {
  /** What the file says, as JSON by name; without those that only a command has set. */
  listFileSettings(kind: SettingKind): Promise<ReadonlyMap<string, string>>;
  /** Replaces what the file says of all of a kind. What a command has set stays. */
  putFileSettings(kind: SettingKind, values: ReadonlyMap<string, string>, nowMs: number): Promise<void>;
}
