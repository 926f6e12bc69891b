/** Runs workflows after runs of others, as declared with `on: workflow`. */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ConsolaInstance } from "consola";
import { followUpKey } from "../../contract/follow-ups.ts";
import type { FollowUpPage } from "../../contract/messages.ts";
import { errorMessage } from "../../errors.ts";
import { RequestRefusedError } from "../../protocol/client.ts";
import { BackOff, pause } from "../../timer.ts";
import type { DeclaredWorkflow } from "./declaration-source.ts";
import { DeclaredListener } from "./declared-listener.ts";
import type { WorkflowFeed } from "./workflow-feed.ts";

/** Maximum duration of a long poll, ms. A dead principal is noticed within this time. */
const WAIT_MS = 5000;
const FIRST_RETRY_MS = 100;
const LAST_RETRY_MS = 2000;

/** Where a position is kept that several hosts share. */
export interface SharedCursor {
  read(): Promise<string | undefined>;
  write(cursor: string): Promise<void>;
}

/** What it needs. */
export interface AfterWorkflowOptions {
  readonly log: ConsolaInstance;
  /** Directory in which it stores its position, so that runs that end while it is down count. */
  readonly directory: string;
  /** Where it stores its position instead, if another host may go on. */
  readonly cursor?: SharedCursor | undefined;
  /** Where it gets the workflows from; by default it reads them itself. */
  readonly feed?: WorkflowFeed;
}

/** The listener. The principal records what must follow, and this works through that list. */
export class AfterWorkflowListener extends DeclaredListener {
  override readonly name = "workflow";
  readonly #directory: string;
  readonly #file: string;
  readonly #shared: SharedCursor | undefined;
  #workflows = new Map<string, DeclaredWorkflow>();

  constructor(options: AfterWorkflowOptions) {
    super(options.log, options.feed);
    this.#directory = options.directory;
    this.#file = join(options.directory, "cursor");
    this.#shared = options.cursor;
  }

  protected override get trigger(): string {
    return "workflow";
  }

  override async startListening(): Promise<void> {
    await Promise.all([super.startListening(), this.#follow()]);
  }

  protected override take(workflows: readonly DeclaredWorkflow[]): void {
    this.#workflows = new Map(workflows.map((workflow) => [workflow.id, workflow]));
  }

  async #follow(): Promise<void> {
    const { signal } = this;
    let cursor: string | undefined;
    let isRead = false;
    const backOff = new BackOff(FIRST_RETRY_MS, LAST_RETRY_MS);
    let told = false;
    while (!signal.aborted) {
      try {
        // A state that was that of one principal comes with the file.
        if (!isRead) cursor = (await this.#shared?.read()) ?? this.#read();
        isRead = true;
        const page = await this.client.call("LSFOLLOWUPS", { cursor, wait_ms: WAIT_MS }, { signal });
        // In order; all are stored before the cursor is. If some come again, they have the same keys.
        await Promise.all(page.follow_ups.map((followUp) => this.#run(followUp)));
        if (page.cursor !== cursor) await (this.#shared ?? this).write(page.cursor);
        cursor = page.cursor;
        backOff.reset();
        told = false;
      } catch (error) {
        if (signal.aborted) return;
        const say = error instanceof RequestRefusedError && !told ? this.log.error : this.log.debug;
        say(`Workflows that follow finished runs cannot be triggered: ${errorMessage(error)}`);
        told ||= error instanceof RequestRefusedError;
        await pause(backOff.next(), signal);
      }
    }
  }

  async #run(followUp: FollowUpPage["follow_ups"][number]): Promise<void> {
    // A workflow that is not known here yet, or is gone by now: the principal decides.
    const workflow = this.#workflows.get(followUp.workflow_id) ?? (await this.#find(followUp.workflow_id));
    if (workflow === undefined) return;
    await this.fire(
      workflow,
      {
        workflow_id: followUp.after_workflow_id,
        workflow_instance_id: followUp.after_workflow_instance_id,
        status: followUp.after_status,
      },
      followUpKey(workflow.id, followUp.after_workflow_instance_id),
      followUp.trigger_depth === undefined ? {} : { triggerDepth: followUp.trigger_depth },
    );
  }

  async #find(id: string): Promise<DeclaredWorkflow | undefined> {
    try {
      return (await this.client.getWorkflow(id, { signal: this.signal })).summary;
    } catch (error) {
      if (!(error instanceof RequestRefusedError)) throw error;
      this.log.warn(`Workflow ${id} should run after another one, but no longer exists`);
      return undefined;
    }
  }

  #read(): string | undefined {
    try {
      return readFileSync(this.#file, "utf8") || undefined;
    } catch {
      // The first start.
      return undefined;
    }
  }

  /** Stores its position on this host. */
  async write(cursor: string): Promise<void> {
    try {
      mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
      writeFileSync(`${this.#file}.tmp`, cursor, { flush: true });
      renameSync(`${this.#file}.tmp`, this.#file);
    } catch (error) {
      // Continue in memory; after a restart the same follow-ups come again, with the same keys.
      this.log.error(`${this.#file} cannot be written: ${errorMessage(error)}`);
    }
  }
}
