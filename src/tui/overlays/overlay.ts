/** Overlays that take the keyboard: a confirmation, a form, a line of input. */
import type { ApprovalSummary } from "../../contract/messages.ts";
import type { ArtifactFile } from "../../protocol/artifact-files.ts";
import type { ParamRules } from "../../workflow/param-types.ts";
import type { LineEditor } from "./line-editor.ts";

/** An action with an external effect; performed once it is confirmed. */
export type Action =
  | {
      readonly kind: "trigger";
      readonly workflowId: string;
      readonly params: Readonly<Record<string, string>>;
    }
  | { readonly kind: "cancel"; readonly runId: string }
  | {
      readonly kind: "retry";
      readonly runId: string;
      readonly fromStart: boolean;
      /** Instead of the failed tasks: this task, or this item, and what follows it. */
      readonly task?: string;
      readonly currentDefinition?: boolean;
      /** Those that are to be different. */
      readonly params?: Readonly<Record<string, string>>;
    }
  | {
      readonly kind: "answer";
      readonly approval: ApprovalSummary;
      readonly answer: "approve" | "reject";
      readonly params: Readonly<Record<string, string>>;
      readonly note: string;
    }
  | {
      readonly kind: "pause";
      readonly workflowId: string;
      readonly reason: string;
      readonly forMs: number | null;
    }
  | { readonly kind: "resume"; readonly workflowId: string }
  | { readonly kind: "priority"; readonly runId: string; readonly priority: number }
  | { readonly kind: "backfill"; readonly backfillId: string; readonly to: "ACTIVE" | "PAUSED" | "CANCELLED" }
  /** The messages of this alert, or of all, that were given up. */
  | { readonly kind: "retry alert"; readonly alertId: string | null }
  | { readonly kind: "test channel"; readonly channel: string }
  | { readonly kind: "drain"; readonly agentId: string }
  | { readonly kind: "quit" };

/** A field of the parameter form. */
export interface FormField {
  readonly name: string;
  readonly description: string | null;
  /** Null if the field is required. */
  readonly byDefault: string | null;
  /** What its text must be. */
  readonly rules: ParamRules;
  /** The only texts that it can have; null if it is typed freely. */
  readonly choices: readonly string[] | null;
  readonly editor: LineEditor;
}

/**
 * What a form is filled in for. The last field of an answer is the note; the first two of a retry say from where, and with which definition;
 * those of a pause are its reason and how long it lasts.
 */
export type FormPurpose =
  | { readonly kind: "pause"; readonly workflowId: string }
  | { readonly kind: "retry"; readonly runId: string; readonly task: string | null }
  | { readonly kind: "trigger"; readonly workflowId: string }
  | { readonly kind: "approve" | "reject"; readonly approval: ApprovalSummary };

type PromptPurpose = "log-search" | "log-text" | "log-time" | "log-save";
type MenuPurpose = "principal" | "log-task";

export type Overlay =
  | { readonly kind: "help"; top: number }
  /** A text to read, and to copy. */
  | { readonly kind: "text"; readonly title: string; readonly text: string; top: number }
  | {
      readonly kind: "confirm";
      readonly title: string;
      readonly lines: readonly string[];
      readonly action: Action;
    }
  | {
      readonly kind: "form";
      readonly purpose: FormPurpose;
      readonly fields: readonly FormField[];
      index: number;
      error: string | null;
    }
  | { readonly kind: "command"; readonly editor: LineEditor; error: string | null }
  | { readonly kind: "filter"; readonly list: string; readonly editor: LineEditor; readonly before: string }
  | {
      readonly kind: "prompt";
      readonly purpose: PromptPurpose | { readonly save: ArtifactFile };
      readonly label: string;
      readonly editor: LineEditor;
      error: string | null;
    }
  | {
      readonly kind: "menu";
      readonly purpose: MenuPurpose;
      readonly title: string;
      readonly items: readonly { readonly id: string; readonly label: string }[];
      index: number;
    };
