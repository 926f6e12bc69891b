import { Database } from "bun:sqlite";
import { expect, test } from "bun:test";
import { Capture } from "../../src/storage/operational/mirror/capture.ts";
import { digestsOf } from "../../src/storage/operational/mirror/digest.ts";
import { RowWriter } from "../../src/storage/operational/mirror/rows.ts";

/** Each kind of key, columns of each type, rows that must be unique in another way, and a trigger that changes another table. */
const SCHEMA = `
  CREATE TABLE counted (seq INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT) STRICT;
  CREATE TABLE numbered (seq INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, size REAL, data BLOB) STRICT;
  CREATE TABLE named (name TEXT PRIMARY KEY, n INTEGER, twice INTEGER GENERATED ALWAYS AS (n * 2) VIRTUAL) STRICT, WITHOUT ROWID;
  CREATE TABLE pairs (a TEXT NOT NULL, "order" INTEGER NOT NULL, value TEXT, PRIMARY KEY (a, "order")) STRICT, WITHOUT ROWID;
  CREATE TABLE single (what TEXT) STRICT;
  CREATE TRIGGER named_written AFTER INSERT ON named BEGIN DELETE FROM pairs WHERE a = NEW.name; END;
`;

const empty = () => {
  const database = new Database(":memory:", { strict: true });
  database.run(SCHEMA);
  return database;
};

/** Numbers from 0 to `below`, the same for each seed. */
function numbers(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

const NAMES = ["a", "b", "ä\u{1F600}", 'quote " and \\ and \\u0000', "'", ""];

/** A statement that may fail. */
function change(database: Database, pick: (below: number) => number): void {
  const name = NAMES[pick(NAMES.length)] ?? "";
  const n = pick(5);
  const statements: (() => void)[] = [
    () =>
      database.run("INSERT INTO numbered (name, size, data) VALUES (?, ?, ?)", [
        name,
        n / 3,
        Uint8Array.of(n, 255),
      ]),
    () => database.run("INSERT INTO counted (name) VALUES (?)", [name]),
    () => database.run("DELETE FROM counted WHERE seq % 5 = ?", [n]),
    // Removes another row when the name is taken.
    () =>
      database.run("INSERT OR REPLACE INTO numbered (seq, name, size) VALUES (?, ?, ?)", [n + 1, name, n]),
    () => database.run("UPDATE OR REPLACE numbered SET name = ? WHERE seq > ?", [name, n]),
    () => database.run("UPDATE numbered SET seq = seq + 10, data = NULL WHERE name = ?", [name]),
    () => database.run("DELETE FROM numbered WHERE seq > ?", [n * 3]),
    () =>
      database.run("INSERT INTO named (name, n) VALUES (?, ?) ON CONFLICT DO UPDATE SET n = excluded.n + 1", [
        name,
        n,
      ]),
    () => database.run("INSERT OR IGNORE INTO named (name, n) VALUES (?, ?)", [name, n]),
    () => database.run("UPDATE OR IGNORE named SET name = ? WHERE n = ?", [name, n]),
    () => database.run("INSERT OR REPLACE INTO pairs VALUES (?, ?, ?)", [name, n, n === 0 ? null : name]),
    () => database.run('UPDATE OR REPLACE pairs SET "order" = ?', [n]),
    () => database.run("DELETE FROM pairs"),
    () => database.run("INSERT INTO single VALUES (?)", [name]),
    () => database.run("UPDATE single SET what = ? WHERE rowid = ?", [name, n]),
    () => database.run("UPDATE sqlite_sequence SET seq = seq + 5"),
  ];
  try {
    statements[pick(statements.length)]?.();
  } catch {
    // A row must be unique.
  }
}

test.each([1, 2, 3, 4])(
  "what random transactions change is what another database needs to be the same (seed %i)",
  (seed) => {
    const pick = numbers(seed);
    using database = empty();
    using copy = empty();
    copy.run("DROP TRIGGER named_written");
    const capture = new Capture(database);
    const writer = new RowWriter(copy);
    for (let transaction = 0; transaction < 150; transaction++) {
      database.run("BEGIN");
      for (let unit = pick(4); unit > 0; unit--) {
        database.run("SAVEPOINT unit");
        for (let statement = 1 + pick(5); statement > 0; statement--) change(database, pick);
        if (pick(3) === 0) database.run("ROLLBACK TO unit");
        database.run("RELEASE unit");
      }
      const changes = capture.take();
      capture.clear();
      if (pick(5) === 0) {
        database.run("ROLLBACK");
        continue;
      }
      database.run("COMMIT");
      capture.committed();
      if (changes !== null) writer.apply(changes.text);
      expect(digestsOf(copy)).toEqual(digestsOf(database));
    }
    expect(database.query("SELECT count(*) AS n FROM temp.changed").get()).toEqual({ n: 0 });
    capture.release();
    writer.release();
  },
);

test("a transaction that changes nothing in the end has a change set that changes nothing", () => {
  using database = empty();
  const capture = new Capture(database);
  database.run("BEGIN");
  expect(capture.take()).toBeNull();
  database.run("INSERT INTO named (name) VALUES ('a')");
  database.run("DELETE FROM named");
  expect(capture.take()).toEqual({ parts: ["named-"], text: '{"named-":[{"name":"a"}]}' });
  capture.release();
});

test("characters that PostgreSQL cannot store are replaced; a text that only looks like one stays", () => {
  using database = empty();
  const capture = new Capture(database);
  database.run("INSERT INTO single VALUES (?)", ['\0 and "\\u0000" and \\']);
  const [row] = JSON.parse(capture.take()?.text ?? "{}")["single+"];
  expect(row).toEqual({ _rowid: 1, what: '\u{FFFD} and "\\u0000" and \\' });
  capture.release();
});
