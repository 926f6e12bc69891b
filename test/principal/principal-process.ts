/** A principal in a separate process. */
import { join } from "node:path";

const CHILD = join(import.meta.dir, "principal-child.ts");

/** Starts a principal on the directory; resolves with its process and API port once it is ready. */
export async function startPrincipalProcess(
  directory: string,
): Promise<{ child: Bun.Subprocess; port: number }> {
  const child = Bun.spawn([process.execPath, CHILD, directory], { stdout: "pipe", stderr: "inherit" });
  let text = "";
  for await (const chunk of child.stdout) {
    text += new TextDecoder().decode(chunk);
    if (text.includes("\n")) return { child, port: Number(text) };
  }
  throw new Error(`the principal ended: ${await child.exited}`);
}
