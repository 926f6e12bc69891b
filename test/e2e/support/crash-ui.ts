/** The terminal UI with an error in it: after a moment something throws. */

import { loadConfig } from "../../../src/config.ts";
import { App } from "../../../src/tui/app.ts";

const config = loadConfig().values;
const { CDKTR_PRINCIPAL_HOST: host, CDKTR_PRINCIPAL_PORT: port } = config;
process.on("uncaughtException", (error) => {
  console.error(`caught: ${error.message}`);
  process.exit(1);
});
const app = new App({
  config,
  principals: [{ name: "one", host, port }],
  colour: true,
  unicode: true,
  mouse: true,
});
const timer = setInterval(() => {
  if (app.state.data.workflows === null) return;
  clearInterval(timer);
  throw new Error("a mistake inside");
}, 100);
await app.run();
