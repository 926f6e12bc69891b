/** Amounts of memory, such as `2GiB`. */
import { z } from "zod";
import { type Field, scalar } from "./field.ts";

const UNITS = ["KiB", "MiB", "GiB", "TiB"] as const;
const SIZE = /^(\d{1,6}(?:\.\d{1,3})?) ?(KiB|MiB|GiB|TiB)$/;
const SMALLEST = 1024 * 1024;

const bytesOf = (unit: string): number => 1024 ** (UNITS.findIndex((one) => one === unit) + 1);

/** An amount of memory, stored in bytes. */
export const size = (): Field<number> =>
  scalar(
    z.number().int().min(1),
    { type: "string", pattern: SIZE.source },
    (value, refuse) => {
      const [, number = "", unit = ""] = SIZE.exec(value.trim()) ?? [];
      if (unit === "")
        return refuse("E014", `${JSON.stringify(value)} is not a size`, "write 2GiB or 512MiB");
      const bytes = Math.round(Number(number) * bytesOf(unit));
      return bytes < SMALLEST ? refuse("E014", "must be at least 1MiB") : bytes;
    },
    { noun: "a size", help: "such as 2GiB or 512MiB" },
  );

/** Formats a size as it is written: 2147483648 is `2GiB`. */
export function formatSize(bytes: number): string {
  const unit = UNITS.findLast((one) => bytes >= bytesOf(one) && (bytes * 1000) % bytesOf(one) === 0) ?? "KiB";
  return `${bytes / bytesOf(unit)}${unit}`;
}
