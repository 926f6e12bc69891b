/** What units of work do with the evaluations of alert files: a part of the interface of the operational state, see store.ts. */

/** The evaluations of an alert file. */
export interface QueryAlertRecord {
  /** Path of the file, relative to the workflow directory. */
  readonly file: string;
  /** When it was last evaluated, ms since the epoch; null for never. */
  readonly evaluated_at_ms: number | null;
  /** When it is evaluated next, ms since the epoch. */
  readonly next_ms: number;
  /** Why it was not evaluated last, or why it failed; null if it did not. */
  readonly error: string | null;
  /** Number of rows that counted when it was last evaluated. */
  readonly rows: number;
  /** How often in a row the query has failed. */
  readonly failures: number;
}

/** A row of the result of an alert file's query that counts. */
export interface QueryRowRecord {
  readonly key: string;
  /** Since when it is there at each evaluation, ms since the epoch. */
  readonly since_ms: number;
  /** Whether it is an alert. */
  readonly is_raised: boolean;
}

/** Evaluations, and the rows that they found last. */
export interface QueryAlertIntentions {
  /** By file. */
  listQueryAlerts(): Promise<QueryAlertRecord[]>;
  putQueryAlert(record: QueryAlertRecord): Promise<void>;
  /** Forgets a file and its rows. */
  removeQueryAlert(file: string): Promise<void>;
  /** By key. */
  listQueryRows(file: string): Promise<QueryRowRecord[]>;
  putQueryRow(file: string, row: QueryRowRecord): Promise<void>;
  removeQueryRow(file: string, key: string): Promise<void>;
  /** How many rows of each file are alerts, and how many are not yet. */
  countQueryRows(): Promise<ReadonlyMap<string, { readonly raised: number; readonly pending: number }>>;
}
