import type { KnipConfig } from "knip";

/** Files of src/ that wait for their first user, who removes them from here; test/architecture.test.ts reads it too. */
export const WAITING = [];

/**
 * What knip looks for: `knip` finds exports that nothing imports, `knip --production` those that only tests import. A "!" marks
 * what is in the executable.
 */
const config: KnipConfig = {
  entry: [
    "src/main.ts!",
    // What users import, the process that runs their listeners, and examples for them.
    "src/sdk/typescript/{index,runner}.ts!",
    "src/sdk/examples/*.ts!",
    // Child processes of cdktr that run from its sources.
    "src/host/file-helper/main.ts!",
    "src/principal/workflows/reader-main.ts!",
    "src/history/main.ts!",
    // The sockets are a library, and its tests cover more of them than the rest uses.
    "src/zmq/index.ts!",
    ...WAITING.map((path) => `${path}!`),
    "scripts/*.ts",
    "test/**/*.test.ts",
    // Programs that scripts and tests start.
    "scripts/bench/echo-server.ts",
    "test/**/*-child.ts",
    "test/e2e/support/crash-ui.ts",
    "test/upgrade/record-files.ts",
  ],
  project: ["src/**/*.ts!", "scripts/**/*.ts", "test/**/*.ts"],
  // The native library of zeromq is embedded by its path; scripts/bootstrap.mjs finds bun, and a test the language server, by its path.
  ignoreDependencies: ["zeromq", "bun", "yaml-language-server"],
  // Tests may look at a constant that its own file uses.
  ignoreExportsUsedInFile: process.argv.includes("--production"),
};

export default config;
