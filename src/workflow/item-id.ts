/** The ids of what a fan-out consists of, in the machine of progress.ts and in slices. */

/**
 * The id of an item of a fan-out, `load[orders]`, or of a task that is not one. It is never parsed: wherever it is sent or stored, the task
 * and the key of the item are fields of their own.
 * @param itemKey the key of the item; null for the task itself
 */
export function nodeId(taskId: string, itemKey: string | null): string {
  return itemKey === null ? taskId : `${taskId}[${itemKey}]`;
}

/** Longest name of an item in log lines, characters. */
const MAX_ITEM_NAME = 200;

/** The name of an item in log lines: `Load[orders]`. */
export function itemName(taskName: string, itemKey: string): string {
  const all = nodeId(taskName, itemKey);
  return all.length <= MAX_ITEM_NAME ? all : `${all.slice(0, MAX_ITEM_NAME - 2)}…]`;
}

/** Maximum size of the key of an item, bytes. */
export const MAX_ITEM_KEY_BYTES = 200;

/** Longest name of a file that is made of a key, characters: file systems allow 255 bytes with its ending. */
const MAX_FILE_NAME = 230;

/**
 * The name of a file for an item: its key, in which every byte but letters, digits, `_`, `-` and `.` is written as `%XX`, and also a `.` at
 * the start. A name that would be too long ends with a hash of the key.
 */
export function itemFileName(key: string): string {
  const name = [...new TextEncoder().encode(key)]
    .map((byte, place) => {
      const letter = String.fromCharCode(byte);
      const isPlain = /[A-Za-z0-9_-]/.test(letter) || (letter === "." && place > 0);
      return isPlain ? letter : `%${byte.toString(16).toUpperCase().padStart(2, "0")}`;
    })
    .join("");
  if (name.length <= MAX_FILE_NAME) return name;
  const hash = new Bun.CryptoHasher("sha256").update(key).digest("hex").slice(0, 16);
  return `${name.slice(0, MAX_FILE_NAME - 17)}~${hash}`;
}
