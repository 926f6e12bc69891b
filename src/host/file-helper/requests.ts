/** What a file helper is asked, and what it answers: one JSON value a line, over its standard input and output. */

/** A question, and the answer to it. */
export interface FileRequests {
  /** Lists a tree, and from then on reports changes of it under `key`. */
  tree: {
    readonly request: {
      readonly key: string;
      readonly root: string;
      readonly endings: readonly string[];
      readonly skip: readonly (readonly [path: string, reason: string])[];
    };
    readonly reply: {
      readonly files: [path: string, fingerprint: string][];
      readonly unreadable: [path: string, reason: string][];
      readonly devices: [path: string, device: string][];
    };
  };
  /** Reads regular files; with a key, changes of them are reported under it from then on. */
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
  /** Looks at the files of a glob, and from then on reports changes of them under `key`. */
  glob: {
    readonly request: {
      readonly key: string;
      readonly glob: string;
      readonly also: readonly string[];
      readonly whole: boolean;
      /** Whether the reply may be only what differs from the last one. */
      readonly difference: boolean;
    };
    readonly reply: {
      readonly isDifference: boolean;
      readonly present: [path: string, version: string][];
      readonly gone: string[];
      readonly hears: boolean;
    };
  };
  /** Nothing more is reported under `key`. */
  forget: { readonly request: { readonly key: string }; readonly reply: null };
}

export type FileVerb = keyof FileRequests;

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
  /** The request that it works at, and the path that it is about to touch. */
  | { readonly at: number; readonly path: string }
  | { readonly changed: string }
  | { readonly warning: string };
