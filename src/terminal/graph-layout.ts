/**
 * Places the tasks of a graph in layers for drawing: each task is in the row of its depth, so that a row can start when the one above is
 * done. Edges that skip a layer go through passages (items without a task) in it. The steps are those of Sugiyama's method: layers,
 * order within each layer, then coordinates.
 */

/** A box to place: one task, or several with the same dependencies and the same dependents. */
export interface Box {
  readonly key: string;
  /** Row, starting from 0. */
  readonly layer: number;
  /** Width in columns. */
  readonly width: number;
  /** Keys of the boxes that depend on it, all in lower layers. */
  readonly targets: readonly string[];
}

/** A box, or a passage for edges, in its layer. */
export interface Item {
  /** Null for a passage. */
  readonly box: Box | null;
  /** Width in columns; a passage is as wide as the lines that meet in it. */
  width: number;
  /** The items it leads to in the next layer. */
  readonly next: Item[];
  readonly previous: Item[];
  /** Left column. */
  x: number;
}

/** Lines between two layers that are drawn as one: all its sources lead to all its targets. */
export interface ItemNet {
  readonly sources: readonly Item[];
  readonly targets: readonly Item[];
}

/** The nets that leave a layer: items with the same targets share one. */
export function netsOf(layer: readonly Item[]): ItemNet[] {
  const numbers = new Map<Item, number>();
  const nets = new Map<string, { sources: Item[]; targets: Item[] }>();
  for (const item of layer) {
    if (item.next.length === 0) continue;
    const key = item.next
      .map((target) => {
        const number = numbers.get(target) ?? numbers.size;
        numbers.set(target, number);
        return number;
      })
      .sort((a, b) => a - b)
      .join();
    const net = nets.get(key);
    if (net === undefined) nets.set(key, { sources: [item], targets: item.next });
    else net.sources.push(item);
  }
  return [...nets.values()];
}

/** Columns between neighbours. */
const GAP = 2;
const SWEEPS = 12;

/**
 * The layers from top to bottom, each from left to right with its columns; null when a layer does not fit into `limit` columns.
 */
export function layOut(boxes: readonly Box[], limit: number): Item[][] | null {
  const layers = makeLayers(boxes);
  orderLayers(layers);
  for (const layer of layers) if (widthOf(layer) > limit) return null;
  placeLayers(layers, limit);
  return layers;
}

function widthOf(layer: readonly Item[]): number {
  return layer.reduce((sum, item) => sum + item.width, 0) + GAP * Math.max(0, layer.length - 1);
}

/** Where the line leaves an item, and where a single one enters it. */
export function centerOf(item: Item): number {
  return item.x + (item.width >> 1);
}

/**
 * Edges to the same set of tasks share one passage in each layer they skip: whatever enters it reaches exactly these tasks, so nothing
 * is lost by drawing one line.
 */
function makeLayers(boxes: readonly Box[]): Item[][] {
  const layers: Item[][] = [];
  const layerOf = new Map<string, number>();
  const items = new Map<string, Item>();
  for (const box of boxes) {
    const item: Item = { box, width: box.width, next: [], previous: [], x: 0 };
    for (let missing = layers.length; missing <= box.layer; missing++) layers.push([]);
    layers[box.layer]?.push(item);
    items.set(box.key, item);
    layerOf.set(box.key, box.layer);
  }
  let passages = new Map<string, { item: Item; targets: readonly string[] }>();
  for (const [index, layer] of layers.entries()) {
    const below = new Map<string, { item: Item; targets: readonly string[] }>();
    const connect = (item: Item, targets: readonly string[]): void => {
      const far = targets.filter((key) => layerOf.get(key) !== index + 1);
      for (const key of targets) {
        const target = items.get(key);
        if (target === undefined || layerOf.get(key) !== index + 1) continue;
        item.next.push(target);
        target.previous.push(item);
      }
      if (far.length === 0) return;
      const name = [...far].sort().join("\n");
      let passage = below.get(name);
      if (passage === undefined) {
        passage = { item: { box: null, width: 1, next: [], previous: [], x: 0 }, targets: far };
        below.set(name, passage);
        layers[index + 1]?.push(passage.item);
      }
      item.next.push(passage.item);
      passage.item.previous.push(item);
    };
    for (const item of layer) if (item.box !== null) connect(item, item.box.targets);
    for (const { item, targets } of passages.values()) connect(item, targets);
    passages = below;
  }
  for (const layer of layers) {
    const entering = new Map<Item, number>();
    for (const net of netsOf(layer)) {
      for (const target of net.targets) entering.set(target, (entering.get(target) ?? 0) + 1);
    }
    for (const [item, count] of entering) {
      if (item.box === null) item.width = 2 * count - 1;
      else item.width = Math.max(item.width, 2 * count + 1);
    }
  }
  return layers;
}

/** Sweeps down and up, sorting each layer by the barycenter of its neighbours; keeps the order with the fewest crossings. */
function orderLayers(layers: Item[][]): void {
  const count = layers.reduce((sum, layer) => sum + layer.length, 0);
  let best = layers.map((layer) => [...layer]);
  let fewest = crossings(layers);
  for (let sweep = 0; sweep < (count > 300 ? 4 : SWEEPS) && fewest > 0; sweep++) {
    const isDown = sweep % 2 === 0;
    const order = isDown ? layers.keys() : [...layers.keys()].reverse();
    for (const index of order) {
      const neighbours = layers[isDown ? index - 1 : index + 1];
      const layer = layers[index];
      if (neighbours === undefined || layer === undefined) continue;
      const position = new Map(neighbours.map((item, at) => [item, at]));
      const own = new Map(layer.map((item, at) => [item, at]));
      const weight = (item: Item): number => {
        const near = isDown ? item.previous : item.next;
        if (isAlone(item)) return Number.MAX_VALUE;
        if (near.length === 0) return own.get(item) ?? 0;
        return near.reduce((sum, other) => sum + (position.get(other) ?? 0), 0) / near.length;
      };
      const weights = new Map(layer.map((item) => [item, weight(item)]));
      layer.sort((a, b) => (weights.get(a) ?? 0) - (weights.get(b) ?? 0));
    }
    const now = crossings(layers);
    if (now < fewest) {
      fewest = now;
      best = layers.map((layer) => [...layer]);
    }
  }
  for (const [index, layer] of best.entries()) layers[index] = layer;
}

/** Whether it has no neighbours at all: such tasks go to the right end of the first row. */
function isAlone(item: Item): boolean {
  return item.previous.length === 0 && item.next.length === 0;
}

function crossings(layers: readonly Item[][]): number {
  let count = 0;
  for (const [index, layer] of layers.entries()) {
    const below = layers[index + 1];
    if (below === undefined) continue;
    const position = new Map(below.map((item, at) => [item, at]));
    const ends = layer.flatMap((item) =>
      item.next.map((target) => position.get(target) ?? 0).sort((a, b) => a - b),
    );
    // Edges are sorted by their upper ends: each pair whose lower ends are in reverse order crosses.
    const seen = new Array<number>(below.length + 1).fill(0);
    for (const [edge, end] of ends.entries()) {
      let before = 0;
      for (let at = end + 1; at > 0; at -= at & -at) before += seen[at] ?? 0;
      count += edge - before;
      for (let at = end + 1; at <= below.length; at += at & -at) seen[at] = (seen[at] ?? 0) + 1;
    }
  }
  return count;
}

/** Moves each item towards the middle of its neighbours, as far as the order and the gaps allow. */
function placeLayers(layers: readonly Item[][], limit: number): void {
  const centers = new Map<Item, number>();
  for (const layer of layers) {
    let x = (limit - widthOf(layer)) / 2;
    for (const item of layer) {
      centers.set(item, x + item.width / 2);
      x += item.width + GAP;
    }
  }
  for (let sweep = 0; sweep < SWEEPS; sweep++) {
    const isDown = sweep % 2 === 0;
    for (const index of isDown ? layers.keys() : [...layers.keys()].reverse()) {
      const layer = layers[index] ?? [];
      const wanted = layer.map((item) => {
        const near = isDown ? item.previous : item.next;
        if (near.length === 0) return centers.get(item) ?? 0;
        return near.reduce((sum, other) => sum + (centers.get(other) ?? 0), 0) / near.length;
      });
      const placed = separate(layer, wanted, limit);
      for (const [at, item] of layer.entries()) centers.set(item, placed[at] ?? 0);
    }
  }
  let left = Number.POSITIVE_INFINITY;
  for (const layer of layers) {
    let free = 0;
    for (const item of layer) {
      item.x = Math.max(free, Math.round((centers.get(item) ?? 0) - item.width / 2));
      free = item.x + item.width + GAP;
    }
    // Rounding can push the last ones out by a column.
    let edge = limit;
    for (const item of [...layer].reverse()) {
      item.x = Math.min(item.x, edge - item.width);
      edge = item.x - GAP;
    }
    left = Math.min(left, layer[0]?.x ?? left);
  }
  for (const layer of layers) for (const item of layer) item.x -= left;
}

/**
 * The centers closest to the wanted ones (least squares) that keep the order and the gaps, within the limit: without widths this is
 * isotonic regression, solved by merging adjacent items that are in each other's way.
 */
function separate(layer: readonly Item[], wanted: readonly number[], limit: number): number[] {
  const offsets: number[] = [];
  let offset = 0;
  for (const [index, item] of layer.entries()) {
    const before = layer[index - 1];
    if (before !== undefined) offset += before.width / 2 + GAP + item.width / 2;
    offsets.push(offset);
  }
  const groups: { sum: number; weight: number; count: number }[] = [];
  for (const [index, center] of wanted.entries()) {
    const item = layer[index];
    // Isolated items follow their neighbours and never move them.
    const alone = item !== undefined && isAlone(item);
    const weight = alone ? 1e-6 : 1;
    groups.push({ sum: weight * ((alone ? 0 : center) - (offsets[index] ?? 0)), weight, count: 1 });
    for (let last = groups.at(-1), before = groups.at(-2); last && before; before = groups.at(-2)) {
      if (before.sum / before.weight <= last.sum / last.weight) break;
      before.sum += last.sum;
      before.weight += last.weight;
      before.count += last.count;
      groups.pop();
      last = before;
    }
  }
  const first = layer[0];
  const last = layer.at(-1);
  const low = (first?.width ?? 0) / 2;
  const high = limit - (last?.width ?? 0) / 2 - offset;
  const centers: number[] = [];
  for (const group of groups) {
    const base = Math.min(Math.max(group.sum / group.weight, low), Math.max(low, high));
    for (let member = 0; member < group.count; member++) centers.push(base + (offsets[centers.length] ?? 0));
  }
  return centers;
}
