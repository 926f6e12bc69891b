/**
 * The process of a user's listener: `bun runner.js FILE [NAME]`, started by `cdktr listen`. It instantiates the file's default
 * export, and exits when its parent says so or is gone.
 */

import { basename, extname } from "node:path";
import { pathToFileURL } from "node:url";
import { plugin } from "bun";
import { loadConfig } from "../../config.ts";
import { CdktrError, InvalidInputError } from "../../errors.ts";
import { EventListener, NOT_A_LISTENER } from "../../events/event-listener.ts";
import { ListenerService } from "../../events/listener-service.ts";
import { drainLog, log as processLog, setLogLevel } from "../../log.ts";
import { addressesText, connect } from "../../protocol/connect.ts";
import { Timer } from "../../timer.ts";
import * as sdk from "./index.ts";
import { forgetVariable } from "./own-environment.ts";

/** Bun's name for an anonymous class. */
const NAMELESS = /^(?:default|starDefault|.*_default)?$/;

/** How often state changes are reported to the parent, ms. */
const TELL_MS = 250;

const [file = "", givenName] = process.argv.slice(2);
// Child processes of the listener must not take themselves for Bun.
forgetVariable("BUN_BE_BUN");
// The channel on which the parent receives the listener's state.
forgetVariable("NODE_CHANNEL_FD");
forgetVariable("NODE_CHANNEL_SERIALIZATION_MODE");

plugin({
  name: "cdktr",
  setup: (build) => void build.module("cdktr", () => ({ exports: { ...sdk }, loader: "object" })),
});

/** @throws InvalidInputError when the file does not export a listener */
async function load(): Promise<EventListener> {
  let module: { readonly default?: unknown };
  try {
    module = await import(pathToFileURL(file).href);
  } catch (error) {
    throw new InvalidInputError(`${file} cannot be loaded.`, { cause: error });
  }
  const made = module.default;
  if (typeof made !== "function" || !(made.prototype instanceof EventListener)) {
    throw new InvalidInputError(`The default export of ${file} is not a listener.`, {
      hint: 'It needs: import { EventListener } from "cdktr"; export default class NAME extends EventListener { … }',
    });
  }
  const listener: EventListener = Reflect.construct(made, []);
  const name = givenName ?? (NAMELESS.test(listener.name) ? basename(file, extname(file)) : listener.name);
  if (name !== listener.name) Object.defineProperty(listener, "name", { value: name, enumerable: true });
  return listener;
}

async function main(): Promise<number> {
  const { values: config } = loadConfig();
  setLogLevel(config.CDKTR_LOG_LEVEL);
  let listener: EventListener;
  try {
    listener = await load();
  } catch (error) {
    tell(error);
    return NOT_A_LISTENER;
  }
  const log = processLog.withTag(listener.name);
  const service = new ListenerService({
    listener,
    log,
    dataDirectory: config.CDKTR_APP_DATA_DIRECTORY,
    client: connect(config, "client"),
  });
  const told = Promise.withResolvers<void>();
  for (const signal of ["SIGTERM", "SIGINT", "SIGHUP"] as const) process.on(signal, () => told.resolve());
  // The parent is gone, for whatever reason.
  process.stdin.once("end", () => told.resolve()).once("error", () => told.resolve());
  process.stdin.resume();

  let lastTold = "";
  const tellState = () => {
    const state = JSON.stringify(service.status);
    if (state !== lastTold) process.send?.(service.status);
    lastTold = state;
  };
  const telling = new Timer(tellState);
  telling.every(TELL_MS);
  let status = 0;
  try {
    await service.start();
    log.info(`Listening; triggers go to ${addressesText(config)} as listener:${listener.name}`);
    await Promise.race([service.done, told.promise]);
  } catch (error) {
    tell(error);
    status = 1;
  }
  telling.cancel();
  tellState();
  await service.stop();
  const { delivered, failed, buffered } = service.status;
  log.info(`Finished: ${delivered} triggers delivered, ${failed} refused, ${buffered} buffered on disk`);
  return status;
}

function tell(error: unknown): void {
  if (!(error instanceof CdktrError)) {
    processLog.error(Bun.inspect(error));
    return;
  }
  processLog.error(error.message);
  if (error.cause !== undefined) processLog.error(Bun.inspect(error.cause));
  if (error.hint !== undefined) processLog.info(error.hint);
}

async function exit(status: number): Promise<never> {
  await drainLog();
  process.exit(status);
}

// What a listener prints may be lost, for the same reasons as the log.
process.stdout.on("error", () => {});

// While main() is awaited, Bun only reports these and continues: a listener that lost a part of itself would look healthy.
for (const event of ["uncaughtException", "unhandledRejection"] as const) {
  process.on(event, (error: unknown) => {
    tell(error);
    void exit(1);
  });
}
await exit(await main());
