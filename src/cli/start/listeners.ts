import { DeclaredTriggers } from "../../events/declared/declared-triggers.ts";
import { log, setLogLevel } from "../../log.ts";
import { loadCurveKeys } from "../../protocol/key-file.ts";
import { Supervisor } from "../../systemd/notify.ts";
import { command } from "../support/command.ts";
import { settings } from "../support/connect.ts";
import { principalArg } from "../support/globals.ts";
import { drainStderr } from "../support/report.ts";
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
    "data-dir": {
      type: "string",
      valueHint: "DIR",
      description: "Where triggers wait while the principal is away (else CDKTR_APP_DATA_DIRECTORY)",
    },
    ...principalArg,
  },
  extras: {
    details:
      "Webhooks, watched files and runs of other workflows, as workflow files declare them under on:. The principal serves them itself unless it was started with --no-listeners; this command serves them on another host, or apart from it. Runs in the foreground until TERM or Ctrl-C.",
    topic: "listeners",
    examples: [
      {
        command: "cdktr start listeners --principal 10.0.0.5:5561 --port 8080",
        does: "on another host, beside `start principal --no-listeners`",
      },
    ],
  },
  async run({ args }) {
    const { values: config } = settings(args.principal, {
      CDKTR_WEBHOOK_HOST: args.host,
      CDKTR_WEBHOOK_PORT: args.port,
      CDKTR_APP_DATA_DIRECTORY: args["data-dir"],
    });
    setLogLevel(config.CDKTR_LOG_LEVEL);
    const supervisor = new Supervisor();
    const stop = Promise.withResolvers<void>();
    const ignoreSignals = onStopSignals(() => {
      supervisor.stopping("stopping; what is not delivered stays on disk");
      stop.resolve();
    });
    const triggers = new DeclaredTriggers(config, () => loadCurveKeys(config, "client"));
    try {
      await triggers.start();
      const principal = `${config.CDKTR_PRINCIPAL_HOST}:${config.CDKTR_PRINCIPAL_PORT}`;
      // Also without the principal: what waits on disk must not wait for a start that succeeds.
      supervisor.ready(
        () => `listeners for the principal at ${principal}: ${triggers.summary}`,
        async () => triggers.isWell,
      );
      log.info(`Serving what the workflows of ${principal} declare`);
      await stop.promise;
      await triggers.stop();
      log.info("The listeners have ended.");
    } finally {
      supervisor.close();
      ignoreSignals();
      await drainStderr();
    }
  },
});
