/**
 * What a commit has changed, as one JSON text, which PostgreSQL takes apart, keeps in its feed, and others apply to their replicas. No program
 * in between reads it: numbers stay as exact as the databases have them.
 *
 *     {"runs+": [rows as they are now], "runs-": [keys of rows that are gone], "cluster_sequences+": […], …}
 *
 * A BLOB is text, as PostgreSQL writes it: \x and hexadecimal digits.
 */

/** What a commit has changed. */
export interface ChangeSet {
  /** The names in {@link text}, in order: those of tables, with `+` for rows that are there and `-` for those that are gone. */
  readonly parts: readonly string[];
  readonly text: string;
}

/** Composes a change set. @param parts the JSON array of each name */
export function composed(parts: ReadonlyMap<string, string>): ChangeSet {
  const members = [...parts].map(([name, rows]) => `${JSON.stringify(name)}:${rows}`);
  return { parts: [...parts.keys()], text: storable(`{${members.join(",")}}`) };
}

/** The table of a part, and whether its rows are there. */
export function partOf(name: string): { readonly table: string; readonly isThere: boolean } {
  return { table: name.slice(0, -1), isThere: name.endsWith("+") };
}

/** JSON that PostgreSQL can take apart. It has no NUL characters in texts: they become U+FFFD. */
export function storable(json: string): string {
  if (!json.includes("\\u0000")) return json;
  // An escaped backslash before "u0000" is one.
  return json.replaceAll(/\\(u0000|.)/g, (whole, what) => (what === "u0000" ? "\\ufffd" : whole));
}
