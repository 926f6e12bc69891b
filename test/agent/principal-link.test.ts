import { describe, expect, spyOn, test } from "bun:test";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { PROTOCOL, SLICES_SINCE } from "../../src/contract/version.ts";
import { encodeReply } from "../../src/contract/wire.ts";
import { log } from "../../src/log.ts";
import { assignmentOf, until, workflowOf } from "./support/bench.ts";
import { Fleet } from "./support/fleet.ts";
import { ScriptedPrincipal } from "./support/scripted-principal.ts";

const quick = { CDKTR_DEFAULT_ZMQ_TIMEOUT_MS: 500, CDKTR_AGENT_HEARTBEAT_INTERVAL_MS: 150 };
/** Settings with which long polls only end when the test ends them. */
const patient = { CDKTR_DEFAULT_ZMQ_TIMEOUT_MS: 20_000, CDKTR_AGENT_HEARTBEAT_INTERVAL_MS: 20_000 };

const touch = (fleet: Fleet) => assignmentOf(workflowOf({ t: { run: `touch ${fleet.directory}/ran` } }));
const ran = (fleet: Fleet) => existsSync(join(fleet.directory, "ran"));
const statuses = (principal: ScriptedPrincipal) =>
  principal.reports.map((report) => `${report.kind} ${report.status}`);

describe("replies that get lost", () => {
  test("a request for work is repeated with the same id, and the run is executed once", async () => {
    await using principal = await new ScriptedPrincipal().start();
    await using fleet = new Fleet();
    const run = touch(fleet);
    let asked = 0;
    principal.onFetch = (fetchId) => {
      if (fetchId !== principal.fetchIds[0]) return null;
      return ++asked < 3 ? "lose" : run;
    };
    const agent = await fleet.agent(fleet.config(principal.ports, { ...quick, CDKTR_RETRY_ATTEMPTS: 1000 }));
    await principal.until(() => {
      principal.wake();
      return statuses(principal).includes("run COMPLETED");
    });
    expect(new Set(principal.fetchIds.slice(0, 3)).size).toBe(1);
    expect(principal.fetchIds[3]).not.toBe(principal.fetchIds[0]);
    expect(statuses(principal)).toEqual(["run RUNNING", "task RUNNING", "task COMPLETED", "run COMPLETED"]);
    agent.drain();
  });

  test("reports are repeated with the same numbers until they are confirmed", async () => {
    await using principal = await new ScriptedPrincipal().start();
    await using fleet = new Fleet();
    const run = touch(fleet);
    let given = false;
    principal.onFetch = () => {
      if (given) return null;
      given = true;
      return run;
    };
    let requests = 0;
    const fates = ["drop", "lose"] as const;
    principal.onReport = () => fates[requests++];
    await fleet.agent(fleet.config(principal.ports, { ...quick, CDKTR_RETRY_ATTEMPTS: 1000 }));
    await principal.until(() => {
      principal.wake();
      return statuses(principal).includes("run COMPLETED");
    });
    // The first request never came. What the second one said is also confirmed by a heartbeat.
    expect(principal.batches.slice(0, 2)).toEqual([[1], [1]]);
    expect(principal.reports.map((report) => report.seq)).toEqual([1, 2, 3, 4]);
  });

  test("no task starts before the attempt is confirmed", async () => {
    await using principal = await new ScriptedPrincipal().start();
    await using fleet = new Fleet();
    let given = false;
    principal.onFetch = () => {
      if (given) return null;
      given = true;
      return touch(fleet);
    };
    let isConfirming = false;
    principal.onReport = () => (isConfirming ? undefined : encodeReply("SERVERERROR", "the disk is full"));
    await fleet.agent(fleet.config(principal.ports, patient));
    await principal.until(() => principal.batches.length >= 3);
    expect(ran(fleet)).toBe(false);
    isConfirming = true;
    await principal.until(() => statuses(principal).includes("run COMPLETED"));
    expect(ran(fleet)).toBe(true);
  });
});

test("a chain of short tasks is told in a few messages, its end without delay", async () => {
  await using principal = await new ScriptedPrincipal().start();
  await using fleet = new Fleet();
  const ids = Array.from({ length: 30 }, (_, i) => `t${i}`);
  const depends = (i: number) => (i === 0 ? [] : [`t${i - 1}`]);
  const chain = workflowOf(
    Object.fromEntries(ids.map((id, i) => [id, { run: ["true"], depends: depends(i) }])),
  );
  principal.onFetch = () =>
    principal.fetchIds.length === 1 ? assignmentOf(chain, { is_confirmed: true }) : null;
  await fleet.agent(fleet.config(principal.ports, patient));
  await principal.until(() => statuses(principal).at(-1) === "run COMPLETED");
  expect(principal.reports).toHaveLength(2 * ids.length + 1);
  const [first, last] = [principal.reports[0], principal.reports.at(-1)];
  const tookMs = (last?.timestamp_ms ?? 0) - (first?.timestamp_ms ?? 0);
  // One for each 10 ms of the run, and one for its end.
  expect(principal.batches.length).toBeLessThanOrEqual(tookMs / 10 + 2);
});

describe("orders", () => {
  test.each([
    ["cancelled", ["run RUNNING", "task CANCELLED", "run CANCELLED"]],
    ["superseded", ["run RUNNING"]],
  ] as const)("that come with the confirmation: %s, and no task ever starts", async (reason, reported) => {
    await using principal = await new ScriptedPrincipal().start();
    await using fleet = new Fleet();
    const run = touch(fleet);
    let given = false;
    principal.onFetch = () => {
      if (given) return null;
      given = true;
      return run;
    };
    principal.onReport = () => {
      principal.stop = [
        { workflow_instance_id: run.workflow_instance_id, slice: 0, attempt: run.attempt, reason },
      ];
      return undefined;
    };
    const agent = await fleet.agent(fleet.config(principal.ports, patient));
    // The next request for work: the run before is over.
    await principal.until(
      () => principal.fetchIds.length >= 2 && principal.reports.length >= reported.length,
    );
    await agent.signals.until("run over", () => agent.runningWorkflows === 0);
    expect(statuses(principal)).toEqual([...reported]);
    expect(ran(fleet)).toBe(false);
    principal.wake();
  });
});

describe("a run that is on its way when the agent is told to end", () => {
  test.each([
    ["drain", "run COMPLETED"],
    ["cancelAll", "run CANCELLED"],
  ] as const)("%s: %s", async (how, last) => {
    await using principal = await new ScriptedPrincipal().start();
    await using fleet = new Fleet();
    const run = touch(fleet);
    const agent = await fleet.agent(fleet.config(principal.ports, patient));
    await principal.until(() => principal.fetchIds.length === 1);
    principal.onFetchEnd = () => encodeReply("SUCCESS", JSON.stringify(run));
    agent[how]();
    principal.wake();
    await principal.until(() => statuses(principal).includes(last));
    expect(ran(fleet)).toBe(how === "drain");
    expect(await agent.done).toBe(0);
  });
});

describe("standing", () => {
  test("told to register first, it does, and names what it runs", async () => {
    await using principal = await new ScriptedPrincipal().start();
    await using fleet = new Fleet();
    const run = assignmentOf(
      workflowOf({ t: { run: `while [ ! -e ${fleet.directory}/go ]; do sleep 0.01; done` } }),
    );
    let given = false;
    principal.onFetch = () => {
      if (given) return null;
      given = true;
      return run;
    };
    await fleet.agent(fleet.config(principal.ports, patient));
    await principal.until(() => statuses(principal).includes("task RUNNING"));
    let refused = false;
    principal.onHeartbeat = () => {
      if (refused) return undefined;
      refused = true;
      return encodeReply("UNPROC", "register first");
    };
    principal.wake();
    await principal.until(() => principal.descriptions.length === 2);
    const [first, second] = principal.descriptions;
    expect(first?.running).toEqual([]);
    expect(second?.running).toEqual([
      { workflow_instance_id: run.workflow_instance_id, slice: 0, attempt: 1 },
    ]);
    expect(second).toMatchObject({ session_id: first?.session_id, stream_id: first?.stream_id });
    await Bun.write(join(fleet.directory, "go"), "");
    await principal.until(() => statuses(principal).includes("run COMPLETED"));
  });

  test("if several replies say so at once, it registers again once and continues", async () => {
    await using principal = await new ScriptedPrincipal().start();
    await using fleet = new Fleet();
    let given = false;
    principal.onFetch = () => {
      if (given) return null;
      given = true;
      return touch(fleet);
    };
    const registerFirst = () => encodeReply("UNPROC", "register first");
    let refusals = 0;
    principal.onReport = () => {
      if (principal.descriptions.length > 1 || refusals++ > 0) return undefined;
      principal.onBeatEnd = () => (principal.descriptions.length > 1 ? undefined : registerFirst());
      queueMicrotask(() => principal.wake());
      return registerFirst();
    };
    const agent = await fleet.agent(fleet.config(principal.ports, patient));
    await principal.until(() => statuses(principal).includes("run COMPLETED"));
    expect(principal.descriptions.length).toBeGreaterThanOrEqual(2);
    principal.wake();
    agent.drain();
    principal.wake();
    expect(await agent.done).toBe(0);
  });

  test("a report that the principal refuses does not hold up the others", async () => {
    await using principal = await new ScriptedPrincipal().start();
    await using fleet = new Fleet();
    let given = false;
    principal.onFetch = () => {
      if (given) return null;
      given = true;
      return touch(fleet);
    };
    principal.onReport = (reports) =>
      reports.some((report) => report.kind === "task" && report.status === "RUNNING")
        ? encodeReply("CLIENTERROR", "this one is not understood")
        : undefined;
    await fleet.agent(fleet.config(principal.ports, patient));
    await principal.until(() => statuses(principal).includes("run COMPLETED"));
    expect(statuses(principal)).toEqual(["run RUNNING", "task COMPLETED", "run COMPLETED"]);
  });

  test("a principal that refuses the registration ends the agent with status 1", async () => {
    await using principal = await new ScriptedPrincipal().start();
    await using fleet = new Fleet();
    principal.onRegister = () => encodeReply("UNPROC", "agent id in use");
    const agent = await fleet.agent(fleet.config(principal.ports, patient));
    expect(await agent.done).toBe(1);
  });

  test("a principal that reports a failure is reachable: the agent keeps asking", async () => {
    await using principal = await new ScriptedPrincipal().start();
    await using fleet = new Fleet();
    let asked = 0;
    principal.onRegister = () => (++asked < 5 ? encodeReply("SERVERERROR", "no disk") : undefined);
    const config = fleet.config(principal.ports, { ...quick, CDKTR_RETRY_ATTEMPTS: 2 });
    const agent = await fleet.agent(config);
    await agent.registered;
    expect(asked).toBe(5);
    principal.wake();
  });
});

describe("a principal that is silent for longer than an agent tries, and then answers again", () => {
  test("gets its agent back: runs continue, and the agent exits with status 0", async () => {
    await using principal = await new ScriptedPrincipal().start();
    await using fleet = new Fleet();
    const go = join(fleet.directory, "go");
    const run = assignmentOf(workflowOf({ t: { run: `until [ -e ${go} ]; do sleep 0.01; done` } }));
    principal.onFetch = (id) => (id === principal.fetchIds[0] ? run : null);
    const agent = await fleet.agent(fleet.config(principal.ports, { ...quick, CDKTR_RETRY_ATTEMPTS: 2 }));
    await principal.until(() => statuses(principal).includes("task RUNNING"));
    let dropped = 0;
    principal.onHeartbeat = () => (++dropped <= 4 ? "drop" : undefined);
    // Another request for work follows only when the agent takes the principal for up again.
    const asked = principal.fetchIds.length;
    await principal.until(() => dropped > 4 && principal.fetchIds.length > asked);
    writeFileSync(go, "");
    await principal.until(() => {
      principal.wake();
      return statuses(principal).includes("run COMPLETED");
    });
    agent.drain();
    principal.wake();
    expect(await agent.done).toBe(0);
    expect(principal.descriptions).toHaveLength(1);
  });
});

describe("a principal of another version", () => {
  const info = (id: string, version: number, oldest: number, more: { readonly now_ms?: number } = {}) =>
    encodeReply(
      "SUCCESS",
      JSON.stringify({
        principal_id: id,
        version: "9.0.0",
        protocol: { version, oldest },
        pid: 1,
        started_at_ms: 0,
        host: "h",
        api_port: 1,
        logs_listening_port: 1,
        logs_publishing_port: 1,
        workflows: 0,
        invalid_workflow_files: [],
        runs: { pending: 0, running: 0 },
        history: { available: true, error: null },
        ...more,
      }),
    );

  test("is told by how much this agent's clock is ahead of its own, if it says what time it is", async () => {
    for (const [now_ms, from, to] of [
      [() => Date.now() + 3_600_000, -3_601_000, -3_599_000],
      [Date.now, 0, 0],
    ] as const) {
      await using principal = await new ScriptedPrincipal().start();
      await using fleet = new Fleet();
      principal.onInfo = () => info(principal.id, PROTOCOL.version, 1, { now_ms: now_ms() });
      await (await fleet.agent(fleet.config(principal.ports, quick))).registered;
      const { clock_ahead_ms = Number.NaN } = principal.descriptions[0] ?? {};
      expect(clock_ahead_ms).toBeGreaterThanOrEqual(from);
      expect(clock_ahead_ms).toBeLessThanOrEqual(to);
    }
  });

  test("that understands this agent is used, regardless of what else it understands", async () => {
    await using principal = await new ScriptedPrincipal().start();
    await using fleet = new Fleet();
    principal.onInfo = () => info(principal.id, 7, PROTOCOL.version);
    const agent = await fleet.agent(fleet.config(principal.ports, quick));
    await agent.registered;
    expect(principal.descriptions[0]?.protocol).toEqual(PROTOCOL);
    expect(principal.descriptions[0]?.clock_ahead_ms).toBeUndefined();
  });

  test("that does not is sent nothing, and the agent exits with a status on which no supervisor restarts it", async () => {
    await using principal = await new ScriptedPrincipal().start();
    await using fleet = new Fleet();
    principal.onInfo = () => info(principal.id, PROTOCOL.version + 2, PROTOCOL.version + 1);
    const agent = await fleet.agent(fleet.config(principal.ports, { ...quick, CDKTR_RETRY_ATTEMPTS: 1000 }));
    expect(await agent.done).toBe(2);
    expect(principal.descriptions).toEqual([]);
  });

  test("that does not know slices is told nothing while there is something to tell about one", async () => {
    await using principal = await new ScriptedPrincipal().start();
    await using fleet = new Fleet();
    const [first, second] = ["one", "two"].map((id) =>
      assignmentOf(workflowOf({ [id]: {} }), { slice: 1, tasks: [id], results: {} }),
    );
    const work = [first, second];
    principal.onFetch = () => work.shift() ?? null;
    // The ends of both are lost on the way to a principal that is about to be replaced.
    principal.onReport = (reports) =>
      reports.some(({ status }) => status === "COMPLETED") ? "drop" : undefined;
    let asked = 0;
    principal.onInfo = () => {
      asked++;
      return info(principal.id, 1, 1);
    };
    const config = fleet.config(principal.ports, { ...quick, CDKTR_RETRY_ATTEMPTS: 1000 });
    const agent = await fleet.agent(config);
    await agent.registered;
    await until(() => agent.runningWorkflows === 0 && work.length === 0, "both are over");
    const before = asked;
    const warn = spyOn(log, "warn");
    principal.id = crypto.randomUUID();
    // It does not answer at first: why the agent waits is told although it has waited before.
    principal.onInfo = () => {
      asked++;
      return asked === before + 1 ? "drop" : info(principal.id, 1, 1);
    };
    await principal.until(() => {
      principal.wake();
      return asked > before + 3;
    });
    const told = warn.mock.calls.map(([text]) => String(text)).filter((text) => text.includes("too new"));
    warn.mockRestore();
    expect(told).toEqual([expect.stringContaining("Upgrade the principal to cdktr")]);
    expect(principal.descriptions).toHaveLength(1);
    expect(principal.descriptions[0]?.protocol).toEqual({ version: PROTOCOL.version, oldest: 1 });
    // Upgraded again.
    principal.onReport = () => undefined;
    principal.onInfo = () => info(principal.id, 2, 1);
    await principal.until(() => {
      principal.wake();
      return statuses(principal).filter((status) => status === "run COMPLETED").length === 2;
    });
    expect(principal.descriptions[1]?.protocol).toEqual({ version: PROTOCOL.version, oldest: SLICES_SINCE });
    expect(principal.descriptions[1]?.running.map(({ slice }) => slice)).toEqual([1, 1]);
    agent.drain();
    principal.wake();
    expect(await agent.done).toBe(0);
  });

  test("that replaces the former one: runs continue, and are reported when a compatible one is back", async () => {
    await using principal = await new ScriptedPrincipal().start();
    await using fleet = new Fleet();
    const gate = join(fleet.directory, "gate");
    const run = assignmentOf(
      workflowOf({ t: { run: `while [ ! -e ${gate} ]; do sleep 0.02; done; touch ${fleet.directory}/ran` } }),
    );
    let given = false;
    principal.onFetch = () => {
      if (given) return null;
      given = true;
      return run;
    };
    const config = fleet.config(principal.ports, { ...quick, CDKTR_RETRY_ATTEMPTS: 1000 });
    const agent = await fleet.agent(config);
    await principal.until(() => {
      principal.wake();
      return statuses(principal).includes("task RUNNING");
    });
    // Another process answers now, of a version that is too new.
    principal.id = crypto.randomUUID();
    let asked = 0;
    principal.onInfo = () => {
      asked++;
      return info(principal.id, PROTOCOL.version + 2, PROTOCOL.version + 1);
    };
    await principal.until(() => {
      principal.wake();
      return asked >= 2;
    });
    expect(principal.descriptions).toHaveLength(1);
    expect(agent.runningWorkflows).toBe(1);
    writeFileSync(gate, "");
    expect(await agent.done).toBe(2);
    expect(ran(fleet)).toBe(true);
    expect(statuses(principal)).not.toContain("run COMPLETED");
    // The former one is put back.
    principal.onInfo = () => info(principal.id, PROTOCOL.version, PROTOCOL.oldest);
    const next = await fleet.agent(config);
    await principal.until(() => {
      principal.wake();
      return statuses(principal).includes("run COMPLETED");
    });
    expect(statuses(principal)).toEqual(["run RUNNING", "task RUNNING", "task COMPLETED", "run COMPLETED"]);
    next.drain();
  });

  test("that is restored in time gets the agent back with its runs", async () => {
    await using principal = await new ScriptedPrincipal().start();
    await using fleet = new Fleet();
    const gate = join(fleet.directory, "gate");
    const run = assignmentOf(workflowOf({ t: { run: `while [ ! -e ${gate} ]; do sleep 0.02; done` } }));
    let given = false;
    principal.onFetch = () => {
      if (given) return null;
      given = true;
      return run;
    };
    const agent = await fleet.agent(fleet.config(principal.ports, { ...quick, CDKTR_RETRY_ATTEMPTS: 1000 }));
    await principal.until(() => {
      principal.wake();
      return statuses(principal).includes("task RUNNING");
    });
    // More than one, when an answer came too late.
    const registrations = principal.descriptions.length;
    principal.id = crypto.randomUUID();
    let asked = 0;
    principal.onInfo = () =>
      ++asked < 3
        ? info(principal.id, PROTOCOL.version + 2, PROTOCOL.version + 1)
        : info(principal.id, PROTOCOL.version, PROTOCOL.oldest);
    await principal.until(() => {
      principal.wake();
      return principal.descriptions.length > registrations;
    });
    expect(principal.descriptions.at(-1)?.running).toEqual([
      { workflow_instance_id: run.workflow_instance_id, slice: 0, attempt: run.attempt },
    ]);
    // Until it has the answer, it would end with its last run.
    await agent.signals.until("phase", () => agent.phase === "UP");
    writeFileSync(gate, "");
    await principal.until(() => {
      principal.wake();
      return statuses(principal).includes("run COMPLETED");
    });
    agent.drain();
    await principal.until(() => {
      principal.wake();
      return agent.runningWorkflows === 0;
    });
    expect(await agent.done).toBe(0);
  });
});
