/** A mail server: aiosmtpd, from PyPI. */
import { join } from "node:path";
import { pythonWith } from "./python.ts";
import { until } from "./until.ts";

const AIOSMTPD = "aiosmtpd==1.4.6";

/** A mail as it arrived. */
export interface ReceivedMail {
  readonly mail_from: string;
  readonly recipients: readonly string[];
  /** Whether it came over TLS. */
  readonly tls: boolean;
  /** Who had logged in. */
  readonly login: string | null;
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly text: string | null;
  readonly html: string | null;
}

/** How the server behaves. */
export interface SmtpSettings {
  /** TLS from the beginning, or after STARTTLS, which it insists on; none by default. */
  readonly tls?: "implicit" | "starttls";
  /** Paths of PEM files. */
  readonly certificate?: string;
  readonly key?: string;
  /** The user and the password that it insists on. */
  readonly login?: readonly [user: string, password: string];
  /** What it answers to the first mails, such as `450 4.2.0 greylisted`, before it takes any. */
  readonly refusals?: readonly string[];
  /** What it answers to recipients. */
  readonly recipients?: Readonly<Record<string, string>>;
  /** By default any. */
  readonly port?: number;
}

/** A running server; it is ended at the end of the scope. */
export class SmtpServer implements AsyncDisposable {
  readonly port: number;
  readonly mails: ReceivedMail[] = [];
  /** Refused logins and mails. */
  refusals = 0;
  readonly #process: Bun.Subprocess;

  private constructor(process: Bun.Subprocess, port: number) {
    this.#process = process;
    this.port = port;
  }

  static async start(settings: SmtpSettings = {}): Promise<SmtpServer> {
    const python = await pythonWith([AIOSMTPD]);
    const process = Bun.spawn([python, join(import.meta.dir, "smtp-server.py"), JSON.stringify(settings)], {
      // Closed when this process ends, however that ends.
      stdin: "pipe",
      stdout: "pipe",
      stderr: "pipe",
    });
    const errors = new Response(process.stderr).text();
    const lines = linesOf(process.stdout);
    const first = await lines.next();
    if (first.done === true) throw new Error(`aiosmtpd ended: ${await errors}`);
    const server = new SmtpServer(process, JSON.parse(first.value).port);
    void server.#listen(lines);
    return server;
  }

  /** Waits for a number of mails, and gives all that there are. */
  async received(count: number): Promise<readonly ReceivedMail[]> {
    await until(`${count} mails`, () => this.mails.length >= count);
    return this.mails;
  }

  async #listen(lines: AsyncIterable<string>): Promise<void> {
    for await (const line of lines) {
      const { event, ...rest } = JSON.parse(line);
      if (event === "mail") this.mails.push(rest);
      else this.refusals++;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill("SIGKILL");
    await this.#process.exited;
  }
}

async function* linesOf(stream: ReadableStream<Uint8Array>): AsyncGenerator<string, undefined> {
  let rest = "";
  const decoder = new TextDecoder();
  for await (const chunk of stream) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split("\n");
    rest = lines.pop() ?? "";
    yield* lines;
  }
}
