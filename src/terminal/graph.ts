/**
 * Draws the graph of a workflow's tasks with box characters, for terminals. Each row of boxes depends on rows above it; lines run
 * downwards, and a line that crosses another without meeting it goes over it.
 */
import { plainText } from "./foreign-text.ts";
import { Canvas, DOWN, type GraphLine, type GraphSpan, UP } from "./graph-canvas.ts";
import { type FoldOptions, foldTasks } from "./graph-fold.ts";
import { type Box, centerOf, type Item, type ItemNet, layOut, netsOf } from "./graph-layout.ts";
import type { GraphTask } from "./graph-task.ts";
import { fill, fit, width as widthOf } from "./text.ts";

export type { GraphLine, GraphSpan } from "./graph-canvas.ts";
export type { GraphTask } from "./graph-task.ts";

/** Options of a drawing. */
export interface GraphOptions {
  /** Available columns; 100 by default. */
  readonly width?: number;
  /** Folds a graph of very many tasks; without it, one that cannot be drawn becomes a list. */
  readonly fold?: FoldOptions;
}

/** Options for the drawing as one text. */
export interface DrawOptions extends GraphOptions {
  /** Colours the labels of the tasks. */
  readonly paint?: (text: string) => string;
}

/** With more tasks a drawing is useless, so a list is shown. */
const MOST_BOXES = 300;

/** From so many tasks on, a drawing with more lines than that is folded. */
const MANY_TASKS = 60;
const TALLEST_OF_MANY = 48;
/** Of a graph that is folded: the most tasks with a box of their own, and their longest names. */
const MOST_KEPT = 16;
const LONGEST_KEPT = 32;
/** Columns that the box for the others takes about, and those of a box and a gap beside its label. */
const WIDTH_OF_FOLD = 24;
const BESIDE_LABEL = 6;

/** Draws the graph as one text. */
export function drawGraph(tasks: readonly GraphTask[], options: DrawOptions = {}): string {
  const paint = options.paint ?? ((text: string) => text);
  return graphLines(tasks, options)
    .map((line) => line.map((span) => (span.task === null ? span.text : paint(span.text))).join(""))
    .join("\n");
}

/**
 * Draws the graph, line by line, with each label marked with its task. If it is too wide, tasks with the same dependencies and the same
 * dependents share a box, then labels are truncated; if that is not enough, it becomes a list.
 */
export function graphLines(tasks: readonly GraphTask[], options: GraphOptions = {}): GraphLine[] {
  const width = Math.max(20, options.width ?? 100);
  const dependents = dependentsOf(tasks);
  const attempts: { stacked: boolean; longest: number; notes?: boolean }[] = [
    ...(tasks.some(({ note }) => note !== undefined)
      ? [{ stacked: false, longest: width - 4, notes: true }]
      : []),
    { stacked: false, longest: width - 4 },
    { stacked: true, longest: width - 4 },
    { stacked: false, longest: 20 },
    { stacked: true, longest: 20 },
    { stacked: true, longest: 12 },
  ];
  for (const { stacked, longest, notes = false } of attempts) {
    const shown = notes ? tasks : tasks.map(({ note: _, ...task }) => task);
    const groups = groupTasks(shown, dependents, stacked, longest, width - 4);
    if (groups.length > MOST_BOXES) continue;
    const layers = layOut(
      groups.map((group) => group.box),
      width,
    );
    if (layers === null) continue;
    const lines = draw(layers, new Map(groups.map((group) => [group.box.key, group])));
    const isReadable = tasks.length < MANY_TASKS || lines.length <= TALLEST_OF_MANY;
    if (options.fold === undefined || isReadable) return lines;
  }
  return (options.fold && folded(tasks, width, options.fold)) ?? listLines(tasks, width);
}

/** The drawing with as many of the tasks that are worth a box as fit; null if not even the boxes for the others do. */
function folded(tasks: readonly GraphTask[], width: number, fold: FoldOptions): GraphLine[] | null {
  const kept = fittingTasks(tasks, fold.keep, width);
  for (let keep = kept.length; ; keep = Math.floor(keep * 0.7)) {
    const shown = foldTasks(tasks, new Set(kept.slice(0, keep)), fold.labelOf);
    const groups = groupTasks(shown, dependentsOf(shown), false, LONGEST_KEPT, width - 4);
    const boxes = groups.map((group) => group.box);
    const layers = groups.length > MOST_BOXES ? null : layOut(boxes, width);
    if (layers !== null) return draw(layers, new Map(groups.map((group) => [group.box.key, group])));
    if (keep === 0) return null;
  }
}

/** The first tasks of the list that fit into their rows, beside a box for the others. */
function fittingTasks(tasks: readonly GraphTask[], ids: readonly string[], width: number): string[] {
  const byId = new Map(tasks.map((task) => [task.id, task]));
  const left = new Map<number, number>();
  const fitting: string[] = [];
  for (const id of ids) {
    if (fitting.length === MOST_KEPT) break;
    const task = byId.get(id);
    if (task === undefined) continue;
    const room =
      (left.get(task.depth) ?? width - WIDTH_OF_FOLD) - widthOf(labelOf(task, LONGEST_KEPT)) - BESIDE_LABEL;
    if (room < 0) continue;
    left.set(task.depth, room);
    fitting.push(id);
  }
  return fitting;
}

/** The dependents of each task, in the order of the tasks. */
function dependentsOf(tasks: readonly GraphTask[]): ReadonlyMap<string, readonly string[]> {
  const dependents = new Map<string, string[]>(tasks.map(({ id }) => [id, []]));
  for (const { id, depends } of tasks) {
    for (const needed of new Set(depends)) dependents.get(needed)?.push(id);
  }
  return dependents;
}

interface Label {
  readonly task: string;
  readonly text: string;
}

interface Group {
  readonly box: Box;
  /** Row by row; several labels per row if there are many. */
  readonly rows: readonly (readonly Label[])[];
  /** Width of each column of labels. */
  readonly columns: readonly number[];
}

const LABEL_GAP = 2;
const TALLEST = 8;

function groupTasks(
  tasks: readonly GraphTask[],
  dependents: ReadonlyMap<string, readonly string[]>,
  stacked: boolean,
  longest: number,
  widest: number,
): Group[] {
  const waitFor = (id: string): readonly string[] => dependents.get(id) ?? [];
  const members = new Map<string, GraphTask[]>();
  const keyOf = new Map<string, string>();
  for (const task of tasks) {
    const key = stacked ? JSON.stringify([[...task.depends].sort(), [...waitFor(task.id)].sort()]) : task.id;
    const list = members.get(key);
    if (list === undefined) members.set(key, [task]);
    else list.push(task);
    keyOf.set(task.id, key);
  }
  return [...members].map(([key, group]) => {
    const labels = group.map((task) => ({ task: task.id, text: labelOf(task, longest) }));
    const { rows, columns } = arrange(labels, widest);
    const { id: first = "", depth = 0 } = group[0] ?? {};
    const targets = new Set(waitFor(first).map((id) => keyOf.get(id) ?? id));
    return {
      box: { key, layer: depth, width: innerWidth(columns) + 4, targets: [...targets] },
      rows,
      columns,
    };
  });
}

/** Labels in as many columns as keep the box low, if they fit. */
function arrange(labels: readonly Label[], widest: number): Pick<Group, "rows" | "columns"> {
  for (let count = Math.ceil(labels.length / TALLEST); ; count--) {
    const height = Math.ceil(labels.length / count);
    const rows: Label[][] = Array.from({ length: height }, () => []);
    for (const [index, label] of labels.entries()) rows[index % height]?.push(label);
    const columns = Array.from({ length: Math.ceil(labels.length / height) }, (_, column) =>
      Math.max(0, ...rows.map((row) => widthOf(row[column]?.text ?? ""))),
    );
    if (count <= 1 || innerWidth(columns) <= widest) return { rows, columns };
  }
}

function innerWidth(columns: readonly number[]): number {
  return columns.reduce((sum, column) => sum + column, 0) + LABEL_GAP * (columns.length - 1);
}

function labelOf(task: GraphTask, longest: number): string {
  const symbol = task.symbol === undefined ? "" : `${task.symbol} `;
  const note = task.note === undefined ? "" : ` ${plainText(task.note)}`;
  return symbol + fit(plainText(task.label ?? task.id), longest - widthOf(symbol) - widthOf(note)) + note;
}

function draw(layers: readonly Item[][], groups: ReadonlyMap<string, Group>): GraphLine[] {
  const canvas = new Canvas();
  let owner = 0;
  let top = 0;
  let arriving: readonly Port[] = [];
  for (const layer of layers) {
    const height = Math.max(...layer.map((item) => heightOf(item, groups)));
    for (const item of layer) {
      const group = item.box === null ? undefined : groups.get(item.box.key);
      const center = centerOf(item);
      if (group === undefined) {
        owner += 1;
        const entries = arriving.filter((port) => port.item === item).map((port) => port.x);
        canvas.line(Math.min(center, ...entries), top, Math.max(center, ...entries), top, owner);
        for (const x of entries) canvas.join(x, top, UP, owner);
        canvas.line(center, top, center, top + height - 1, owner);
        canvas.join(center, top + height - 1, DOWN, owner);
        continue;
      }
      const own = heightOf(item, groups);
      canvas.box(item.x, top, item.width, own);
      for (const port of arriving) if (port.item === item) canvas.join(port.x, top, UP, 0);
      for (const [row, labels] of group.rows.entries()) {
        let x = item.x + ((item.width - innerWidth(group.columns)) >> 1);
        for (const [column, label] of labels.entries()) {
          canvas.text(x, top + 1 + row, label.text, label.task);
          x += (group.columns[column] ?? 0) + LABEL_GAP;
        }
      }
      if (item.next.length === 0) continue;
      canvas.join(center, top + own - 1, DOWN, 0);
      if (own < height) {
        owner += 1;
        canvas.line(center, top + own, center, top + height - 1, owner);
        canvas.join(center, top + own, UP, owner);
        canvas.join(center, top + height - 1, DOWN, owner);
      }
    }
    top += height;
    const routed = route(layer);
    owner = drawChannel(canvas, routed, top, owner);
    top += routed.height;
    arriving = routed.ports;
  }
  return canvas.lines();
}

function heightOf(item: Item, groups: ReadonlyMap<string, Group>): number {
  return item.box === null ? 1 : 2 + (groups.get(item.box.key)?.rows.length ?? 1);
}

/** A net and its path. */
interface Net extends ItemNet {
  /** Columns where it enters its targets, in their order. */
  readonly entries: number[];
  /** Row of its horizontal part within the channel; null when it is one straight line. */
  track: number | null;
}

/** Where a net enters a box. */
interface Port {
  readonly item: Item;
  readonly x: number;
}

interface Channel {
  readonly nets: readonly Net[];
  readonly ports: readonly Port[];
  readonly height: number;
}

/** Routes the lines from a layer to the next. */
function route(layer: readonly Item[]): Channel {
  const nets = netsOf(layer).map((net) => ({ ...net, entries: [], track: null }));
  const ports = choosePorts(nets);
  return { nets, ports, height: assignTracks(nets) };
}

/**
 * The column where each net enters each of its targets: straight down if possible, otherwise the middle of the free range; never under
 * the end of another net, whose line would then seem to continue.
 */
function choosePorts(nets: readonly Net[]): Port[] {
  const arrivals = new Map<Item, Net[]>();
  const leaving = new Map<number, Net>();
  for (const net of nets) {
    for (const source of net.sources) leaving.set(centerOf(source), net);
    for (const target of net.targets) arrivals.set(target, [...(arrivals.get(target) ?? []), net]);
  }
  const columns = new Map<Net, Map<Item, number>>(nets.map((net) => [net, new Map()]));
  for (const [target, entering] of arrivals) {
    const middle = (net: Net) =>
      net.sources.reduce((sum, item) => sum + centerOf(item), 0) / net.sources.length;
    const ordered = [...entering].sort((a, b) => middle(a) - middle(b));
    const taken = new Set<number>();
    for (const [index, net] of ordered.entries()) {
      const spread = Math.round(((index + 1) * (target.width - 1)) / (ordered.length + 1));
      const straight =
        net.sources.length === 1 && net.sources[0] !== undefined ? centerOf(net.sources[0]) : null;
      const wanted =
        straight !== null && target.box !== null && isInside(target, straight)
          ? straight
          : ordered.length === 1
            ? centerOf(target)
            : target.x + spread;
      const x = nearestFree(target, wanted, net, taken, leaving);
      taken.add(x);
      columns.get(net)?.set(target, x);
    }
  }
  const ports: Port[] = [];
  for (const net of nets) {
    for (const target of net.targets) {
      const x = columns.get(net)?.get(target) ?? centerOf(target);
      net.entries.push(x);
      ports.push({ item: target, x });
    }
  }
  return ports;
}

function isInside(target: Item, x: number): boolean {
  return x > target.x && x < target.x + target.width - 1;
}

function nearestFree(
  target: Item,
  wanted: number,
  net: Net,
  taken: ReadonlySet<number>,
  leaving: ReadonlyMap<number, Net>,
): number {
  // The corners of a box are not suitable.
  const corner = target.box === null ? 0 : 1;
  const [first, last] = [target.x + corner, target.x + target.width - 1 - corner];
  const isFree = (x: number): boolean => {
    if (x < first || x > last || taken.has(x)) return false;
    const other = leaving.get(x);
    return other === undefined || other === net;
  };
  for (let distance = 0; distance < target.width; distance++) {
    if (isFree(wanted + distance)) return wanted + distance;
    if (isFree(wanted - distance)) return wanted - distance;
  }
  return wanted;
}

/** Gives each net that is not straight its own row where it would touch another; returns the number of rows. */
function assignTracks(nets: readonly Net[]): number {
  const bent = nets.filter((net) => new Set(columnsOf(net)).size > 1);
  const leaving = new Map<number, Net>();
  for (const net of bent) for (const source of net.sources) leaving.set(centerOf(source), net);
  // A net that enters under the end of another must bend below it.
  const above = new Map<Net, Net[]>();
  for (const net of bent) {
    const others = net.entries.flatMap((x) => {
      const other = leaving.get(x);
      return other === undefined || other === net ? [] : [other];
    });
    above.set(net, others);
  }
  let open = [...bent].sort((a, b) => Math.min(...columnsOf(a)) - Math.min(...columnsOf(b)));
  let row = 0;
  for (; open.length > 0; row++) {
    const ready = open.filter((net) =>
      (above.get(net) ?? []).every((other) => other.track !== null && other.track < row),
    );
    let free = Number.NEGATIVE_INFINITY;
    // If nets wait for each other in a cycle, one goes first.
    for (const net of ready.length > 0 ? ready : open.slice(0, 1)) {
      const columns = columnsOf(net);
      if (Math.min(...columns) <= free + 1) continue;
      net.track = row;
      free = Math.max(...columns);
    }
    open = open.filter((net) => net.track === null);
  }
  return row;
}

function columnsOf(net: Net): number[] {
  return [...net.sources.map(centerOf), ...net.entries];
}

/** Draws the lines of a channel; returns the last owner number used. */
function drawChannel(canvas: Canvas, channel: Channel, top: number, lastOwner: number): number {
  let owner = lastOwner;
  if (channel.height === 0) return owner;
  const bottom = top + channel.height - 1;
  // Horizontal parts first, because vertical ones go over them.
  for (const net of channel.nets) {
    owner += 1;
    if (net.track === null) continue;
    const columns = columnsOf(net);
    canvas.line(Math.min(...columns), top + net.track, Math.max(...columns), top + net.track, owner);
  }
  owner = lastOwner;
  for (const net of channel.nets) {
    owner += 1;
    const bend = net.track === null ? bottom : top + net.track;
    for (const source of net.sources) {
      const x = centerOf(source);
      canvas.join(x, top, UP, owner);
      canvas.line(x, top, x, bend, owner);
    }
    for (const x of net.entries) {
      canvas.line(x, net.track === null ? top : bend, x, bottom, owner);
      canvas.join(x, bottom, DOWN, owner);
    }
  }
  return owner;
}

/** The fallback when no drawing fits: row by row, each task with its dependencies. */
function listLines(tasks: readonly GraphTask[], width: number): GraphLine[] {
  const rows = Map.groupBy(tasks, (task) => task.depth);
  const numberWidth = String(rows.size).length;
  const labels = new Map(tasks.map((task) => [task.id, labelOf(task, Math.max(12, Math.floor(width / 2)))]));
  const labelWidth = Math.max(...[...labels.values()].map(widthOf));
  const lines: GraphLine[] = [];
  for (const depth of [...rows.keys()].sort((a, b) => a - b)) {
    for (const [index, task] of (rows.get(depth) ?? []).entries()) {
      const number = index === 0 ? String(depth + 1) : "";
      const label = labels.get(task.id) ?? task.id;
      const line: GraphSpan[] = [
        { text: `${number.padStart(numberWidth)}  `, task: null },
        { text: label, task: task.id },
      ];
      if (task.depends.length > 0) {
        const room = width - numberWidth - 2 - labelWidth - 3;
        const padding = fill("", labelWidth - widthOf(label));
        line.push({ text: `${padding} ← ${namesWithin(task.depends, room)}`, task: null });
      }
      lines.push(line);
    }
  }
  return lines;
}

/** As many ids as fit, and the number of the remaining ones. */
function namesWithin(ids: readonly string[], room: number): string {
  const all = ids.join(", ");
  if (widthOf(all) <= room) return all;
  for (let count = ids.length - 1; count > 0; count--) {
    const text = `${ids.slice(0, count).join(", ")} and ${ids.length - count} more`;
    if (widthOf(text) <= room) return text;
  }
  return `${ids.length} tasks`;
}
