import { type Config, sharedVariables } from "../../config.ts";
import { PrincipalUnreachableError, UnprocessableError } from "../../errors.ts";
import { reachableHost } from "../../host/addresses.ts";
import { keepDataPrivate } from "../../host/private-data.ts";
import { ownExecutable, selfCommand } from "../../host/self.ts";
import { SupervisedProcess } from "../../host/supervised-process.ts";
import { drainLog, log, setLogLevel } from "../../log.ts";
import { removeStaleFiles } from "../../native/stale-files.ts";
import type { Member } from "../../principal/cluster/member.ts";
import { HistoryProcess } from "../../principal/history/history-process.ts";
import { Principal, type PrincipalOptions } from "../../principal/principal.ts";
import { telemetrySettings } from "../../principal/telemetry/settings.ts";
import { connect } from "../../protocol/connect.ts";
import { type Service, startServices, stopServices } from "../../service.ts";
import { withoutPassword } from "../../storage/postgres/url.ts";
import { Supervisor } from "../../systemd/notify.ts";
import { hostAndPort } from "../../zmq/endpoint.ts";
import { command } from "../support/command.ts";
import { settings } from "../support/connect.ts";
import { plural } from "../support/format.ts";
import { onStopSignals } from "../support/signals.ts";

export default command({
  meta: { name: "principal", description: "Run the principal" },
  args: {
    "with-agent": { type: "boolean", description: "Run an agent next to it, restarted when it dies" },
    scheduler: { type: "boolean", default: true, negativeDescription: "Do not fire schedules" },
    listeners: {
      type: "boolean",
      default: true,
      negativeDescription: "Do not serve the triggers that workflow files declare under on:",
    },
    port: {
      type: "string",
      alias: "p",
      valueHint: "N",
      description: "Port of the API (else CDKTR_PRINCIPAL_PORT)",
    },
    host: {
      type: "string",
      valueHint: "ADDRESS",
      description: "Address to listen on (else CDKTR_PRINCIPAL_HOST)",
    },
    "logs-listening-port": {
      type: "string",
      valueHint: "N",
      description: "Port for the agents' log lines (else CDKTR_LOGS_LISTENING_PORT)",
    },
    "logs-publishing-port": {
      type: "string",
      valueHint: "N",
      description: "Port of the live log (else CDKTR_LOGS_PUBLISHING_PORT)",
    },
    "workflow-dir": {
      type: "string",
      valueHint: "DIR",
      description: "Directory of the workflow files (else CDKTR_WORKFLOW_DIR)",
    },
    "data-dir": {
      type: "string",
      valueHint: "DIR",
      description: "Directory of its state (else CDKTR_APP_DATA_DIRECTORY)",
    },
    "db-path": {
      type: "string",
      valueHint: "FILE",
      description: "The history database (else CDKTR_DB_PATH)",
    },
    insecure: {
      type: "boolean",
      description:
        "Without keys, serve every user of this host, and listen on other addresses than loopback: anyone who can reach the ports can run programs on the agents",
    },
  },
  extras: {
    details:
      "Runs in the foreground until TERM or Ctrl-C, then flushes everything to disk and exits with status 0; with --with-agent it first lets the agent finish its runs, unless a second signal cancels them.",
    topic: "getting-started",
    examples: [
      { command: "cdktr start principal --with-agent", does: "everything on one host" },
      {
        command: "cdktr start principal --workflow-dir /srv/workflows -p 6000",
        does: "another directory, another port",
      },
      {
        command: "cdktr start principal --host 10.0.0.5",
        does: "for agents on other hosts, after 'cdktr keys init'",
      },
    ],
  },
  async run({ args }) {
    const { values: config } = settings(undefined, {
      CDKTR_PRINCIPAL_HOST: args.host,
      CDKTR_PRINCIPAL_PORT: args.port,
      CDKTR_LOGS_LISTENING_PORT: args["logs-listening-port"],
      CDKTR_LOGS_PUBLISHING_PORT: args["logs-publishing-port"],
      CDKTR_WORKFLOW_DIR: args["workflow-dir"],
      CDKTR_APP_DATA_DIRECTORY: args["data-dir"],
      CDKTR_DB_PATH: args["db-path"],
    });
    setLogLevel(config.CDKTR_LOG_LEVEL);
    keepDataPrivate(config.CDKTR_APP_DATA_DIRECTORY, config.CDKTR_DB_PATH, log);
    const { settings: telemetry, problems } = telemetrySettings(sharedVariables());
    for (const problem of problems) log.warn(problem);
    // Must happen before the agent is started, which must not mistake this process's supervisor for its own.
    const supervisor = new Supervisor();
    const principal = await principalOf(config, {
      config,
      telemetry,
      insecure: args.insecure ?? false,
      scheduler: args.scheduler,
      listeners: args.listeners,
    });
    const agent = args["with-agent"]
      ? new SupervisedProcess({
          name: "agent",
          command: () => agentCommand(config),
          env: agentEnvironment(config),
          log,
          firstPauseMs: 1000,
          stopMs: config.CDKTR_AGENT_STOP_GRACE_S * 1000 + AGENT_LEAVING_MS,
          urgentStopMs: AGENT_LEAVING_MS,
        })
      : undefined;

    let isStopping = false;
    void agent?.done.then(() => {
      if (!isStopping) log.info("The agent has drained and exited; it is not restarted.");
    });

    // Installed before the start, so that a signal during start-up is not missed.
    const stop = Promise.withResolvers<void>();
    const ignoreSignals = onStopSignals((count) => {
      isStopping = true;
      if (count === 1) log.info("Stopping …");
      else if (agent !== undefined) log.info("Stopping without waiting for runs …");
      // The agent stops first, and may let its runs finish.
      supervisor.stopping(
        agent === undefined ? "stopping" : "stopping: its agent is finishing its runs",
        agent === undefined ? 0 : config.CDKTR_AGENT_STOP_GRACE_S * 1000 + LEAVING_MS,
      );
      agent?.requestStop();
      stop.resolve();
    });
    const services: Service[] = [principal];
    supervisor.starting("starting: opening the state and the history");
    try {
      await startServices(services);
      try {
        await Promise.race([principal.historyBound(), stop.promise]);
        // Not before, because it would take a run of a principal that has to give up.
        if (agent !== undefined) {
          await agent.start();
          services.push(agent);
        }
        // The agent is on its way meanwhile, and triggers are accepted.
        await Promise.race([principal.historySettled(), stop.promise]);
        if (!isStopping) {
          await Promise.race([announce(config, principal), stop.promise]);
          supervisor.ready(
            () => `listening on port ${principal.ports.api}`,
            () => answers(config, principal),
          );
          removeStaleFiles(config.CDKTR_CACHE_DIRECTORY);
        }
        await stop.promise;
      } finally {
        await stopServices(services);
        supervisor.close();
        ignoreSignals();
      }
      log.info("The principal has stopped.");
    } finally {
      await drainLog();
    }
  },
});

/** The principal, or one of several if the settings name a store for them. */
async function principalOf(
  config: Config,
  options: Omit<PrincipalOptions, "history">,
): Promise<Principal | Member> {
  const history = () =>
    new HistoryProcess({
      dataDirectory: config.CDKTR_APP_DATA_DIRECTORY,
      otherwise: async () => (await import("../../history/in-process.ts")).historyHere(),
      log: log.withTag("history"),
    });
  if (config.CDKTR_STORE_URL === "") return new Principal({ ...options, history: history() });
  const [{ Member }, { parseStoreUrl }] = await Promise.all([
    import("../../principal/cluster/member.ts"),
    import("../../storage/postgres/url.ts"),
  ]);
  const store = parseStoreUrl(config.CDKTR_STORE_URL, { passwordFile: config.CDKTR_STORE_PASSWORD_FILE });
  return new Member({ ...options, store, history, log });
}

/** Time allowed after the agent's grace period, for the agent to end its tasks and deliver everything, ms; then it is killed. */
const AGENT_LEAVING_MS = 60_000;
/** The same for the agent to leave and the principal to write everything, ms. */
const LEAVING_MS = 90_000;
/** Deadline for the principal's requests to itself: the ping that feeds systemd's watchdog, and the first one, ms. */
const PING_MS = 10_000;

/** Checks that requests are answered, by sending one like any client. */
async function answers(config: Config, { ports, ownKeys }: Principal | Member): Promise<boolean> {
  const client = connect(config, { keys: ownKeys }, { port: ports.api, timeoutMs: PING_MS });
  try {
    await client.ping();
    return true;
  } finally {
    await client.close();
  }
}

/** Reports the addresses and the number of workflows, which it asks for like any client: a host that is very busy may leave that open. */
async function announce(config: Config, principal: Principal | Member): Promise<void> {
  const { ports, ownKeys, isOpen } = principal;
  const client = connect(config, { keys: ownKeys }, { port: ports.api, timeoutMs: PING_MS });
  try {
    const info = await client.info().catch((error) => {
      if (error instanceof PrincipalUnreachableError) return null;
      // One of several answers, and none leads.
      if (error instanceof UnprocessableError) return undefined;
      throw error;
    });
    if (info === undefined) {
      log.warn(
        `${principal.title} serves ${hostAndPort(config.CDKTR_PRINCIPAL_HOST, ports.api)} and waits for a principal that leads.`,
      );
      return;
    }
    if (info === null) {
      log.warn(
        `The principal is ready at ${hostAndPort(config.CDKTR_PRINCIPAL_HOST, ports.api)}, but so busy that it has not answered its own first request within ${PING_MS / 1000} s. Is this host overloaded? 'cdktr doctor' shows more.`,
      );
      return;
    }
    const history = withoutPassword(config.CDKTR_HISTORY_URL) || config.CDKTR_DB_PATH;
    const files = info.invalid_workflow_files;
    const invalid = files.length;
    const waiting = files.reduce((sum, file) => sum + (file.waiting ?? 0), 0);
    log.success(
      [
        `${principal.title} ready at ${hostAndPort(config.CDKTR_PRINCIPAL_HOST, ports.api)}, log intake on port ${ports.logsListening}, live log on ${ports.logsPublishing}`,
        `  ${plural(info.workflows, "workflow")} in ${config.CDKTR_WORKFLOW_DIR}${invalid === 0 ? "" : `, ${plural(invalid, "invalid file")} not loaded`}${waiting === 0 ? "" : `, ${plural(waiting, "workflow")} below invalid settings not loaded`}`,
        ownKeys === undefined
          ? isOpen
            ? "  not secured: anyone who can reach these ports can run programs on the agents ('cdktr keys init')"
            : "  not secured: serves processes of this user and of root only ('cdktr keys init' to serve others)"
          : "  secured: encrypted, known keys only",
        `  data in ${config.CDKTR_APP_DATA_DIRECTORY}, history in ${history}`,
      ].join("\n"),
    );
  } finally {
    await client.close();
  }
}

function agentCommand(config: Config): string[] {
  const [, ...entry] = selfCommand();
  return [
    ownExecutable(),
    ...entry,
    "start",
    "agent",
    "--supervised",
    "--principal",
    hostAndPort(reachableHost(config.CDKTR_PRINCIPAL_HOST), config.CDKTR_PRINCIPAL_PORT),
    "--data-dir",
    config.CDKTR_APP_DATA_DIRECTORY,
  ];
}

/** Makes the agent's tasks use the same principal as the agent. */
function agentEnvironment(config: Config): Record<string, string | undefined> {
  return {
    ...process.env,
    CDKTR_PRINCIPAL_HOST: reachableHost(config.CDKTR_PRINCIPAL_HOST),
    CDKTR_PRINCIPAL_PORT: String(config.CDKTR_PRINCIPAL_PORT),
    CDKTR_PRINCIPALS: "",
    CDKTR_LOGS_LISTENING_PORT: String(config.CDKTR_LOGS_LISTENING_PORT),
    CDKTR_LOGS_PUBLISHING_PORT: String(config.CDKTR_LOGS_PUBLISHING_PORT),
    CDKTR_APP_DATA_DIRECTORY: config.CDKTR_APP_DATA_DIRECTORY,
  };
}
