/** Fingerprints of tables, by which a copy of the state is compared with its original. */
import type { Database } from "bun:sqlite";
import { members } from "./capture.ts";
import { storable } from "./change-set.ts";
import type { Query } from "./query.ts";
import type { MirrorRow } from "./rows.ts";
import { rowsOf } from "./snapshot.ts";
import { type MirrorTable, quoted, SEQUENCES, tablesOf } from "./tables.ts";

/** How many rows a table has, and a hash of them all. */
export interface TableDigest {
  readonly rows: number;
  readonly hash: string;
}

/** What the tables of a SQLite file contain, by name. */
export function digestsOf(database: Database): Map<string, TableDigest> {
  const digests = new Map<string, TableDigest>();
  for (const table of [...tablesOf(database), SEQUENCES]) {
    const digest = new Digest(table);
    const from = table === SEQUENCES ? "sqlite_sequence" : quoted(table.name);
    const statement = database.prepare<{ row: string }, []>(
      `SELECT json_object(${members(table.columns, "r")}) AS row FROM main.${from} AS r
       ORDER BY ${table.key.map(({ source }) => source).join(", ")}`,
    );
    for (const { row } of statement.iterate()) digest.add(JSON.parse(storable(row)));
    statement.finalize();
    digests.set(table.name, digest.end());
  }
  return digests;
}

/**
 * What these tables of PostgreSQL contain, by name.
 * @param query in a transaction that sees all as of one moment
 */
export async function digestsIn(
  query: Query,
  tables: readonly MirrorTable[],
): Promise<Map<string, TableDigest>> {
  const digests = new Map<string, TableDigest>();
  for (const table of [...tables, SEQUENCES]) {
    const digest = new Digest(table);
    for await (const rows of rowsOf(query, table)) for (const row of rows) digest.add(row);
    digests.set(table.name, digest.end());
  }
  return digests;
}

class Digest {
  readonly #names: readonly string[];
  readonly #hasher = new Bun.CryptoHasher("sha256");
  #rows = 0;

  constructor({ columns }: MirrorTable) {
    this.#names = columns.map(({ name }) => name);
  }

  add(row: MirrorRow): void {
    this.#rows++;
    this.#hasher.update(`${JSON.stringify(this.#names.map((name) => row[name] ?? null))}\n`);
  }

  end(): TableDigest {
    return { rows: this.#rows, hash: this.#hasher.digest("hex") };
  }
}
