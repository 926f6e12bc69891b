/** The protocol of the file helper: one JSON value per line on its standard input and output. */
import type { Packed } from "../archive.ts";
import type { PackRequest } from "../pack-files.ts";
import type { RegularFile } from "../regular-file.ts";

/** A file as it was seen. */
export interface FileState {
  /** Changes when the file is written or replaced. */
  readonly version: string;
  /** Changes when another volume is at the path of its directory, or none any more; `""` if it is unknown. */
  readonly place: string;
}

/** The requests with their replies. */
export interface FileRequests {
  /** Lists a tree and reports later changes in it under `key`. */
  tree: {
    readonly request: {
      readonly key: string;
      readonly root: string;
      readonly endings: readonly string[];
      readonly others?: readonly string[];
      readonly skip: readonly (readonly [path: string, reason: string])[];
      /** The hash of what was listed before: if that has not changed, the lists are empty. */
      readonly known?: string | undefined;
    };
    readonly reply: {
      /** Of all that is listed. */
      readonly hash: string;
      /** If there: the files are those that are new or have changed since what has this hash was listed. */
      readonly base?: string;
      readonly files: [path: string, fingerprint: string][];
      /** With `base`: those that are not there any more. */
      readonly gone?: string[];
      readonly unreadable: [path: string, reason: string][];
      readonly devices: [path: string, device: string][];
    };
  };
  /** Reads regular files; if `key` is given, reports later changes of them under it. */
  read: {
    readonly request: {
      readonly key?: string;
      readonly paths: readonly string[];
      readonly maxBytes: number;
    };
    readonly reply: (
      | { readonly kind: "file"; readonly base64: string }
      | { readonly kind: "directory" | "other" | "too large" }
      | { readonly kind: "failed"; readonly code: string; readonly message: string }
    )[];
  };
  /** Reads regular files below `root`, and replies with what the program that is the helper makes of each: see {@link Digest}. */
  digest: {
    readonly request: {
      readonly root: string;
      readonly paths: readonly string[];
      readonly maxBytes: number;
      /** What else the program is to know of the files in a directory, by its path relative to the root. */
      readonly about?: Readonly<Record<string, unknown>>;
      /** Whether links must not lead out of the root. */
      readonly inside?: boolean;
    };
    readonly reply: unknown[];
  };
  /** Lists the files that match a glob and reports later changes of them under `key`. Many come in several replies. */
  glob: {
    readonly request: {
      readonly key: string;
      readonly glob: string;
      /** Paths to check in addition to those with events. */
      readonly also: readonly string[];
      /** Directories from which files are missing. */
      readonly directories: readonly string[];
      readonly whole: boolean;
      /** Whether the reply may contain only the difference to the previous ones. */
      readonly difference: boolean;
      /** Asks for what the previous reply left out. */
      readonly rest: boolean;
    };
    readonly reply: {
      readonly isDifference: boolean;
      readonly present: [path: string, version: string, place: string][];
      readonly gone: string[];
      /** Where the directories that were asked about are, or what is left of them. */
      readonly places: [directory: string, place: string][];
      readonly hears: boolean;
      /** Whether there is more to ask for. */
      readonly isMore: boolean;
    };
  };
  /**
   * Accesses paths as starting a program does: resolves them and, in case they are regular files, reads their beginning. Of each list only up
   * to the first regular file. Replies when none of them has blocked.
   */
  touch: { readonly request: { readonly places: readonly (readonly string[])[] }; readonly reply: null };
  /** The inode of a file; null if there is none. */
  identify: { readonly request: { readonly path: string }; readonly reply: number | null };
  /**
   * Copies a file to one that does not exist. Only ever in a child process: if this process closed the file once, the locks on it that it
   * holds would be gone.
   */
  copy: { readonly request: { readonly from: string; readonly to: string }; readonly reply: null };
  /**
   * Packs the files that globs name in a directory into an archive, unless they are as `signature` says. Errors about the files have the code
   * `FILES`.
   */
  pack: {
    readonly request: PackRequest;
    readonly reply: {
      readonly signature: string;
      /** Null if they are the same. */
      readonly packed: Packed | null;
    };
  };
  /** Stops reporting changes under `key`. */
  forget: { readonly request: { readonly key: string }; readonly reply: null };
}

export type FileVerb = keyof FileRequests;

/** What a helper makes of a file, as plain JSON. `path` is relative to the root of the request; `about` is what the request says of its directory. */
export type Digest = (path: string, file: RegularFile, about: unknown) => unknown;

/** A line to the helper. */
export interface FileQuestion {
  readonly id: number;
  readonly verb: FileVerb;
  readonly request: FileRequests[FileVerb]["request"];
}

/** A line from the helper. */
export type FileNews =
  | { readonly id: number; readonly reply: unknown }
  | { readonly id: number; readonly error: string; readonly code: string }
  /** The request that it is working on, and the path that it is about to access. */
  | { readonly at: number; readonly path: string }
  | { readonly changed: string }
  | { readonly warning: string };
