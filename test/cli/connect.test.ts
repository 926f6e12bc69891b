import { expect, test } from "bun:test";
import { freePorts } from "../../scripts/support/ports.ts";
import { principalFlags, settings, withPrincipal } from "../../src/cli/support/connect.ts";
import { PrincipalUnreachableError, UnprocessableError, UsageError } from "../../src/errors.ts";
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

test("--principal takes several addresses, and wins over all settings that say where principals are", () => {
  process.env.CDKTR_PRINCIPALS = "elsewhere:1,elsewhere:2";
  try {
    const given = (text?: string) => settings(text).values;
    expect(given().CDKTR_PRINCIPALS).toBe("elsewhere:1,elsewhere:2");
    expect(given("a:7")).toMatchObject({
      ...{ CDKTR_PRINCIPALS: "a:7", CDKTR_PRINCIPAL_HOST: "a", CDKTR_PRINCIPAL_PORT: 7 },
    });
    expect(given("a:7,b:8").CDKTR_PRINCIPALS).toBe("a:7,b:8");
  } finally {
    delete process.env.CDKTR_PRINCIPALS;
  }
  for (const wrong of ["a:7,", "a:7,b:x", ",", "a:7 b:8", "a:70000"])
    expect(() => principalFlags(wrong)).toThrow(UsageError);
});

test("when none of several principals answers, the message names each with the reason", async () => {
  const [one, two] = await freePorts(2);
  const before = process.env.CDKTR_DEFAULT_ZMQ_TIMEOUT_MS;
  process.env.CDKTR_DEFAULT_ZMQ_TIMEOUT_MS = "200";
  const principal = `127.0.0.1:${one},127.0.0.1:${two}`;
  try {
    const failure = await withPrincipal({ principal }, async () => {}).catch((error) => error);
    expect(failure).toBeInstanceOf(PrincipalUnreachableError);
    const refused = "the connection was refused, or the network is unreachable";
    expect(failure.message).toBe(
      `None of 2 principals answers: 127.0.0.1:${one} (${refused}); 127.0.0.1:${two} (${refused}).`,
    );
  } finally {
    if (before === undefined) delete process.env.CDKTR_DEFAULT_ZMQ_TIMEOUT_MS;
    else process.env.CDKTR_DEFAULT_ZMQ_TIMEOUT_MS = before;
  }
});
