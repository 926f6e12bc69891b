/** Where things are in a source checkout. */
import { dirname, join } from "node:path";

/** The root of the checkout. */
export const ROOT = dirname(dirname(import.meta.dir));

/** The executable that `npm run build` makes for this machine. */
export const BINARY = join(ROOT, "dist", "cdktr");

/** Tools and packages from PyPI that scripts and tests install for themselves; not under version control. */
export const TOOLS = join(ROOT, ".cache", "tools");

/** apt minds nothing but its own: two test files at once would find its lists locked, so each takes this lock first. */
export const APT_LOCK = "/tmp/cdktr-test-apt.lock";

/** The Bun that runs this script. */
export const BUN = process.execPath;
