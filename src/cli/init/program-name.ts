/** How this program is called from a shell. */
import { realpathSync } from "node:fs";
import { shellWord } from "../../project/next-steps.ts";
import { selfCommand } from "../support/self.ts";

/** `cdktr` where the shell finds this program by that name, else its path. */
export function programName(): string {
  const found = Bun.which("cdktr");
  const self = selfCommand();
  if (found !== null && self.length === 1 && realpathSync(found) === realpathSync(self[0] ?? ""))
    return "cdktr";
  return self.map(shellWord).join(" ");
}
