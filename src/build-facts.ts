/** What the build put into the executable about itself. */

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

declare const CDKTR_BUILD_FACTS: BuildFacts;

/** The facts of this executable; null when it runs from its sources. */
export const BUILD_FACTS: BuildFacts | null =
  typeof CDKTR_BUILD_FACTS === "undefined" ? null : CDKTR_BUILD_FACTS;
