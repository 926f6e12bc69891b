import { DeclaredTriggers } from "../../events/declared/declared-triggers.ts";
import { keepDataPrivate } from "../../host/private-data.ts";
import { drainLog, log, setLogLevel } from "../../log.ts";
import { listenerPages } from "../../metrics/listener-pages.ts";
import { MetricsServer } from "../../metrics/metrics-server.ts";
import { addressesText, connect } from "../../protocol/connect.ts";
import { loadCurveKeys } from "../../protocol/key-file.ts";
import { startServices, stopServices } from "../../service.ts";
import { Supervisor } from "../../systemd/notify.ts";
import { command } from "../support/command.ts";
import { settings } from "../support/connect.ts";
import { listenerArgs, principalArg } from "../support/globals.ts";
import { onStopSignals } from "../support/signals.ts";

export default command({
  meta: { name: "listeners", description: "Serve the triggers that workflow files declare" },
  args: {
    host: {
      type: "string",
      valueHint: "ADDRESS",
      description: "Address of the webhooks (else CDKTR_WEBHOOK_HOST)",
    },
    port: {
      type: "string",
      alias: "p",
      valueHint: "N",
      description: "Port of the webhooks (else CDKTR_WEBHOOK_PORT)",
    },
    ...listenerArgs,
    ...principalArg,
  },
  extras: {
    details:
      "Serves webhooks, file watches and triggers on other workflows, as declared under on: in workflow files. The principal serves them itself unless it was started with --no-listeners; this command serves them on another host, or in a separate process. Runs in the foreground until TERM or Ctrl-C.",
    topic: "listeners",
    examples: [
      {
        command: "cdktr start listeners --principal 10.0.0.5:5561 --port 8080",
        does: "on another host, with `start principal --no-listeners`",
      },
    ],
  },
  async run({ args }) {
    const { values: config } = settings(args.principal, {
      CDKTR_WEBHOOK_HOST: args.host,
      CDKTR_WEBHOOK_PORT: args.port,
      CDKTR_APP_DATA_DIRECTORY: args["data-dir"],
      CDKTR_LISTENER_METRICS_PORT: args["metrics-port"],
    });
    setLogLevel(config.CDKTR_LOG_LEVEL);
    keepDataPrivate(config.CDKTR_APP_DATA_DIRECTORY, null, log);
    const supervisor = new Supervisor();
    const stop = Promise.withResolvers<void>();
    const ignoreSignals = onStopSignals(() => {
      supervisor.stopping("stopping; undelivered triggers stay on disk");
      stop.resolve();
    });
    const keys = loadCurveKeys(config, "client");
    const triggers = new DeclaredTriggers({
      config,
      kinds: ["webhook", "file", "workflow"],
      connect: () => connect(config, { keys }),
      log,
    });
    const services = [
      new MetricsServer({
        port: config.CDKTR_LISTENER_METRICS_PORT,
        setting: "--metrics-port or CDKTR_LISTENER_METRICS_PORT",
        log: log.withTag("metrics"),
        ...listenerPages(() => triggers.statuses),
      }),
      triggers,
    ];
    try {
      await startServices(services);
      const principal = addressesText(config);
      // Ready even without the principal: triggers buffered on disk must not depend on a start that reaches it.
      supervisor.ready(
        () => `listeners for the principal at ${principal}: ${triggers.summary}`,
        async () => triggers.isWell(),
      );
      log.info(`Serving the triggers declared by the workflows of ${principal}`);
      await stop.promise;
      await stopServices(services);
      log.info("The listeners have stopped.");
    } finally {
      supervisor.close();
      ignoreSignals();
      await drainLog();
    }
  },
});
