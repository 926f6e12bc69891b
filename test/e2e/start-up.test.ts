import { describe, expect, test } from "bun:test";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { Cluster, cdktr, freePorts } from "../support/cdktr.ts";
import { BINARY, COMPILED, TemporaryDirectory } from "./support/fixtures.ts";

/** Runs a command against an address where nobody is: needs libzmq, and ends soon. */
async function ask(cache: string) {
  const [port] = await freePorts(1);
  return cdktr(["runs", "list"], {
    env: {
      CDKTR_CACHE_DIRECTORY: cache,
      CDKTR_PRINCIPAL_PORT: String(port),
      CDKTR_DEFAULT_ZMQ_TIMEOUT_MS: "100",
    },
  });
}

/** Every file below a directory, with its hash. */
function contents(directory: string): Record<string, string> {
  const found: Record<string, string> = {};
  for (const path of new Bun.Glob("**/*").scanSync({ cwd: directory, dot: true })) {
    found[path] = new Bun.CryptoHasher("sha256").update(readFileSync(join(directory, path))).digest("hex");
  }
  return found;
}

/** Times of one start, ms. */
interface Start {
  readonly wall: number;
  readonly cpu: number;
}

const median = (values: number[]) =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;

describe.if(COMPILED)("the compiled executable", () => {
  test("is one file under 175 MB", () => {
    expect(statSync(BINARY).size).toBeLessThan(175e6);
  });

  test("--version and --help take under three times as long as an empty Bun executable, and unpack nothing", async () => {
    using directory = new TemporaryDirectory();
    const empty = directory.path("empty");
    writeFileSync(directory.path("empty.ts"), "");
    const built = await Bun.build({
      entrypoints: [directory.path("empty.ts")],
      target: "bun",
      compile: { outfile: empty },
    });
    expect(built.success).toBe(true);
    const cache = directory.path("cache");
    const start = (command: string[]) => {
      const started = performance.now();
      const { exitCode, resourceUsage } = Bun.spawnSync(command, {
        cwd: directory.root,
        env: { ...process.env, CDKTR_CACHE_DIRECTORY: cache },
        stdout: "ignore",
        stderr: "ignore",
      });
      expect(exitCode).toBe(0);
      return { wall: performance.now() - started, cpu: Number(resourceUsage?.cpuTime.total) / 1000 };
    };
    const commands = { empty: [empty], version: [BINARY, "--version"], help: [BINARY, "--help"] };
    const taken = { empty: [] as Start[], version: [] as Start[], help: [] as Start[] };
    // The start that nobody disturbed, and the work of all of them: on a busy machine the clock alone measures the others.
    const fastest = (which: keyof typeof taken) => Math.min(...taken[which].map(({ wall }) => wall));
    const slowest = () => Math.max(fastest("version"), fastest("help")) / fastest("empty");
    // Taken in turn, so that whatever else the machine does weighs on all alike. On a busy one it takes more of them until each has
    // had a start that nobody disturbed.
    for (let round = 0; round < 31 || (slowest() >= 3 && round < 310); round++) {
      for (const which of ["empty", "version", "help"] as const) taken[which].push(start(commands[which]));
    }
    const work = (which: keyof typeof taken) => median(taken[which].map(({ cpu }) => cpu));
    for (const which of ["version", "help"] as const) {
      expect(fastest(which) / fastest("empty")).toBeLessThan(3);
      expect(work(which) / work("empty")).toBeLessThan(3);
    }
    expect(existsSync(cache)).toBe(false);
  }, 120_000);

  test("ten first starts at once share one cache, whole and private", async () => {
    using directory = new TemporaryDirectory();
    const cache = directory.path("deep", "cache");
    const results = await Promise.all(Array.from({ length: 10 }, () => ask(cache)));
    expect(results.map((result) => result.code)).toEqual(Array(10).fill(3));
    const [only, ...others] = readdirSync(cache);
    expect(others).toEqual([]);
    expect(statSync(join(cache, only ?? "")).mode & 0o777).toBe(0o700);
    expect(readdirSync(join(cache, only ?? ""))).toEqual(["libzmq.so"]);
  }, 120_000);

  test("three first principals at once unpack DuckDB together and answer", async () => {
    using directory = new TemporaryDirectory();
    const cache = directory.path("cache");
    const ports = await freePorts(9);
    const clusters = [0, 3, 6].map(
      (first) => new Cluster({ env: { CDKTR_CACHE_DIRECTORY: cache } }, ports.slice(first, first + 3)),
    );
    try {
      await Promise.all(clusters.map((cluster) => cluster.startPrincipal()));
      const answers = await Promise.all(
        clusters.map((cluster) =>
          cluster.client.queryDatabase({ sql: "SELECT 6 * 7" }, { timeoutMs: 60_000 }),
        ),
      );
      expect(answers.map((answer) => Number(answer.rows[0]?.[0]))).toEqual([42, 42, 42]);
      expect(
        Object.keys(contents(cache))
          .map((path) => path.replace(/^.*\//, ""))
          .sort(),
      ).toEqual(["duckdb.node", "libduckdb.so", "libzmq.so"]);
    } finally {
      await Promise.all(clusters.map((cluster) => cluster.stop()));
    }
  }, 180_000);

  test("a library in the cache that was changed, cut or removed is replaced", async () => {
    using directory = new TemporaryDirectory();
    const cache = directory.path("cache");
    expect((await ask(cache)).code).toBe(3);
    const good = contents(cache);
    const [name = ""] = Object.keys(good);
    const path = join(cache, name);
    for (const damage of [
      () => {
        const bytes = readFileSync(path);
        bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 0xff;
        writeFileSync(path, bytes);
      },
      () => writeFileSync(path, readFileSync(path).subarray(0, 1000)),
      () => writeFileSync(path, ""),
    ]) {
      chmodSync(path, 0o700);
      damage();
      expect(contents(cache)).not.toEqual(good);
      expect((await ask(cache)).code).toBe(3);
      expect(contents(cache)).toEqual(good);
    }
  }, 120_000);

  test("a cache directory that cannot be written is a clear error that names the way out", async () => {
    using directory = new TemporaryDirectory();
    writeFileSync(directory.path("file"), "");
    mkdirSync(directory.path("closed"), { mode: 0o500 });
    const places = [directory.path("file", "below"), "/proc/cdktr-cache"];
    // To root no directory is closed.
    if (process.getuid?.() !== 0) places.push(directory.path("closed", "below"));
    for (const place of places) {
      const { code, stderr, stdout } = await ask(place);
      expect(code).toBe(1);
      expect(stdout).toBe("");
      expect(stderr).toContain(place);
      expect(stderr).toContain("CDKTR_CACHE_DIRECTORY");
      expect(stderr).not.toContain("internal");
    }
  }, 60_000);

  const canMount =
    process.getuid?.() === 0 &&
    Bun.spawnSync(["unshare", "--mount", "true"], { stderr: "ignore" }).exitCode === 0;
  test.if(canMount)(
    "a full and a read-only file system are clear errors too",
    async () => {
      using directory = new TemporaryDirectory();
      const place = directory.path("small");
      mkdirSync(place);
      for (const mount of ["size=64k", "ro"]) {
        const child = Bun.spawnSync(
          [
            "unshare",
            "--mount",
            "sh",
            "-c",
            `mount -t tmpfs -o ${mount} tmpfs '${place}' && CDKTR_CACHE_DIRECTORY='${place}/cache' exec '${BINARY}' runs list`,
          ],
          { stdout: "pipe", stderr: "pipe" },
        );
        const stderr = child.stderr.toString();
        expect(stderr).toContain(place);
        expect(stderr).toContain("CDKTR_CACHE_DIRECTORY");
        expect(child.exitCode).toBe(1);
      }
    },
    60_000,
  );
});
