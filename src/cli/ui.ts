import { UsageError } from "../errors.ts";
import { loadCurveKeys } from "../protocol/key-file.ts";
import { command, repeated } from "./support/command.ts";
import { settings } from "./support/connect.ts";
import { principalsOf } from "./support/principals.ts";
import { onStopSignals } from "./support/signals.ts";

export default command({
  meta: { name: "ui", description: "Open the terminal UI" },
  args: {
    principal: {
      type: "string",
      valueHint: "[NAME=]HOST:PORT[,…]",
      description: "A principal to show, or the members of an installation; several can be switched between",
    },
    principals: {
      type: "string",
      valueHint: "FILE",
      description: "YAML file of named principals (default: principals.yml in the data directory)",
    },
    mouse: { type: "boolean", default: true, negativeDescription: "Leave the mouse to the terminal" },
    ascii: { type: "boolean", description: "Draw with ASCII characters only" },
  },
  extras: {
    repeatable: ["principal"],
    topic: "tui",
    details: "Press ? for the keys that are valid where you are, :q to quit.",
    examples: [
      { command: "cdktr ui", does: "the principal of this host" },
      {
        command: "cdktr ui --principal live=10.0.0.5:5561 --principal test=10.0.0.6:5561",
        does: "two principals; p switches",
      },
    ],
  },
  async run({ args, rawArgs }) {
    if (!process.stdin.isTTY || !process.stdout.isTTY) {
      throw new UsageError("The terminal UI needs a terminal on stdin and stdout.", {
        hint: "For scripts there are 'cdktr runs list --json', 'cdktr logs query' and the like.",
      });
    }
    const { App } = await import("../tui/app.ts");
    const config = settings(undefined).values;
    const principals = principalsOf(config, repeated(rawArgs, "principal"), args.principals);
    const load = ({ keyFile }: (typeof principals)[number]) =>
      loadCurveKeys(keyFile === undefined ? config : { ...config, CDKTR_KEY_FILE: keyFile }, "client");
    // Report problems with a file now: once the UI owns the terminal, nobody would see them.
    const keys = new Map(principals.map((address) => [address, load(address)]));
    const app = new App({
      config,
      principals,
      keysOf: (address) => keys.get(address),
      colour: !process.env.NO_COLOR && process.env.TERM !== "dumb",
      unicode: args.ascii !== true,
      mouse: args.mouse !== false,
    });
    const offSignals = onStopSignals(() => app.quit());
    try {
      await app.run();
    } finally {
      offSignals();
    }
    return 0;
  },
});
