/** Describes an invalid workflow file in one line. */

/** The file and its problem. Most problems begin with the path of the file, which is not repeated then. */
export function invalidFileText({ path, error }: { readonly path: string; readonly error: string }): string {
  const [first = ""] = error.split("\n", 1);
  return first.startsWith(`${path}:`) ? first : `${path}: ${first}`;
}
