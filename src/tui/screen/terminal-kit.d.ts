/** Types for the part of terminal-kit that the terminal UI uses; the package comes without types. */
declare module "terminal-kit/lib/termkit.js" {
  /** A mouse event; coordinates start at 1. */
  export interface MouseData {
    readonly x: number;
    readonly y: number;
    readonly shift?: boolean;
    readonly ctrl?: boolean;
    readonly alt?: boolean;
  }

  export interface Input {
    on(event: "data", listener: (chunk: Buffer) => void): unknown;
    removeListener(event: "data", listener: (chunk: Buffer) => void): unknown;
    setRawMode(raw: boolean): unknown;
    pause(): unknown;
    resume(): unknown;
  }

  export interface Terminal {
    readonly width: number | undefined;
    readonly height: number | undefined;
    readonly esc: Readonly<Record<string, { readonly on?: string; readonly off?: string } | undefined>>;
    readonly support: Readonly<Record<string, boolean | undefined>>;
    on(event: "key", listener: (name: string) => void): void;
    on(event: "mouse", listener: (name: string, data: MouseData) => void): void;
    on(event: "resize", listener: (width: number, height: number) => void): void;
    grabInput(options: { readonly mouse?: "button" | "drag" | "motion" } | false): Promise<void>;
  }

  export interface TerminalOptions {
    readonly stdin: Input;
    readonly stdout: NodeJS.WriteStream;
    readonly stderr: NodeJS.WriteStream;
    readonly generic: string;
    readonly appId: string | undefined;
    readonly isTTY: boolean;
    readonly isSSH: boolean;
    readonly processSigwinch: boolean;
  }

  const termkit: {
    guessTerminal(unpipe?: boolean): { generic?: string; appId?: string; safe?: boolean; isSSH?: boolean };
    createTerminal(options: TerminalOptions): Terminal;
  };
  export default termkit;
}
