/** Runs a statement of PostgreSQL, prepared once. @returns its rows */
export type Query = <Row>(
  sql: string,
  values?: readonly unknown[],
  options?: { readonly timeoutMs?: number },
) => Promise<Row[]>;
