import { Agent } from "../../agent/agent.ts";
import { joinPrincipal, withJoinedPrincipal } from "../../agent/join.ts";
import { log, setLogLevel } from "../../log.ts";
import { hideArgument } from "../../native/hide-argument.ts";
import { Supervisor } from "../../systemd/notify.ts";
import { command, keyValues, repeated } from "../support/command.ts";
import { settings } from "../support/connect.ts";
import { plural } from "../support/format.ts";
import { principalArg } from "../support/globals.ts";
import { drainStderr } from "../support/report.ts";
import { onStopSignals } from "../support/signals.ts";

const PROGRESS_INTERVAL_MS = 1000;

export default command({
  meta: { name: "agent", description: "Run an agent" },
  args: {
    "max-concurrent-workflows": {
      type: "string",
      valueHint: "N",
      description: "Runs at once (else CDKTR_AGENT_MAX_CONCURRENCY)",
    },
    "max-tasks": {
      type: "string",
      valueHint: "N",
      description: "Tasks at once (else CDKTR_AGENT_MAX_TASKS)",
    },
    suffix: { type: "string", valueHint: "S", description: "The agent's id becomes HOST-S" },
    label: { type: "string", valueHint: "K=V", description: "What this agent is or has, as others see it" },
    "data-dir": {
      type: "string",
      valueHint: "DIR",
      description: "Where it keeps what is not delivered yet (else CDKTR_APP_DATA_DIRECTORY)",
    },
    join: {
      type: "string",
      valueHint: "TOKEN",
      description:
        "Get a key from the principal with a token of 'cdktr join-token create'; - reads it from stdin",
    },
    supervised: { type: "boolean", description: "Drain when stdin ends" },
    ...principalArg,
  },
  extras: {
    details:
      "Runs in the foreground. The first TERM or Ctrl-C drains it: it finishes what runs and takes nothing new. The second cancels what runs. While the principal is away, runs go on and their reports wait on disk.",
    repeatable: ["label"],
    hidden: ["supervised"],
    topic: "agents",
    examples: [
      { command: "cdktr start agent", does: "for the principal on this host" },
      {
        command: "cdktr start agent --principal 10.0.0.5:5561 --max-concurrent-workflows 10",
        does: "for a principal elsewhere",
      },
      {
        command: "cdktr start agent --join TOKEN",
        does: "on a new host, for a secured principal; later without --join",
      },
      {
        command: "cdktr start agent --suffix gpu --label gpu=a100 --label zone=b",
        does: "a second one on this host",
      },
    ],
  },
  async run({ args, rawArgs }) {
    const labels = keyValues(repeated(rawArgs, "label"), "--label");
    const token = await joinTokenOf(args.join);
    const loaded = settings(args.principal, {
      CDKTR_AGENT_MAX_CONCURRENCY: args["max-concurrent-workflows"],
      CDKTR_AGENT_MAX_TASKS: args["max-tasks"],
      CDKTR_APP_DATA_DIRECTORY: args["data-dir"],
    });
    setLogLevel(loaded.values.CDKTR_LOG_LEVEL);
    if (token !== undefined) await joinPrincipal(token, loaded, args.suffix);
    const config = withJoinedPrincipal(loaded);
    // Before the agent takes the environment for its tasks.
    const supervisor = new Supervisor();
    const agent = new Agent({
      config,
      labels,
      ...(args.suffix === undefined ? {} : { suffix: args.suffix }),
    });
    // Before the start: whoever asks it to end while it starts must be heard.
    let started = false;
    let wanted = 0;
    const obey = () => {
      if (!started || wanted === 0) return;
      if (wanted === 1) drain(agent);
      else cancel(agent);
    };
    const ignoreSignals = onStopSignals((count) => {
      wanted = count;
      supervisor.stopping(count === 1 ? "finishing what runs, taking nothing new" : "cancelling what runs");
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
      await drainStderr();
      throw error;
    }
    started = true;
    supervisor.ready(
      `agent ${agent.id}, principal at ${config.CDKTR_PRINCIPAL_HOST}:${config.CDKTR_PRINCIPAL_PORT}`,
    );
    log.info(
      `Agent ${agent.id} looks for work at ${config.CDKTR_PRINCIPAL_HOST}:${config.CDKTR_PRINCIPAL_PORT}: up to ${plural(config.CDKTR_AGENT_MAX_CONCURRENCY, "run")} with ${plural(config.CDKTR_AGENT_MAX_TASKS, "task")} at once.`,
    );
    obey();
    const status = await agent.done;
    supervisor.close();
    ignoreSignals();
    log.info(`Agent ${agent.id} has ended.`);
    await drainStderr();
    return status;
  },
});

/** The token, which nobody sees in the list of processes from here on. */
async function joinTokenOf(given: string | undefined): Promise<string | undefined> {
  if (given !== "-") return given === undefined ? undefined : hideArgument(given);
  return (await Bun.stdin.text()).trim();
}

let progress: Timer | undefined;

function drain(agent: Agent): void {
  let told: number | undefined;
  const tell = () => {
    const running = agent.runningWorkflows;
    if (running === told || running === 0) return;
    if (told === undefined) {
      log.info(
        `Waiting for ${plural(running, "run")} to finish, taking nothing new. A second signal cancels.`,
      );
    } else log.info(`Waiting for ${plural(running, "run")} …`);
    told = running;
  };
  agent.drain();
  tell();
  progress = setInterval(tell, PROGRESS_INTERVAL_MS);
  progress.unref();
}

function cancel(agent: Agent): void {
  clearInterval(progress);
  log.info(`Cancelling ${plural(agent.runningWorkflows, "run")}.`);
  agent.cancelAll();
}

function onEndOfInput(handle: () => void): void {
  process.stdin.once("end", handle);
  process.stdin.once("error", handle);
  process.stdin.resume();
}
