import { existsSync } from "node:fs";
import { basename, extname, resolve } from "node:path";
import { InvalidInputError, NotFoundError } from "../errors.ts";
import { NOT_A_LISTENER } from "../events/event-listener.ts";
import { SupervisedListener } from "../events/supervised-listener.ts";
import { ownExecutable } from "../host/self.ts";
import { drainLog, log, setLogLevel } from "../log.ts";
import { listenerPages } from "../metrics/listener-pages.ts";
import { MetricsServer } from "../metrics/metrics-server.ts";
import { nativeLibraryPath } from "../native/libraries.ts";
import { listenerRunnerPath } from "../native/listener-runner.ts";
import { connect } from "../protocol/connect.ts";
import { stopServices } from "../service.ts";
import { command } from "./support/command.ts";
import { settings } from "./support/connect.ts";
import { listenerArgs, principalArg } from "./support/globals.ts";
import { onStopSignals } from "./support/signals.ts";

export default command({
  meta: { name: "listen", description: "Run an event listener written in TypeScript" },
  args: {
    file: {
      type: "positional",
      required: true,
      description: "The file; its default export is a class that extends EventListener",
    },
    name: {
      type: "string",
      valueHint: "NAME",
      description: "Name in the trigger of its runs, listener:NAME (else the name of the class)",
    },
    ...listenerArgs,
    ...principalArg,
  },
  extras: {
    completes: { file: "file" },
    details:
      'This executable runs the file; no other runtime is needed. `import … from "cdktr"` gives what it carries, other packages come from node_modules beside the file. A listener that fails is started again, after a pause that grows. TERM or Ctrl-C ends it with status 0.',
    topic: "listeners",
    examples: [
      { command: "cdktr listen doorbell.ts", does: "for the principal on this host" },
      {
        command: "cdktr listen doorbell.ts --name front-door --principal 10.0.0.5:5561",
        does: "with another name, for a principal on another host",
      },
    ],
  },
  async run({ args }) {
    const { values: config } = settings(args.principal, {
      CDKTR_APP_DATA_DIRECTORY: args["data-dir"],
      CDKTR_LISTENER_METRICS_PORT: args["metrics-port"],
    });
    setLogLevel(config.CDKTR_LOG_LEVEL);
    const file = resolve(args.file);
    if (!existsSync(file)) throw new NotFoundError(`There is no file ${file}.`);
    const listener = new SupervisedListener({
      name: args.name ?? basename(file, extname(file)),
      log,
      client: connect(config, "client"),
      command: () => [
        ownExecutable(),
        // Files in the working directory must not affect what is run.
        "--no-install",
        "--no-env-file",
        "--config=/dev/null",
        listenerRunnerPath(),
        file,
        ...(args.name === undefined ? [] : [args.name]),
      ],
      env: {
        ...process.env,
        BUN_BE_BUN: "1",
        CDKTR_LIBZMQ: nativeLibraryPath("libzmq"),
        CDKTR_LOG_LEVEL: config.CDKTR_LOG_LEVEL,
        CDKTR_PRINCIPAL_HOST: config.CDKTR_PRINCIPAL_HOST,
        CDKTR_PRINCIPAL_PORT: String(config.CDKTR_PRINCIPAL_PORT),
        CDKTR_PRINCIPALS: config.CDKTR_PRINCIPALS,
        CDKTR_DEFAULT_ZMQ_TIMEOUT_MS: String(config.CDKTR_DEFAULT_ZMQ_TIMEOUT_MS),
        CDKTR_APP_DATA_DIRECTORY: config.CDKTR_APP_DATA_DIRECTORY,
        CDKTR_KEY_FILE: config.CDKTR_KEY_FILE,
      },
    });
    const metrics = new MetricsServer({
      port: config.CDKTR_LISTENER_METRICS_PORT,
      setting: "--metrics-port or CDKTR_LISTENER_METRICS_PORT",
      log: log.withTag("metrics"),
      ...listenerPages(() => [listener.status]),
    });
    const ignoreSignals = onStopSignals(() => void listener.stop());
    await metrics.start();
    await listener.start();
    const outcome = await listener.done;
    await stopServices([metrics, listener]);
    ignoreSignals();
    await drainLog();
    if (outcome === NOT_A_LISTENER) throw new InvalidInputError(`${file} cannot be run as a listener.`);
  },
});
