/** The types of expressions, as far as they are known before anything is evaluated. */

type ScalarName =
  | "bool"
  | "int"
  | "uint"
  | "double"
  | "string"
  | "bytes"
  | "null"
  | "timestamp"
  | "duration"
  | "type"
  | "dyn";

/** A type; `dyn` is whatever turns out. */
export type CelType =
  | { readonly kind: ScalarName }
  | { readonly kind: "list"; readonly of: CelType }
  | { readonly kind: "map"; readonly key: CelType; readonly of: CelType };

export type TypeKind = CelType["kind"];

export const BOOL: CelType = { kind: "bool" };
export const INT: CelType = { kind: "int" };
export const UINT: CelType = { kind: "uint" };
export const DOUBLE: CelType = { kind: "double" };
export const STRING: CelType = { kind: "string" };
export const BYTES: CelType = { kind: "bytes" };
export const NULL: CelType = { kind: "null" };
export const TIMESTAMP: CelType = { kind: "timestamp" };
export const DURATION: CelType = { kind: "duration" };
export const TYPE: CelType = { kind: "type" };
export const DYN: CelType = { kind: "dyn" };

export const listOf = (of: CelType): CelType => ({ kind: "list", of });
export const mapOf = (key: CelType, of: CelType): CelType => ({ kind: "map", key, of });

/** Whether a value of type `actual` may turn out to fit where `wanted` is needed. */
export function fits(actual: CelType, wanted: CelType): boolean {
  if (actual.kind === "dyn" || wanted.kind === "dyn") return true;
  if (actual.kind === "list") return wanted.kind === "list" && fits(actual.of, wanted.of);
  if (actual.kind === "map") {
    return wanted.kind === "map" && fits(actual.key, wanted.key) && fits(actual.of, wanted.of);
  }
  return actual.kind === wanted.kind;
}

/** The type of something that has one type or the other; null if they have nothing in common. */
export function common(a: CelType, b: CelType): CelType | null {
  if (a === b) return a;
  if (a.kind === "dyn" || b.kind === "dyn" || a.kind === "null" || b.kind === "null") {
    return a.kind === b.kind ? a : DYN;
  }
  if (a.kind === "list" && b.kind === "list") return listOf(common(a.of, b.of) ?? DYN);
  if (a.kind === "map" && b.kind === "map")
    return mapOf(common(a.key, b.key) ?? DYN, common(a.of, b.of) ?? DYN);
  return a.kind === b.kind ? a : null;
}

/** Whether values of these types can be equal: the same type, or two numbers. */
export function comparable(a: CelType, b: CelType): boolean {
  if (isNumber(a) && isNumber(b)) return true;
  if (a.kind === "null" || b.kind === "null") return true;
  if (a.kind === "list" && b.kind === "list") return comparable(a.of, b.of);
  if (a.kind === "map" && b.kind === "map") return comparable(a.key, b.key) && comparable(a.of, b.of);
  return fits(a, b);
}

export function isNumber({ kind }: CelType): boolean {
  return kind === "int" || kind === "uint" || kind === "double";
}

/** A type in words: `list of string`. */
export function typeName(type: CelType): string {
  switch (type.kind) {
    case "list":
      return type.of.kind === "dyn" ? "list" : `list of ${typeName(type.of)}`;
    case "map":
      return "map";
    case "dyn":
      return "value of any type";
    default:
      return type.kind;
  }
}

/** A type in words, with its article: `an int`. */
export function aType(type: CelType): string {
  const name = typeName(type);
  if (name === "null") return "null";
  return `${/^[aeiou]/.test(name) && name !== "uint" ? "an" : "a"} ${name}`;
}
