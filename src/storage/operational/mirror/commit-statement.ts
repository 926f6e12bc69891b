/**
 * The statement that commits a change set in PostgreSQL: one round trip, one transaction, all or nothing, and nothing unless the term of the
 * leader still holds. A leader that is stopped in the middle holds no lock.
 */
import { COMMITS_CHANNEL } from "../../postgres/feed.ts";
import { FENCE } from "../../postgres/leadership.ts";
import { partOf } from "./change-set.ts";
import { type MirrorTable, quoted } from "./tables.ts";

/**
 * How many statements there are at most for tables that are changed together: the server keeps each with its plan, which takes it about
 * 250 KB. What is changed together more seldom has one for all tables.
 */
const MOST = 100;

/** The statements for change sets, each made once. */
export class CommitStatements {
  readonly #tables: ReadonlyMap<string, MirrorTable>;
  readonly #made = new Map<string, string>();
  readonly #most: number;
  #forAll: string | undefined;

  constructor(tables: Iterable<MirrorTable>, most = MOST) {
    this.#most = most;
    this.#tables = new Map([...tables].map((table) => [table.name, table]));
  }

  /**
   * The statement for a change set with these parts. Its parameters are the number of the commit, the epoch and the member of the term, and
   * the text; null says that everything may have changed. It gives one row; none when the term is over, and nothing has changed then.
   */
  for(parts: readonly string[]): string {
    const names = parts.join();
    const known = this.#made.get(names);
    if (known !== undefined) return known;
    if (this.#made.size >= this.#most) {
      this.#forAll ??= this.#make([...this.#tables.keys()].flatMap((table) => [`${table}+`, `${table}-`]));
      return this.#forAll;
    }
    const made = this.#make(parts);
    this.#made.set(names, made);
    return made;
  }

  #make(parts: readonly string[]): string {
    const steps = [
      `fence AS (${FENCE})`,
      "feed AS (INSERT INTO cluster_commits (seq, epoch, changes) SELECT commit_seq, epoch, $4::text FROM fence)",
      ...(parts.length === 0 ? [] : [data(parts)]),
      ...parts.map((part, i) => this.#step(part, i)),
    ];
    return `WITH ${steps.join(",\n")}\nSELECT commit_seq, pg_notify('${COMMITS_CHANNEL}', commit_seq::text) FROM fence`;
  }

  #step(part: string, i: number): string {
    const { table: name, isThere } = partOf(part);
    const table = this.#tables.get(name);
    if (table === undefined) throw new Error(`the table ${name} is not mirrored`);
    const rows = `data, json_populate_recordset(NULL::${quoted(name)}, data.${quoted(part)}) AS r`;
    return `step${i} AS (${isThere ? upsert(table, `FROM fence, ${rows}`) : removal(table, rows)})`;
  }
}

/**
 * Deletes rows by their keys. A join would read the whole table when the server thinks that it is small. @param keys where `r` is
 */
function removal({ name, key }: MirrorTable, keys: string): string {
  const columns = key.map((column) => quoted(column.name));
  const of = (row: string) => columns.map((column) => `${row}.${column}`).join(", ");
  const first = columns[0] ?? "";
  const found = `t.${first} = ANY (ARRAY(SELECT r.${first} FROM ${keys}))`;
  const others = columns.length === 1 ? "" : ` AND (${of("t")}) IN (SELECT ${of("r")} FROM ${keys})`;
  return `DELETE FROM ${quoted(name)} AS t WHERE EXISTS (SELECT FROM fence) AND ${found}${others}`;
}

/** Takes the parts of the text apart, in one pass over it. */
function data(parts: readonly string[]): string {
  const columns = parts.map((part) => `${quoted(part)} json`).join(", ");
  return `data AS MATERIALIZED (SELECT * FROM json_to_record($4::text::json) AS x(${columns}))`;
}

/** Inserts rows, or replaces those of the same key, in the columns that this cdktr knows. @param from where `r` is */
export function upsert({ name, columns, key }: MirrorTable, from: string): string {
  const names = columns.map((column) => quoted(column.name));
  const others = columns.filter((column) => !key.includes(column)).map((column) => quoted(column.name));
  const replaced = others.map((column) => `${column} = excluded.${column}`).join(", ");
  return `INSERT INTO ${quoted(name)} (${names.join(", ")}) SELECT ${names.map((column) => `r.${column}`).join(", ")} ${from}
    ON CONFLICT (${key.map((column) => quoted(column.name)).join(", ")}) DO ${others.length === 0 ? "NOTHING" : `UPDATE SET ${replaced}`}`;
}
