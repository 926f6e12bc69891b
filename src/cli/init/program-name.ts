/** The name by which a shell can call this program. */
import { realpathSync } from "node:fs";
import { selfCommand } from "../../host/self.ts";
import { shellWord } from "../../project/next-steps.ts";

/** `cdktr` if the shell finds this program under that name, otherwise its path. */
export function programName(): string {
  const found = Bun.which("cdktr");
  const self = selfCommand();
  if (found !== null && self.length === 1 && realpathSync(found) === realpathSync(self[0] ?? ""))
    return "cdktr";
  return self.map(shellWord).join(" ");
}
