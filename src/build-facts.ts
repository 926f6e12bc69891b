/** What the build put into the executable about itself. */
import packageJson from "../package.json" with { type: "json" };

/** Facts of a build. */
export interface BuildFacts {
  /** The commit it was made of; null when that is not known. */
  readonly commit: string | null;
  /** Sources differed from the commit. */
  readonly modified: boolean;
  /** Time of the commit, RFC 3339: the same for everybody who builds it. */
  readonly commit_time: string | null;
  /** `linux-x64` or `linux-arm64`. */
  readonly target: string;
  /** Versions of what is inside. */
  readonly libraries: Readonly<Record<string, string>>;
}

/** What a build that stands for an older or a newer cdktr says of itself: see scripts/build.ts. */
export interface Pretence {
  readonly version?: string;
  readonly protocol?: { readonly version: number; readonly oldest: number };
}

declare const CDKTR_BUILD_FACTS: BuildFacts;
declare const CDKTR_PRETENCE: Pretence;

/** The facts of this executable; null when it runs from its sources. */
export const BUILD_FACTS: BuildFacts | null =
  typeof CDKTR_BUILD_FACTS === "undefined" ? null : CDKTR_BUILD_FACTS;

/** Empty, but in an executable that was built to test upgrades with. */
export const PRETENCE: Pretence = typeof CDKTR_PRETENCE === "undefined" ? {} : CDKTR_PRETENCE;

/** The version of this cdktr. */
export const VERSION: string = PRETENCE.version ?? packageJson.version;
