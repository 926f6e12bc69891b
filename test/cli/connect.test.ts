import { expect, test } from "bun:test";
import { withPrincipal } from "../../src/cli/support/connect.ts";
import { UnprocessableError } from "../../src/errors.ts";
import { lastingPorts, TestPrincipal } from "../principal/support.ts";

test("after a restart of the principal, one patient request is given up; the next one is answered", async () => {
  await using bench = await new TestPrincipal({ config: await lastingPorts() }).start();
  const before = process.env.CDKTR_DEFAULT_ZMQ_TIMEOUT_MS;
  // How often the principal is looked after while a request waits.
  process.env.CDKTR_DEFAULT_ZMQ_TIMEOUT_MS = "500";
  try {
    await withPrincipal({ principal: `127.0.0.1:${bench.ports.api}` }, async ({ client, patiently }) => {
      await bench.principal?.stop();
      await bench.start();
      const { revision } = await client.call("WATCHWORKFLOWS", {}, { timeoutMs: 10_000 });
      const wait = () =>
        patiently((options) =>
          client.call("WATCHWORKFLOWS", { revision, wait_ms: 1500 }, { ...options, attempts: 100 }),
        );
      expect(await wait().catch((error) => error)).toBeInstanceOf(UnprocessableError);
      expect(await wait()).toHaveProperty("revision");
    });
  } finally {
    if (before === undefined) delete process.env.CDKTR_DEFAULT_ZMQ_TIMEOUT_MS;
    else process.env.CDKTR_DEFAULT_ZMQ_TIMEOUT_MS = before;
  }
});
