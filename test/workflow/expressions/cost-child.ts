/** Parses a file, plans it, and prints which of the modules behind the door of expressions were loaded. */
import { parseWorkflow } from "../../../src/workflow/parse.ts";
import { planOf } from "../../../src/workflow/plan.ts";

const result = parseWorkflow(await Bun.stdin.text(), { path: "test.yml", id: "test" });
if (!result.ok) throw new Error(result.diagnostics.map(({ message }) => message).join("\n"));
planOf(result.definition);
const loaded = Object.keys(require.cache).filter((path) =>
  /expressions\/(index|compile)|cel-js|re2js/.test(path),
);
console.log(JSON.stringify({ language: result.definition.language ?? null, loaded: loaded.length > 0 }));
