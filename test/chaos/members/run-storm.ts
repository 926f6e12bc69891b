/** Runs a storm in a network of its own. */
import { join } from "node:path";
import { insideLab } from "./lab.ts";
import type { MemberStormOptions, MemberStormResult } from "./storm.ts";

/**
 * Runs the chaos of an installation with several principals, and gives the account. Nothing is left running, also when this process is killed.
 * @param say told of each event as it happens
 * @throws Error when it could not be carried out
 */
export async function memberStorm(
  options: MemberStormOptions,
  say: (text: string) => void = () => {},
): Promise<MemberStormResult> {
  const driver = join(import.meta.dir, "storm-child.ts");
  const child = Bun.spawn(insideLab([process.execPath, "--no-env-file", driver, JSON.stringify(options)]), {
    stdin: "ignore",
    stdout: "pipe",
    stderr: "pipe",
  });
  const end = () => child.kill("SIGKILL");
  process.on("exit", end);
  try {
    let said = "";
    const listen = async () => {
      const decoder = new TextDecoder();
      for await (const chunk of child.stderr) {
        const text = decoder.decode(chunk, { stream: true });
        said += text;
        say(text);
      }
    };
    const [result, , code] = await Promise.all([new Response(child.stdout).text(), listen(), child.exited]);
    if (code !== 0) throw new Error(`the storm was not carried out:\n${said}`);
    return JSON.parse(result) as MemberStormResult;
  } finally {
    process.off("exit", end);
    end();
  }
}
