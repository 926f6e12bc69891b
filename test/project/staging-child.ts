/** Writes a project and kills itself before the given step: `staging-child.ts TARGET STEP`. Prints the number of steps if it completes. */
import { Staging } from "../../src/project/staging.ts";

const [, , target = "", killAt = "0"] = process.argv;
let steps = 0;
const staging = Staging.open(target, () => {
  if (++steps === Number(killAt)) process.kill(process.pid, "SIGKILL");
});
staging.makePrivateDirectory(".data");
for (const name of ["a.txt", "b.txt", ".data/secret", "deep/down/c.txt", "kept/d.txt"])
  staging.write(name, `new ${name}`, name === ".data/secret" ? 0o600 : 0o644);
staging.commit();
staging.discard();
console.log(steps);
