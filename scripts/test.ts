/**
 * `npm test [-- PATTERN…]`: types, lint, build, unit tests, end-to-end tests against the built executable.
 * A pattern is a part of a file's path, or the name of a step (types, lint, build). Ends with the slowest files and the line
 * `N passed, N failed`.
 *
 * `--long` (`npm run test:long`) runs only the tests that take minutes by their nature, at full length.
 * `--load` keeps one processor busy meanwhile: no test may depend on the speed of the machine.
 * A file that failed is run once more, alone, when all others are done. If it passes then, the suite passes and names its
 * first failure as flaky: a race to be found, in the test or in cdktr. `--strict` counts such a failure as one.
 */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { parseArgs } from "node:util";
import { binaryIsFresh, buildBinary } from "./support/binary.ts";
import { parseJunit, type TestCounts } from "./support/junit.ts";
import { BINARY, BUN, ROOT } from "./support/paths.ts";
import { type Finished, killRunning, run } from "./support/run.ts";
import { type Cost, type Costs, inParallel, planOf, slowest } from "./support/test-plan.ts";

const PROCESSORS = availableParallelism();
/** Most files wait for processes that they start; not many at once on a large machine. */
const WORKERS = Math.min(8, 3 * PROCESSORS);
/** What the files took here last time; a fresh clone has the times of another machine. */
const TIMES = join(ROOT, ".cache", "test-seconds.json");
const OTHER_TIMES = join(ROOT, "scripts", "support", "test-seconds.json");

const { values: flags, positionals: patterns } = parseArgs({
  args: process.argv.slice(2),
  options: {
    long: { type: "boolean", default: false },
    load: { type: "boolean", default: false },
    strict: { type: "boolean", default: false },
  },
  allowPositionals: true,
});
/** With more failed files than this, something is broken, and nothing is repeated. */
const MOST_REPEATED = 5;
/** A test file that is not done by then hangs. */
const FILE_TIMEOUT_MS = (flags.long ? 120 : 20) * 60_000;
const bin = (name: string) => join("node_modules", ".bin", name);
const scratch = mkdtempSync(join(tmpdir(), "cdktr-test-"));
const total = { passed: 0, failed: 0, skipped: 0 };
const failures: string[] = [];
/** The test files that failed, and what they added to the counts. */
const failed = new Map<string, TestCounts>();
const flaky: string[] = [];
const costs: Record<string, Cost> = {};

for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => {
    killRunning();
    rmSync(scratch, { recursive: true, force: true });
    console.log(`\nStopped by ${signal}.`);
    console.log(`${total.passed} passed, ${total.failed + 1} failed`);
    process.exit(1);
  });
}

function wanted(name: string): boolean {
  return patterns.length === 0 || patterns.some((pattern) => name.includes(pattern.replace(/^\.\//, "")));
}

/** Type check, lint, build: one pass or one failure each. */
async function step(
  name: string,
  command: string,
  work: () => Promise<Finished | "up to date">,
): Promise<boolean> {
  const result = await work();
  if (result === "up to date") {
    console.log(`ok    ${name}: up to date`);
    total.passed++;
    return true;
  }
  const time = `${result.seconds.toFixed(1)} s`;
  if (result.code === 0) {
    console.log(`ok    ${name} (${time})  $ ${command}`);
    total.passed++;
    return true;
  }
  console.log(`FAIL  ${name} (${time}, exit status ${result.code})  $ ${command}`);
  console.log(indent(result.output));
  total.failed++;
  failures.push(name);
  return false;
}

async function testFile(file: string, env: Record<string, string | undefined>): Promise<void> {
  const report = join(scratch, `${file.replaceAll("/", "_")}.xml`);
  const result = await run(
    [BUN, "test", `./${file}`, "--reporter=junit", `--reporter-outfile=${report}`, "--timeout=60000"],
    {
      cwd: ROOT,
      env,
      timeoutMs: FILE_TIMEOUT_MS,
    },
  );
  costs[file] = [Number(result.seconds.toFixed(1)), Number(result.cpu.toFixed(1))];
  const counts = count(report, result);
  add(counts);
  const skipped = counts.skipped > 0 ? `, ${counts.skipped} skipped` : "";
  const summary = `${file}: ${counts.passed} passed, ${counts.failed} failed${skipped} (${result.seconds.toFixed(1)} s)`;
  if (counts.failed === 0) {
    console.log(`ok    ${summary}`);
    return;
  }
  failed.set(file, counts);
  console.log(`FAIL  ${summary}`);
  const shown = result.output.split("\n").filter((line) => !/^\((pass|skip)\) /.test(line));
  console.log(indent(shown.join("\n")));
}

function add(counts: TestCounts, sign: 1 | -1 = 1): void {
  total.passed += sign * counts.passed;
  total.failed += sign * counts.failed;
  total.skipped += sign * counts.skipped;
}

/** Runs what failed once more, one file after the other: a file that passes now counts as passed, and as flaky. */
async function repeatFailed(): Promise<void> {
  if (flags.strict || failed.size > MOST_REPEATED) return;
  for (const [file, counts] of [...failed]) {
    console.log(`again ${file}, alone`);
    failed.delete(file);
    add(counts, -1);
    await runFile(file);
    if (!failed.has(file)) flaky.push(...namesOf(file, counts));
  }
}

function namesOf(file: string, counts: TestCounts): string[] {
  return counts.failures.map((failure) => `${file}: ${failure}`);
}

/** The report's counts; a runner that crashed, hung or ran nothing counts as one more failure. */
function count(report: string, result: Finished): TestCounts {
  const read = existsSync(report) ? parseJunit(readFileSync(report, "utf8")) : undefined;
  if (read === undefined) {
    const lines = result.output.split("\n");
    const why = result.timedOut
      ? `still running after ${FILE_TIMEOUT_MS / 60_000} minutes`
      : `the test process ended with status ${result.code} before it could report`;
    return {
      passed: lines.filter((line) => line.startsWith("(pass) ")).length,
      failed: lines.filter((line) => line.startsWith("(fail) ")).length + 1,
      skipped: lines.filter((line) => line.startsWith("(skip) ")).length,
      failures: [why],
    };
  }
  if (result.code !== 0 && read.failed === 0) {
    const why = `the test process ended with status ${result.code} although every test passed`;
    return { ...read, failed: 1, failures: [why] };
  }
  if (read.passed + read.failed === 0) return { ...read, failed: 1, failures: ["no test ran"] };
  return read;
}

function indent(text: string): string {
  const lines = text.trimEnd().split("\n");
  const shown = lines.length > 400 ? [`… ${lines.length - 400} lines left out`, ...lines.slice(-400)] : lines;
  return shown.map((line) => `      ${line}`).join("\n");
}

/** A developer's own CDKTR_… variables must not decide what the tests see. */
function cleanEnvironment(): Record<string, string | undefined> {
  return Object.fromEntries(Object.entries(process.env).filter(([name]) => !name.startsWith("CDKTR_")));
}

function costsIn(path: string): Costs {
  if (!existsSync(path)) return {};
  const known: Record<string, unknown> = JSON.parse(readFileSync(path, "utf8"));
  // Former versions wrote seconds alone.
  return Object.fromEntries(Object.entries(known).filter(([, cost]) => Array.isArray(cost))) as Costs;
}

/** What `npm run lint` does: style, exports that nothing imports, exports that only tests import. */
async function lint(): Promise<Finished> {
  const knip = [BUN, "node_modules/knip/bin/knip-bun.js", "--no-progress"];
  const [style, unused, onlyTested] = await Promise.all([
    run([bin("biome"), "check", "."], { cwd: ROOT }),
    run(knip, { cwd: ROOT }),
    run([...knip, "--production"], { cwd: ROOT }),
  ]);
  return [style, unused, onlyTested].find(({ code }) => code !== 0) ?? style;
}

/** Whether a file has tests that `--long` makes longer. */
function isLong(file: string): boolean {
  return readFileSync(join(ROOT, file), "utf8").includes("support/long.ts");
}

const started = performance.now();
// Ends with this process, however that ends.
if (flags.load) void run(["sh", "-c", "while kill -0 $PPID; do :; done"]);

const found = [...new Bun.Glob("test/**/*.test.ts").scanSync({ cwd: ROOT })].sort();
const files = found.filter(wanted).filter((file) => !flags.long || isLong(file));
const isEndToEnd = (file: string) => file.startsWith("test/e2e/");

const checks: Promise<boolean>[] = [];
if (wanted("types") && !flags.long) {
  checks.push(
    step("types", "tsc --noEmit", () => run([bin("tsc"), "--noEmit", "--pretty", "false"], { cwd: ROOT })),
  );
}
if (wanted("lint") && !flags.long) {
  checks.push(step("lint", "npm run lint", lint));
}
const building =
  wanted("build") || files.length > 0
    ? step("build", "bun scripts/build.ts", async () =>
        binaryIsFresh() ? "up to date" : await buildBinary("capture"),
      )
    : true;
const [built] = await Promise.all([building, ...checks]);

const environment = { ...cleanEnvironment(), ...(flags.long ? { CDKTR_TEST_LONG: "1" } : {}) };
/** Whatever a test starts is the executable, which starts in half the time of the sources. */
async function runFile(file: string): Promise<void> {
  if (built) return testFile(file, { ...environment, CDKTR_TEST_BINARY: BINARY });
  if (!isEndToEnd(file)) return testFile(file, environment);
  total.failed++;
  failures.push(`${file}: not run, the build failed`);
}
const known = { ...costsIn(OTHER_TIMES), ...costsIn(TIMES) };
const { together, alone } = planOf(files, known);
const processors = PROCESSORS - (flags.load ? 1 : 0);
await inParallel(together, { costs: known, processors, most: WORKERS }, runFile);
await inParallel(alone, { costs: known, processors, most: 1 }, runFile);
await repeatFailed();
for (const [file, counts] of failed) failures.push(...namesOf(file, counts));
killRunning();
if (!flags.load && !flags.long) {
  mkdirSync(dirname(TIMES), { recursive: true });
  writeFileSync(TIMES, JSON.stringify({ ...known, ...costs }));
}

rmSync(scratch, { recursive: true, force: true });
if (checks.length === 0 && files.length === 0 && !wanted("build")) {
  console.log(`Nothing matches ${patterns.join(" ")}.`);
  total.failed++;
}
if (files.length > 0) console.log(`\nSlowest:\n${slowest(costs, 10).join("\n")}`);
console.log(`\n${((performance.now() - started) / 1000).toFixed(0)} s in all.`);
if (total.skipped > 0) console.log(`${total.skipped} skipped.`);
if (flaky.length > 0) {
  console.log(`Flaky (failed, and passed when repeated):\n${flaky.map((name) => `  ${name}`).join("\n")}`);
}
if (failures.length > 0) console.log(`Failed:\n${failures.map((name) => `  ${name}`).join("\n")}`);
console.log(`${total.passed} passed, ${total.failed} failed`);
process.exit(total.failed === 0 ? 0 : 1);
