import { Agent } from "../../agent/agent.ts";
import { joinPrincipal, withJoinedPrincipal } from "../../agent/join.ts";
import { refuseAutomatic } from "../../agent/labels.ts";
import type { Config } from "../../config.ts";
import { UsageError } from "../../errors.ts";
import { keepDataPrivate } from "../../host/private-data.ts";
import { drainLog, log, setLogLevel } from "../../log.ts";
import { removeStaleFiles } from "../../native/stale-files.ts";
import { addressesText } from "../../protocol/connect.ts";
import { Supervisor } from "../../systemd/notify.ts";
import { Timer } from "../../timer.ts";
import { command, keyValues, repeated } from "../support/command.ts";
import { settings } from "../support/connect.ts";
import { plural } from "../support/format.ts";
import { principalArg } from "../support/globals.ts";
import { joinTokenOf } from "../support/join-token.ts";
import { onStopSignals } from "../support/signals.ts";

const PROGRESS_INTERVAL_MS = 1000;
/** Time an agent may need in addition to the grace period, to end processes and deliver what it has, ms. */
const LEAVING_MS = 60_000;

export default command({
  meta: { name: "agent", description: "Run an agent" },
  args: {
    "max-concurrent-workflows": {
      type: "string",
      valueHint: "N",
      description: "Maximum number of concurrent runs (else CDKTR_AGENT_MAX_CONCURRENCY)",
    },
    "max-tasks": {
      type: "string",
      valueHint: "N",
      description: "Maximum number of concurrent tasks (else CDKTR_AGENT_MAX_TASKS)",
    },
    suffix: { type: "string", valueHint: "S", description: "The agent's id becomes HOST-S" },
    label: { type: "string", valueHint: "K=V", description: "A label that describes this agent" },
    "data-dir": {
      type: "string",
      valueHint: "DIR",
      description: "Directory for undelivered reports and logs (else CDKTR_APP_DATA_DIRECTORY)",
    },
    join: {
      type: "string",
      valueHint: "TOKEN",
      description:
        "Get a key from the principal with a token from 'cdktr join-token create'; - reads it from stdin",
    },
    "join-only": { type: "boolean", description: "With --join: get the key, but do not start" },
    supervised: { type: "boolean", description: "Drain when stdin ends" },
    ...principalArg,
  },
  extras: {
    details:
      "Runs in the foreground. The first TERM or Ctrl-C drains it: it takes no new work, and its runs have CDKTR_AGENT_STOP_GRACE_S to finish; unfinished runs go to another agent. The second cancels its runs. While the principal is away, runs continue and their reports wait on disk.",
    repeatable: ["label"],
    hidden: ["supervised"],
    topic: "agents",
    examples: [
      { command: "cdktr start agent", does: "for the principal on this host" },
      {
        command: "cdktr start agent --principal 10.0.0.5:5561 --max-concurrent-workflows 10",
        does: "for a principal on another host",
      },
      {
        command: "cdktr start agent --join TOKEN",
        does: "on a new host, for a secured principal; later without --join",
      },
      {
        command: "cdktr start agent --suffix gpu --label gpu=a100 --label zone=b",
        does: "a second agent on this host",
      },
    ],
  },
  async run({ args, rawArgs }) {
    const labels = keyValues(repeated(rawArgs, "label"), "--label");
    refuseAutomatic(labels);
    const token = await joinTokenOf(args.join);
    const loaded = settings(args.principal, {
      CDKTR_AGENT_MAX_CONCURRENCY: args["max-concurrent-workflows"],
      CDKTR_AGENT_MAX_TASKS: args["max-tasks"],
      CDKTR_APP_DATA_DIRECTORY: args["data-dir"],
    });
    setLogLevel(loaded.values.CDKTR_LOG_LEVEL);
    if (token !== undefined) await joinPrincipal(token, loaded, args.suffix);
    if (args["join-only"]) {
      if (token === undefined)
        throw new UsageError("--join-only needs a token.", { hint: "--join TOKEN, or --join - for stdin." });
      await drainLog();
      return 0;
    }
    const config = withJoinedPrincipal(loaded);
    keepDataPrivate(config.CDKTR_APP_DATA_DIRECTORY, null, log);
    // Must happen before the agent captures the environment for its tasks.
    const supervisor = new Supervisor();
    const create = () =>
      new Agent({
        config,
        labels,
        sharesEnvironment: args.supervised === true,
        ...(args.suffix === undefined ? {} : { suffix: args.suffix }),
      });
    let agent = create();
    // Installed before the start, so that a signal during start-up is not missed.
    let started = false;
    let wanted = 0;
    const obey = () => {
      if (!started || wanted === 0) return;
      if (wanted === 1) drain(agent, supervisor);
      else cancel(agent);
    };
    const graceMs = config.CDKTR_AGENT_STOP_GRACE_S * 1000;
    const grace = new Timer(() => handOver(agent, supervisor, config));
    const ignoreSignals = onStopSignals((count) => {
      wanted = count;
      supervisor.stopping(
        count === 1 ? "draining: finishing its runs, taking no new ones" : "cancelling its runs",
        count === 1 ? graceMs + LEAVING_MS : LEAVING_MS,
      );
      if (count === 1) grace.in(graceMs);
      obey();
    });
    if (args.supervised) {
      onEndOfInput(() => {
        log.warn("The principal that started this agent is gone.");
        wanted = Math.max(1, wanted);
        obey();
      });
    }
    try {
      await agent.start();
    } catch (error) {
      await drainLog();
      throw error;
    }
    started = true;
    supervisor.ready(
      () => statusOf(agent, config),
      async () => agent.isWell,
    );
    removeStaleFiles(config.CDKTR_CACHE_DIRECTORY);
    log.info(
      `Agent ${agent.id} looks for work at ${addressesText(config)}: up to ${plural(config.CDKTR_AGENT_MAX_CONCURRENCY, "run")} with ${plural(config.CDKTR_AGENT_MAX_TASKS, "task")} at once.`,
    );
    obey();
    let status = await agent.done;
    if (agent.hasForeignId && wanted === 0) {
      log.info(`The id ${agent.id} belongs to an agent elsewhere: this one takes the name of its host.`);
      agent = create();
      await agent.start();
      obey();
      status = await agent.done;
    }
    supervisor.close();
    grace.cancel();
    progress?.cancel();
    ignoreSignals();
    log.info(`Agent ${agent.id} has stopped.`);
    await drainLog();
    return status;
  },
});

/** The status line of `systemctl status`. */
function statusOf(agent: Agent, config: Config): string {
  const principal = `principal at ${agent.principal}`;
  const running = plural(agent.runningWorkflows, "run");
  if (!agent.isConnected) return `agent ${agent.id}: looks for the ${principal}; ${running}`;
  if (agent.isDraining) return `agent ${agent.id}: draining, ${running} left, ${principal}`;
  return `agent ${agent.id}: ${running} of at most ${config.CDKTR_AGENT_MAX_CONCURRENCY}, ${principal}`;
}

let progress: Timer | undefined;

function drain(agent: Agent, supervisor: Supervisor): void {
  let told: number | undefined;
  const tell = () => {
    const running = agent.runningWorkflows;
    if (running === told || running === 0) return;
    supervisor.status(`draining: ${plural(running, "run")} left`);
    if (told === undefined) {
      log.info(
        `Waiting for ${plural(running, "run")} to finish, taking no new ones. A second signal cancels them.`,
      );
    } else log.info(`Waiting for ${plural(running, "run")} …`);
    told = running;
  };
  agent.drain();
  tell();
  progress = new Timer(tell);
  progress.every(PROGRESS_INTERVAL_MS);
}

/** The grace period for runs has expired. */
function handOver(agent: Agent, supervisor: Supervisor, config: Config): void {
  progress?.cancel();
  const running = plural(agent.runningWorkflows, "run");
  if (agent.runningWorkflows > 0) {
    log.warn(
      `${running} did not finish within ${config.CDKTR_AGENT_STOP_GRACE_S} s (CDKTR_AGENT_STOP_GRACE_S): handing over to another agent.`,
    );
  }
  supervisor.status(`handing over ${running}`);
  agent.handOver();
}

function cancel(agent: Agent): void {
  progress?.cancel();
  log.info(`Cancelling ${plural(agent.runningWorkflows, "run")}.`);
  agent.cancelAll();
}

function onEndOfInput(handle: () => void): void {
  process.stdin.once("end", handle);
  process.stdin.once("error", handle);
  process.stdin.resume();
}
