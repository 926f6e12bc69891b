/** The files that `cdktr sdk typescript DIR` writes. */
// @ts-expect-error TypeScript does not know that a declaration file can be imported as text
import declarations from "./typescript/cdktr.d.ts" with { type: "text" };

const types: string = declarations;

/** Its files: path to text. */
export const TYPESCRIPT_FILES: Readonly<Record<string, string>> = {
  "cdktr.d.ts": types,
};
