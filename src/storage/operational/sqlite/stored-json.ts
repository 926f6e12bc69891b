/** JSON in columns of the state. What is damaged must affect only what it belongs to. */

function parsed(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    return undefined;
  }
}

/** An object of texts; null if it is damaged. */
export function textsOf(json: string): Record<string, string> | null {
  const value = parsed(json);
  const isRight =
    typeof value === "object" &&
    value !== null &&
    !Array.isArray(value) &&
    Object.values(value).every((each) => typeof each === "string");
  return isRight ? (value as Record<string, string>) : null;
}

/** A list of texts; null if it is damaged. */
export function listOf(json: string): string[] | null {
  const value = parsed(json);
  return Array.isArray(value) && value.every((each) => typeof each === "string") ? value : null;
}
