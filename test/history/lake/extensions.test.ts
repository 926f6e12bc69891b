import { expect, test } from "bun:test";
import { loadDuckDB, quoteText } from "../../../src/history/database/duckdb.ts";
import { loadLakeExtensions } from "../../../src/history/lake/extensions.ts";
import { TemporaryDirectory } from "../../support/temporary-directory.ts";

test("the extensions of a lake come with cdktr: nothing is fetched, and later nothing else can be loaded", async () => {
  using directory = new TemporaryDirectory();
  const duckdb = await loadDuckDB();
  // Where DuckDB would look for extensions, and would put what it fetches, is nothing.
  const instance = await duckdb.DuckDBInstance.create(":memory:", {
    extension_directory: directory.path("none"),
    autoinstall_known_extensions: "false",
    autoload_known_extensions: "false",
    threads: "1",
  });
  try {
    const connection = await instance.connect();
    const loaded = async () => {
      const reader = await connection.runAndReadAll(
        "SELECT extension_name FROM duckdb_extensions() WHERE loaded AND extension_name IN ('ducklake', 'httpfs', 'postgres_scanner') ORDER BY ALL",
      );
      return reader.getRows().flat();
    };
    await loadLakeExtensions(connection, false);
    expect(await loaded()).toEqual(["ducklake", "postgres_scanner"]);
    // Twice is no mistake.
    await loadLakeExtensions(connection, true);
    expect(await loaded()).toEqual(["ducklake", "httpfs", "postgres_scanner"]);

    const [catalog, files] = ["catalog.ducklake", "files"].map((name) => directory.path(name));
    await connection.run(
      `ATTACH ${quoteText(`ducklake:${catalog}`)} AS lake (DATA_PATH ${quoteText(`${files}/`)})`,
    );
    await connection.run("CREATE TABLE lake.t AS SELECT range AS x FROM range(1000)");
    const sum = await connection.runAndReadAll("SELECT sum(x)::INTEGER FROM lake.t");
    expect(sum.getRows()).toEqual([[499_500]]);

    await connection.run("SET enable_external_access = false");
    await connection.run("SET lock_configuration = true");
    for (const statement of ["INSTALL spatial", "LOAD '/tmp/x.duckdb_extension'"])
      await expect(connection.run(statement)).rejects.toThrow(/disabled (by|through) configuration/);
  } finally {
    instance.closeSync();
  }
});
