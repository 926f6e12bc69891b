/** Facts that the build embeds in the executable. */
import packageJson from "../package.json" with { type: "json" };

export interface BuildFacts {
  /** The commit it was built from; null when unknown. */
  readonly commit: string | null;
  /** The sources had uncommitted changes. */
  readonly modified: boolean;
  /** Time of the commit, RFC 3339, so that builds are reproducible. */
  readonly commit_time: string | null;
  /** `linux-x64` or `linux-arm64`. */
  readonly target: string;
  /** Versions of the bundled components. */
  readonly libraries: Readonly<Record<string, string>>;
}

/** Overrides for test builds that stand in for an older or newer cdktr: see scripts/build.ts. */
export interface Pretence {
  readonly version?: string;
  readonly protocol?: { readonly version: number; readonly oldest: number };
}

declare const CDKTR_BUILD_FACTS: BuildFacts;
declare const CDKTR_PRETENCE: Pretence;

/** The facts of this executable; null when running from source. */
export const BUILD_FACTS: BuildFacts | null =
  typeof CDKTR_BUILD_FACTS === "undefined" ? null : CDKTR_BUILD_FACTS;

/** Empty except in executables built for upgrade tests. */
export const PRETENCE: Pretence = typeof CDKTR_PRETENCE === "undefined" ? {} : CDKTR_PRETENCE;

export const VERSION: string = PRETENCE.version ?? packageJson.version;
