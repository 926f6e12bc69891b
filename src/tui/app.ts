/** The terminal UI: wires terminal, state, feeds and keys together. */

import { appendFileSync, linkSync, rmSync, writeFileSync } from "node:fs";
import { resolve } from "node:path";
import type { Config } from "../config.ts";
import type { LogLine } from "../contract/log-line.ts";
import { errorMessage } from "../errors.ts";
import { type ArtifactFile, readArtifactFile } from "../protocol/artifact-files.ts";
import type { CurveClientKeys, PrincipalClient } from "../protocol/client.ts";
import { connect } from "../protocol/connect.ts";
import { pause, Timer } from "../timer.ts";
import { nodeId } from "../workflow/item-id.ts";
import { perform } from "./actions.ts";
import { alertText } from "./alert-text.ts";
import type { Effects } from "./effects.ts";
import { itemsInSight } from "./feeds/item-feed.ts";
import { LogFeed } from "./feeds/log-feed.ts";
import { PrincipalFeed } from "./feeds/principal-feed.ts";
import { dateTime } from "./format.ts";
import { initialState, newConnection, noData } from "./initial-state.ts";
import { pasteText, pressKey, useMouse } from "./keys/dispatch.ts";
import { workflowOfRun } from "./lists/list-ids.ts";
import { isShown } from "./logs/log-buffer.ts";
import { type LogSource, newLogView, nextMatch, sameSource } from "./logs/log-view.ts";
import { currentPage, listState } from "./navigation.ts";
import type { Canvas, Target } from "./screen/canvas.ts";
import { Renderer } from "./screen/renderer.ts";
import { Terminal } from "./screen/terminal.ts";
import type { PrincipalAddress, State } from "./state.ts";
import type { Store } from "./store.ts";
import { addToast } from "./toast.ts";
import { drawScreen } from "./views/screen.ts";

export interface AppOptions {
  readonly config: Config;
  readonly principals: readonly [PrincipalAddress, ...PrincipalAddress[]];
  /** The keys for connecting to a principal, if any. */
  readonly keysOf?: (address: PrincipalAddress) => CurveClientKeys | undefined;
  readonly colour: boolean;
  readonly unicode: boolean;
  readonly mouse: boolean;
}

/** Minimum interval between frames, ms; the first one after a pause is drawn at once. */
const FRAME_MS = 16;
const TICK_MS = 1000;
const DOUBLE_CLICK_MS = 400;
/** How long quitting waits for a slow terminal, ms. */
const FLUSH_MS = 500;
/** How long after the signal to stop this process goes on, once it is continued, ms. */
const STOPPING_MS = 50;
/** Of a file that is looked at: its beginning. */
const MOST_SHOWN_BYTES = 256 * 1024;
/** OSC 52 payloads larger than this are refused by many terminals. */
const MOST_COPIED = 74_000;

/** Runs until the user quits. */
export class App implements Store {
  readonly state: State;
  readonly #options: AppOptions;
  readonly #terminal: Terminal;
  readonly #renderer: Renderer;
  readonly #effects: Effects;
  readonly #done = Promise.withResolvers<void>();
  #client: PrincipalClient;
  #feed: PrincipalFeed;
  #logFeed: LogFeed | undefined;
  #canvas: Canvas | undefined;
  readonly #frame = new Timer(() => this.#draw());
  #drawnAt = 0;
  #dirty = false;
  #suspended = false;
  /** The terminal belongs to the shell for good. */
  #isOver = false;
  readonly #ticking = new Timer(() => this.#tick());
  #clicked: { target: string; at: number } | undefined;
  /** Background work that is awaited when the UI ends. */
  readonly #ending = new Set<Promise<unknown>>();

  constructor(options: AppOptions) {
    this.#options = options;
    this.#terminal = new Terminal(options, {
      key: (name) => this.update((state) => pressKey(state, name, this.#effects)),
      paste: (text) => this.update((state) => pasteText(state, text)),
      mouse: (event) =>
        this.update((state) => {
          const target = this.#canvas?.targetAt(event.x, event.y);
          const again = event.kind === "press" && this.#isDoubleClick(target);
          useMouse(state, event, target, again, this.#effects);
        }),
      resize: (width, height) => this.#resize(width, height),
    });
    this.#renderer = new Renderer(this.#terminal.abilities);
    this.state = initialState(options.principals, this.#terminal.width, this.#terminal.height, Date.now());
    this.#effects = this.#makeEffects();
    this.#client = this.#connect(options.principals[0]);
    this.#feed = this.#makeFeed();
    this.#terminal.onDrain = () => this.#schedule();
  }

  /** Resolves when the user has quit and the terminal is restored. */
  async run(): Promise<void> {
    const leave = () => this.#terminal.leave();
    // Crash output must appear on the user's normal screen.
    process.prependListener("uncaughtException", leave);
    process.prependListener("unhandledRejection", leave);
    process.once("exit", leave);
    const onContinue = () => this.#resume();
    const onStop = () => this.#suspend();
    process.on("SIGCONT", onContinue);
    process.on("SIGTSTP", onStop);
    try {
      this.#terminal.enter();
      this.#ticking.every(TICK_MS);
      await this.#feed.start();
      this.#draw();
      await this.#done.promise;
    } finally {
      this.#ticking.cancel();
      this.#frame.cancel();
      this.#suspended = true;
      // A process that was told to end while it was stopped would otherwise take the terminal again as it continues.
      this.#isOver = true;
      await this.#terminal.flush(FLUSH_MS);
      leave();
      process.off("uncaughtException", leave);
      process.off("unhandledRejection", leave);
      process.off("exit", leave);
      process.off("SIGCONT", onContinue);
      process.off("SIGTSTP", onStop);
      process.stdin.unref();
      this.#endFeeds();
      await Promise.all(this.#ending);
    }
  }

  quit(): void {
    this.#done.resolve();
  }

  update(change: (state: State) => void): void {
    const { state } = this;
    state.hostNow = Date.now();
    state.now = state.hostNow + state.data.aheadMs;
    change(state);
    if (state.quitting) {
      this.quit();
      return;
    }
    this.#followPage();
    this.#dirty = true;
    this.#schedule();
  }

  /** Advances the clock and the ages, even when no data arrives. */
  #tick(): void {
    if (performance.now() - this.#drawnAt > TICK_MS - 100) this.update(() => {});
  }

  #schedule(): void {
    if (!this.#dirty || this.#suspended || this.#frame.isSet || this.#terminal.busy) return;
    const wait = FRAME_MS - (performance.now() - this.#drawnAt);
    this.#frame.in(Math.max(0, wait));
  }

  #draw(): void {
    this.#frame.cancel();
    if (this.#suspended) return;
    this.#dirty = false;
    this.#drawnAt = performance.now();
    const canvas = drawScreen(this.state);
    this.#canvas = canvas;
    this.#remember(canvas);
    this.#terminal.write(this.#renderer.render(canvas));
  }

  /** Stores the positions of lists and texts that drawing has determined. */
  #remember(canvas: Canvas): void {
    const { state } = this;
    for (const [name, { top, height }] of canvas.reports) {
      state.heights[name] = height;
      if (name === "log") {
        state.log.top = top;
        state.log.height = height;
      } else if (name === "help") {
        if (state.overlay?.kind === "help" || state.overlay?.kind === "text") state.overlay.top = top;
      } else if (name in state.lists || !name.includes(":")) listState(state, name).top = top;
      if (name in state.scroll) state.scroll[name] = top;
    }
  }

  #resize(width: number, height: number): void {
    this.update((state) => {
      state.width = width;
      state.height = height;
    });
    this.#renderer.invalidate();
  }

  #isDoubleClick(target: Target | undefined): boolean {
    const name = JSON.stringify(target ?? null);
    const now = performance.now();
    const again = this.#clicked?.target === name && now - this.#clicked.at < DOUBLE_CLICK_MS;
    this.#clicked = again ? undefined : { target: name, at: now };
    return again;
  }

  // ---------------------------------------------------------------- principal and logs

  #connect(address: PrincipalAddress): PrincipalClient {
    const { config, keysOf } = this.#options;
    const keys = keysOf?.(address);
    this.state.reader = keys?.role === "viewer" ? (keys.name ?? "in use") : null;
    return connect(config, { keys }, address);
  }

  #makeFeed(): PrincipalFeed {
    const { config } = this.#options;
    return new PrincipalFeed({
      client: this.#client,
      store: this,
      intervalMs: config.CDKTR_TUI_STATUS_REFRESH_INTERVAL_MS,
      timeoutMs: config.CDKTR_DEFAULT_ZMQ_TIMEOUT_MS,
      regained: () => void this.#logFeed?.confirm(),
    });
  }

  #endFeeds(): void {
    for (const service of [this.#feed, this.#logFeed])
      if (service !== undefined) this.#inBackground(service.stop());
    this.#logFeed = undefined;
    this.#inBackground(this.#client.close());
  }

  #inBackground(work: Promise<unknown>): void {
    const settled = work.catch(() => {}).finally(() => this.#ending.delete(settled));
    this.#ending.add(settled);
  }

  #switchPrincipal(index: number): void {
    const { state } = this;
    const address = state.principals[index];
    if (address === undefined || index === state.principal) return;
    this.#endFeeds();
    state.principal = index;
    state.connection = newConnection(Date.now());
    state.data = noData();
    state.lists = {};
    state.unfolded = new Set();
    state.scroll = {};
    for (const pages of Object.values(state.pages)) pages.splice(1);
    state.log = newLogView({ kind: "all" });
    this.#client = this.#connect(address);
    this.#feed = this.#makeFeed();
    this.#inBackground(this.#feed.start());
  }

  #shown = "";

  /** Chooses what to fetch, based on what is shown. */
  #followPage(): void {
    const { state } = this;
    const page = currentPage(state);
    const shown = JSON.stringify([
      page,
      state.lists.workflows?.selected,
      itemsInSight(state),
      state.calendarShiftMs,
    ]);
    if (shown !== this.#shown) {
      this.#shown = shown;
      this.#feed.refresh();
    }
    const source = wantedLog(state);
    const { info } = state.data;
    if (source === null || info === null) return;
    if (this.#logFeed !== undefined && sameSource(this.#logFeed.source, source)) return;
    const before = this.#logFeed;
    if (before !== undefined) this.#inBackground(before.stop());
    this.#logFeed = new LogFeed({
      client: this.#client,
      store: this,
      info,
      source,
    });
    this.#inBackground(this.#logFeed.start());
  }

  // ---------------------------------------------------------------- effects

  #makeEffects(): Effects {
    return {
      perform: (action) => {
        const done = perform(this.#client, this, action).then(() => this.#feed.refresh());
        this.#inBackground(done);
      },
      switchPrincipal: (index) => this.#switchPrincipal(index),
      refresh: () => {
        this.#feed.refresh(true);
        addToast(this.state, "Refreshing everything");
      },
      showItemOutputs: (runId, taskId, index) =>
        this.#inBackground(this.#showItemOutputs(runId, taskId, index)),
      showAlert: (alertId) => this.#inBackground(this.#showAlert(alertId)),
      showFile: (file) => this.#inBackground(this.#showFile(file)),
      saveFile: (file, path) => this.#inBackground(this.#saveFile(file, path)),
      loadOlderLines: () => {
        if (this.#logFeed !== undefined) this.#inBackground(this.#logFeed.loadOlder());
      },
      searchOlderLines: () => this.#inBackground(this.#searchOlderLines()),
      copy: (text, what) => this.#copy(text, what),
      saveLog: (path) => this.#inBackground(this.#saveLog(path)),
      suspend: () => this.#suspend(),
      redraw: () => this.#renderer.invalidate(),
    };
  }

  #copy(text: string, what: string): void {
    const cut = text.slice(0, MOST_COPIED);
    // OSC 52: the terminal copies it to the clipboard of the machine the user sits at.
    this.#terminal.write(`\x1b]52;c;${Buffer.from(cut).toString("base64")}\x07`);
    addToast(this.state, `Copied ${what}`);
  }

  async #showItemOutputs(runId: string, taskId: string, index: number): Promise<void> {
    try {
      const [item] = await this.#client.listItems({
        ...{ workflow_instance_id: runId, task_id: taskId, limit: 1, outputs: true, before_index: index + 1 },
        ...(index === 0 ? {} : { after_index: index - 1 }),
      });
      this.update((state) => {
        if (item?.outputs == null) addToast(state, "This item has published nothing.");
        else {
          const title = nodeId(taskId, item.item_key);
          state.overlay = { kind: "text", title, text: JSON.stringify(item.outputs, null, 2), top: 0 };
        }
      });
    } catch (error) {
      this.update((state) => addToast(state, errorMessage(error), "bad"));
    }
  }

  async #showAlert(alertId: string): Promise<void> {
    try {
      const alert = await this.#client.call("GETALERT", { alert_id: alertId });
      this.update((state) => {
        state.overlay = { kind: "text", title: alert.subject, text: alertText(alert), top: 0 };
      });
    } catch (error) {
      this.update((state) => addToast(state, errorMessage(error), "bad"));
    }
  }

  async #showFile(artifact: ArtifactFile): Promise<void> {
    const { path, bytes } = artifact.file;
    try {
      const pieces: Buffer[] = [];
      for await (const piece of readArtifactFile(this.#client, artifact, { most: MOST_SHOWN_BYTES }))
        pieces.push(piece);
      const beginning = Buffer.concat(pieces);
      this.update((state) => {
        if (beginning.includes(0)) addToast(state, `${path} is not text; S saves it.`);
        else {
          const more =
            bytes > beginning.length ? `\n\n… ${bytes - beginning.length} more bytes; S saves it` : "";
          state.overlay = { kind: "text", title: path, text: `${beginning.toString()}${more}`, top: 0 };
        }
      });
    } catch (error) {
      this.update((state) => addToast(state, errorMessage(error), "bad"));
    }
  }

  async #saveFile(artifact: ArtifactFile, path: string): Promise<void> {
    const target = resolve(path);
    // Whole or not at all, and never over what is there.
    const partial = `${target}.${process.pid}.partial`;
    try {
      writeFileSync(partial, "", { flag: "wx" });
      for await (const piece of readArtifactFile(this.#client, artifact)) appendFileSync(partial, piece);
      linkSync(partial, target);
      this.update((state) => addToast(state, `Saved ${target}`, "good"));
    } catch (error) {
      const there = (error as NodeJS.ErrnoException).code === "EEXIST";
      const text = there ? `${target} already exists` : `Not saved: ${errorMessage(error)}`;
      this.update((state) => addToast(state, text, "bad"));
    } finally {
      rmSync(partial, { force: true });
    }
  }

  async #searchOlderLines(): Promise<void> {
    const feed = this.#logFeed;
    if (feed === undefined) return;
    const { search } = this.state.log.buffer;
    this.update((state) => {
      state.log.loadingOlder = true;
      addToast(state, `"${search}" is not in the loaded lines; searching the older ones …`);
    });
    try {
      const found = await feed.findOlder(search);
      this.update((state) => {
        if (found === null) addToast(state, `"${search}" is not in the log.`);
        else nextMatch(state.log, -1);
      });
    } catch (error) {
      this.update((state) => addToast(state, errorMessage(error), "bad"));
    } finally {
      this.update((state) => {
        state.log.loadingOlder = false;
      });
    }
  }

  async #saveLog(path: string): Promise<void> {
    const { state } = this;
    const { olderThere, buffer } = state.log;
    const file = resolve(path);
    const feed = this.#logFeed;
    let saved = 0;
    try {
      writeFileSync(file, "", { flag: "wx" });
      const pages = olderThere && feed !== undefined ? feed.everyLine() : [buffer.shown];
      for await (const page of pages) {
        const lines = page.filter((line) => isShown(line, buffer.filter));
        appendFileSync(file, lines.map(savedLine).join(""));
        saved += lines.length;
      }
      this.update(() => addToast(state, `Saved ${saved} lines to ${file}`, "good"));
    } catch (error) {
      const there = (error as NodeJS.ErrnoException).code === "EEXIST";
      const part = saved === 0 ? "" : ` (${file} has ${saved} lines)`;
      const text = there ? `${file} already exists` : `Not saved whole: ${errorMessage(error)}${part}`;
      this.update(() => addToast(state, text, "bad"));
    }
  }

  /** Suspends like Ctrl-Z: the terminal belongs to the shell until `fg`. A no-op without a shell to return to. */
  #suspend(): void {
    if (this.#suspended) return;
    this.#suspended = true;
    this.#inBackground(this.#terminal.flush(FLUSH_MS).then(() => this.#stopProcess()));
  }

  async #stopProcess(): Promise<void> {
    if (this.#isOver) return;
    this.#terminal.leave();
    const listeners = process.listeners("SIGTSTP");
    process.removeAllListeners("SIGTSTP");
    process.kill(process.pid, "SIGTSTP");
    await pause(STOPPING_MS);
    for (const listener of listeners) process.on("SIGTSTP", listener);
    this.#resume();
  }

  #resume(): void {
    if (!this.#suspended || this.#isOver) return;
    this.#suspended = false;
    this.#terminal.enter();
    this.#renderer.invalidate();
    this.update(() => {});
  }
}

/** The log that the current page needs, if any. */
function wantedLog(state: State): LogSource | null {
  const page = currentPage(state);
  if (page.kind === "logs") return page.source;
  if (page.kind !== "run" || page.pane !== "log") return null;
  const workflowId = workflowOfRun(state, page.id);
  return workflowId === null ? null : { kind: "run", workflowId, runId: page.id };
}

/** A line as it is saved. */
function savedLine({ timestamp_ms, workflow_id, task_name, level, payload }: LogLine): string {
  const ms = String(timestamp_ms % 1000).padStart(3, "0");
  return `${dateTime(timestamp_ms)}.${ms} ${workflow_id} ${task_name} ${level} ${payload}\n`;
}
