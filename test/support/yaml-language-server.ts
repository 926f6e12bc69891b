/** The YAML language server that editors use, driven over its standard input and output. */
import { join } from "node:path";

/** A problem that the editor underlines. */
export interface EditorProblem {
  readonly message: string;
  /** From 0. */
  readonly line: number;
}

interface Message {
  readonly id?: number;
  readonly method?: string;
  readonly params?: unknown;
  readonly result?: unknown;
  readonly error?: { readonly message: string };
}

/** The value of a key of the editor's settings. */
export type EditorSettings = Readonly<Record<string, unknown>>;

const SERVER = join(import.meta.dir, "../../node_modules/yaml-language-server/bin/yaml-language-server");

/** A language server with the settings of an editor. */
export class YamlLanguageServer implements AsyncDisposable {
  readonly #process: Bun.Subprocess<"pipe", "pipe", "inherit">;
  readonly #settings: EditorSettings;
  readonly #root: string;
  readonly #replies = new Map<number, PromiseWithResolvers<unknown>>();
  /** The problems of a document, once they are known. */
  readonly #problems = new Map<string, PromiseWithResolvers<readonly EditorProblem[]>>();
  #buffer: Buffer = Buffer.alloc(0);
  #lastId = 0;

  private constructor(root: string, settings: EditorSettings) {
    this.#root = root;
    this.#settings = settings;
    this.#process = Bun.spawn([process.execPath, SERVER, "--stdio"], {
      stdin: "pipe",
      stdout: "pipe",
      stderr: "inherit",
    });
    void this.#read();
  }

  /** @param root the directory that is open in the editor @param settings its settings, such as `yaml.schemas` */
  static async start(root: string, settings: EditorSettings): Promise<YamlLanguageServer> {
    const server = new YamlLanguageServer(root, settings);
    const uri = `file://${root}`;
    await server.#ask("initialize", {
      processId: process.pid,
      rootUri: uri,
      workspaceFolders: [{ uri, name: "project" }],
      capabilities: {
        workspace: { configuration: true, workspaceFolders: true },
        textDocument: { completion: { completionItem: { snippetSupport: true } }, publishDiagnostics: {} },
      },
    });
    server.#tell("initialized", {});
    server.#tell("workspace/didChangeConfiguration", { settings: server.#nested() });
    return server;
  }

  /** Opens a file of the directory with this text; it need not exist. Returns the problems that the editor shows. */
  async open(path: string, text: string): Promise<readonly EditorProblem[]> {
    const uri = `file://${join(this.#root, path)}`;
    const problems = Promise.withResolvers<readonly EditorProblem[]>();
    this.#problems.set(uri, problems);
    this.#tell("textDocument/didOpen", { textDocument: { uri, languageId: "yaml", version: 1, text } });
    return problems.promise;
  }

  /** What the editor offers in a file that was opened. @param line from 0 @param character from 0 */
  async completions(path: string, line: number, character: number): Promise<string[]> {
    const uri = `file://${join(this.#root, path)}`;
    const reply = await this.#ask("textDocument/completion", {
      textDocument: { uri },
      position: { line, character },
    });
    const { items } = reply as { readonly items: readonly { readonly label: string }[] };
    return items.map(({ label }) => label);
  }

  /** What the editor says about the word at a place. */
  async hover(path: string, line: number, character: number): Promise<string> {
    const uri = `file://${join(this.#root, path)}`;
    const reply = await this.#ask("textDocument/hover", {
      textDocument: { uri },
      position: { line, character },
    });
    return JSON.stringify(reply);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill();
    await this.#process.exited;
  }

  /** Settings as servers get them: `yaml.schemas` is `schemas` of `yaml`. */
  #nested(): Record<string, Record<string, unknown>> {
    const nested: Record<string, Record<string, unknown>> = {};
    for (const [name, value] of Object.entries(this.#settings)) {
      const [section = "", key = ""] = name.split(".");
      nested[section] = { ...nested[section], [key]: value };
    }
    return nested;
  }

  #ask(method: string, params: unknown): Promise<unknown> {
    const id = ++this.#lastId;
    const reply = Promise.withResolvers<unknown>();
    this.#replies.set(id, reply);
    this.#send({ id, method, params });
    return reply.promise;
  }

  #tell(method: string, params: unknown): void {
    this.#send({ method, params });
  }

  #send(message: Message): void {
    const body = Buffer.from(JSON.stringify({ jsonrpc: "2.0", ...message }));
    this.#process.stdin.write(`Content-Length: ${body.length}\r\n\r\n`);
    this.#process.stdin.write(body);
    this.#process.stdin.flush();
  }

  async #read(): Promise<void> {
    for await (const chunk of this.#process.stdout) {
      this.#buffer = Buffer.concat([this.#buffer, chunk]);
      for (;;) {
        const head = this.#buffer.indexOf("\r\n\r\n");
        if (head < 0) break;
        const length = Number(/Content-Length: (\d+)/i.exec(this.#buffer.toString("latin1", 0, head))?.[1]);
        const end = head + 4 + length;
        if (this.#buffer.length < end) break;
        const message: Message = JSON.parse(this.#buffer.toString("utf8", head + 4, end));
        this.#buffer = this.#buffer.subarray(end);
        this.#hear(message);
      }
    }
  }

  #hear({ id, method, params, result, error }: Message): void {
    if (method === undefined && id !== undefined) {
      const reply = this.#replies.get(id);
      this.#replies.delete(id);
      if (error === undefined) reply?.resolve(result);
      else reply?.reject(new Error(error.message));
    } else if (method === "workspace/configuration" && id !== undefined) {
      const { items } = params as { readonly items: readonly { readonly section: string }[] };
      const nested = this.#nested();
      this.#answer(
        id,
        items.map(({ section }) => nested[section] ?? null),
      );
    } else if (method === "textDocument/publishDiagnostics") {
      const { uri, diagnostics } = params as {
        readonly uri: string;
        readonly diagnostics: readonly { message: string; range: { start: { line: number } } }[];
      };
      const found = diagnostics.map(({ message, range }) => ({ message, line: range.start.line }));
      this.#problems.get(uri)?.resolve(found);
    } else if (id !== undefined) {
      this.#answer(id, null);
    }
  }

  #answer(id: number, result: unknown): void {
    this.#send({ id, result });
  }
}
