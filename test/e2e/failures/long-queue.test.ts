/** A principal that starts with a long queue. */
import { expect, test } from "bun:test";
import { startCluster } from "../../support/cdktr.ts";
import { linesOf, runOver, shellWorkflow, TemporaryDirectory, until } from "../support/fixtures.ts";
import { PATIENT, trigger } from "./support.ts";

const QUEUED = 10_000;

test("10,000 queued runs at the start: it answers at once, hands them out oldest first, and takes new ones meanwhile", async () => {
  using directory = new TemporaryDirectory();
  const ledger = directory.path("ledger");
  await using cluster = await startCluster({
    env: PATIENT,
    workflows: {
      "small.yml": shellWorkflow(
        { a: { sh: `echo "$CDKTR_PARAM_N" >> ${ledger}` } },
        'params: {n: {default: "0"}}\n',
      ),
    },
  });
  const { client } = cluster;
  for (let n = 0; n < QUEUED; n += 500) {
    await Promise.all(
      Array.from({ length: 500 }, (_, index) =>
        // One after another in the queue: the number says which it is.
        client.runTask("small", { dedupe_key: `${n + index}`, params: { n: `${n + index}` } }),
      ),
    );
  }
  cluster.principal?.kill("SIGKILL");
  await cluster.principal?.finished;
  await cluster.startPrincipal();
  expect((await client.info()).runs).toEqual({ pending: QUEUED, running: 0 });
  const list = await cluster.cdktr(["runs", "list", "-n", "5", "--json"]);
  expect(JSON.parse(list.stdout)).toHaveLength(5);

  await cluster.startAgent(["--max-concurrent-workflows", "1"]);
  await until("some have run", () => linesOf(ledger).length >= 100);
  const late = await trigger(cluster, "small", "late");
  expect((await client.getRun(late)).status).toBe("PENDING");
  const ran = linesOf(ledger).map(Number);
  expect(ran).toEqual(ran.map((_, index) => index));
  // The others wait as they did.
  const { pending } = (await client.info()).runs;
  expect(pending).toBeGreaterThan(QUEUED / 2);
  const cancelled = await cluster.cdktr(["runs", "cancel", late]);
  expect(cancelled.code).toBe(0);
  expect((await runOver(client, late)).status).toBe("CANCELLED");
}, 60_000);
