/**
 * Files that all members have alike, in the table `cluster_files`. A file that was removed keeps its row, without content. The row without a
 * path is the head: every change raises its number, by which those who read find what they have not seen. As each change begins with it,
 * changes are made one after the other, and their numbers are in the order of their commits.
 */
import type { PostgresConnection } from "./connection.ts";

interface StoredFile {
  readonly path: string;
  /** Null when it was removed. */
  readonly content: string | null;
}

interface Row extends StoredFile {
  readonly changed_seq: number;
}

/** What is told to those who listen when there was a change. */
const CHANNEL = "cdktr_files";

/** The head always, to see when the database was replaced by an older copy. */
const PULL = "SELECT path, content, changed_seq FROM cluster_files WHERE changed_seq > $1 OR path = ''";

/** One statement is one transaction, whatever becomes of this process. */
const CHANGE = `
WITH head AS (
  UPDATE cluster_files SET changed_seq = changed_seq + 1, changed_by = $3, changed_at = clock_timestamp()
  WHERE path = '' AND changed_seq = $1
  RETURNING changed_seq
), files AS (
  INSERT INTO cluster_files (path, content, changed_seq, changed_by, changed_at)
  SELECT file.path, file.content, head.changed_seq, $3, clock_timestamp()
  FROM head, json_to_recordset($2::text::json) AS file(path text, content text)
  ON CONFLICT (path) DO UPDATE SET content = excluded.content, changed_seq = excluded.changed_seq,
    changed_by = excluded.changed_by, changed_at = excluded.changed_at
)
SELECT changed_seq, pg_notify('${CHANNEL}', changed_seq::text) FROM head`;

/** Makes the head in a table that has none. */
const PREPARE =
  "INSERT INTO cluster_files (path, changed_seq, changed_by, changed_at) VALUES ('', 0, '', clock_timestamp()) ON CONFLICT DO NOTHING";

/** The files in the database. */
export class ClusterFiles {
  readonly #postgres: Pick<PostgresConnection, "query" | "listen">;
  readonly #member: string;

  /** @param member who changes files, for people who look at the table */
  constructor(postgres: Pick<PostgresConnection, "query" | "listen">, member: string) {
    this.#postgres = postgres;
    this.#member = member;
  }

  /**
   * What was changed after a number.
   * @returns the present number; it is smaller than `after` when the database was replaced by an older copy of itself
   * @throws PostgresFailure
   */
  async changesAfter(after: number): Promise<{ number: number; files: StoredFile[] }> {
    const rows = await this.#postgres.query<Row>(PULL, [after]);
    const head = rows.find(({ path }) => path === "");
    if (head !== undefined)
      return { number: head.changed_seq, files: rows.filter((row) => row !== head).map(fileOf) };
    await this.#postgres.query(PREPARE);
    return this.changesAfter(-1);
  }

  /**
   * Changes files, all or none.
   * @param number that of the last change which the caller knows
   * @returns the new number; undefined when there has been a later change: then nothing is done
   * @throws PostgresFailure
   */
  async change(number: number, files: readonly StoredFile[]): Promise<number | undefined> {
    const rows = await this.#postgres.query<Row>(CHANGE, [number, JSON.stringify(files), this.#member]);
    return rows[0]?.changed_seq;
  }

  /** Calls back when there was a change, or may have been one; returns how to end that. */
  listen(changed: () => void): () => void {
    return this.#postgres.listen(CHANNEL, changed);
  }
}

function fileOf({ path, content }: Row): StoredFile {
  return { path, content };
}
