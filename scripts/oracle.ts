/**
 * `npm run oracle`: records anew what the oracle of schedules (test/oracle/oracle.py) says. Takes some minutes; needs Python 3.9 or newer
 * and PyPI.
 * `npm run oracle -- 'EXPRESSION' ZONE`: shows where cdktr and the oracle differ.
 */
import { join } from "node:path";
import { between } from "../test/oracle/record.ts";
import { pythonWith } from "../test/support/python.ts";
import { ROOT } from "./support/paths.ts";

const DIRECTORY = join(ROOT, "test", "oracle");
const SHOWN = 20;

const [cron, timezone] = process.argv.slice(2);
if (cron === undefined) await record();
else if (timezone === undefined) fail("Usage: npm run oracle -- 'EXPRESSION' ZONE");
else await compare(cron, timezone);

async function record(): Promise<void> {
  const json = await ask(["record"], "inherit");
  const path = join(DIRECTORY, "record.json.gz");
  await Bun.write(path, Bun.gzipSync(json, { level: 9 }));
  console.log(`${path} is new. Now: npm test -- oracle`);
}

async function compare(cron: string, timezone: string): Promise<void> {
  const { spans, firings } = JSON.parse(await ask(["firings", cron, timezone], "inherit"));
  const expected = new Set<number>(firings);
  const found = new Set<number>();
  for (const [start, end] of spans) for (const at of between(cron, timezone, [start, end])) found.add(at);
  const local = new Intl.DateTimeFormat("sv-SE", {
    timeZone: timezone,
    dateStyle: "short",
    timeStyle: "medium",
  });
  const show = (what: string, times: Iterable<number>) => {
    const sorted = [...times].sort((a, b) => a - b);
    console.log(`${what}: ${sorted.length}`);
    for (const at of sorted.slice(0, SHOWN))
      console.log(`  ${new Date(at * 1000).toISOString()}  ${local.format(at * 1000)} local time`);
  };
  console.log(`"${cron}" in ${timezone}: ${expected.size} firings by the oracle, ${found.size} by cdktr`);
  show("only by the oracle", expected.difference(found));
  show("only by cdktr", found.difference(expected));
}

/** The output of the oracle. @param stderr where it says how far it is */
async function ask(args: readonly string[], stderr: "inherit"): Promise<string> {
  const python = await pythonWith(["cronsim==2.8", "tzdata==2026.6"]);
  const oracle = Bun.spawn([python, join(DIRECTORY, "oracle.py"), ...args], { stdout: "pipe", stderr });
  const text = await new Response(oracle.stdout).text();
  if ((await oracle.exited) !== 0) fail("The oracle failed; its own message is above.");
  return text;
}

function fail(message: string): never {
  console.error(`✗ ${message}`);
  process.exit(1);
}
