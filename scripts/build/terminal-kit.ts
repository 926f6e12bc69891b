/**
 * Makes terminal-kit fit for a compiled executable. It loads two things by names that exist only at run time: its own modules
 * lazily, and the description of the terminal. Both become static here, and only what the terminal UI uses is taken along.
 */
import { readdirSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import type { BunPlugin } from "bun";

const LIBRARY = join(dirname(dirname(import.meta.dir)), "node_modules/terminal-kit/lib");

/** What `termkit.js` offers without its widgets, images and documents. */
const TERMKIT = `const termkit = {};
module.exports = termkit;
termkit.globalConfig = {};
Object.assign(termkit, require("./misc.js"), require("./detectTerminal.js"));
termkit.tty = require("./tty.js");
termkit.Palette = require("./Palette.js");
termkit.chroma = require("chroma-js");
termkit.Terminal = require("./Terminal.js");
termkit.createTerminal = termkit.Terminal.create;
`;

/** Widgets that `Terminal.js` hangs onto its prototype and nobody here calls. */
const WIDGETS =
  /require\( '\.\/(yesOrNo|inputField|fileInput|singleLineMenu|singleColumnMenu|gridMenu|progressBar|bar|slowTyping)\.js' \)/g;

/** The plugin for `Bun.build`. */
export function terminalKitPlugin(): BunPlugin {
  return {
    name: "cdktr-terminal-kit",
    setup(build) {
      build.onLoad({ filter: /terminal-kit\/lib\/termkit\.js$/ }, () => ({
        contents: TERMKIT,
        loader: "js",
      }));
      build.onLoad({ filter: /terminal-kit\/lib\/Terminal\.js$/ }, ({ path }) => ({
        contents: withStaticDescriptions(readFileSync(path, "utf8")),
        loader: "js",
      }));
    },
  };
}

/** Gives the computed `require` of terminal descriptions a table of all there are; an unknown name still throws. */
function withStaticDescriptions(source: string): string {
  const names = readdirSync(join(LIBRARY, "termconfig")).filter((name) => name.endsWith(".js"));
  const rows = names.map((name) => `${JSON.stringify(name)}: () => require("./termconfig/${name}")`);
  const table = `const descriptions = { ${rows.join(", ")} };
function description(name) {
  if (!Object.hasOwn(descriptions, name)) throw new Error("no description of " + name);
  return descriptions[name]();
}
`;
  const computed = "require( './termconfig/' + term.termconfigFile )";
  if (!source.includes(computed)) {
    throw new Error(
      `terminal-kit's Terminal.js no longer has "${computed}": look at scripts/build/terminal-kit.ts.`,
    );
  }
  const mended = source
    .replaceAll(computed, "description( term.termconfigFile )")
    .replace(WIDGETS, "undefined");
  return mended.replace('"use strict" ;', `"use strict" ;\n${table}`);
}
