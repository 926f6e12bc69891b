/** A server that speaks S3: moto's, from PyPI. */
import { existsSync } from "node:fs";
import { mkdir, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { pythonWith } from "./python.ts";

const PACKAGES = ["moto[s3]==5.1.22", "flask==3.1.2", "flask-cors==6.0.1"];
const CACHE = join(import.meta.dir, "../../.cache");

/** A running server; it is ended at the end of the scope. */
export class Moto implements AsyncDisposable {
  readonly endpoint: string;
  readonly #process: Bun.Subprocess;

  private constructor(process: Bun.Subprocess, endpoint: string) {
    this.#process = process;
    this.endpoint = endpoint;
  }

  static async start(): Promise<Moto> {
    const server = Bun.spawn([join(await environment(), "bin/moto_server"), "-H", "127.0.0.1", "-p", "0"], {
      env: { ...Bun.env, PYTHONUNBUFFERED: "1", NO_COLOR: "1" },
      stdout: "pipe",
      stderr: "pipe",
    });
    let said = "";
    const decoder = new TextDecoder();
    for await (const chunk of server.stderr) {
      said += decoder.decode(chunk, { stream: true });
      const [, endpoint] = /Running on (http:\/\/127\.0\.0\.1:\d+)/.exec(said) ?? [];
      // Nobody reads the rest: it is a line for each request, and there are few.
      if (endpoint !== undefined) return new Moto(server, endpoint);
    }
    throw new Error(`moto_server ended: ${said}`);
  }

  /** Makes a bucket, and gives its name. */
  async bucket(): Promise<string> {
    const name = `cdktr-${crypto.randomUUID()}`;
    const reply = await fetch(`${this.endpoint}/${name}`, { method: "PUT" });
    if (!reply.ok) throw new Error(`no bucket: ${reply.status} ${await reply.text()}`);
    return name;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#process.exited;
  }
}

/** The environment with the server; it stays for later. */
async function environment(): Promise<string> {
  const target = join(CACHE, `moto-${Bun.hash(PACKAGES.join()).toString(36)}`);
  if (existsSync(target)) return target;
  const uv = join(dirname(await pythonWith(["uv"])), "uv");
  const fresh = `${target}-${process.pid}`;
  await mkdir(CACHE, { recursive: true });
  for (const command of [
    ["venv", "--relocatable", fresh],
    ["pip", "install", "--python", join(fresh, "bin/python"), ...PACKAGES],
  ]) {
    const made = Bun.spawn([uv, "--quiet", ...command], { stdout: "ignore", stderr: "pipe" });
    if ((await made.exited) !== 0)
      throw new Error(`no moto: ${await new Response(made.stderr as ReadableStream).text()}`);
  }
  // Somebody else may have been as quick.
  await rename(fresh, target).catch(() => rm(fresh, { recursive: true, force: true }));
  return target;
}
